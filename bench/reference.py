# SPDX-License-Identifier: Apache-2.0
"""The colour conversion in NumPy, in floating point: what every convert path is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

# ITU-R BT.709-6, 3.2
KR, KG, KB = 0.2126, 0.7152, 0.0722


@dataclass(frozen=True, slots=True)
class Yuv:
    """4:2:0 planes, limited range: y (h, w), u and v (h / 2, w / 2)."""

    y: Plane
    u: Plane
    v: Plane


def convert(pixels: Bytes, order: str, coded_width: int, coded_height: int, divisor: int = 1) -> Yuv:
    """Convert uint8 (height, width, 4) of byte order `order` ("BGRX", ...), the edge repeated up to the coded size.

    A sample is the mean of `divisor` × `divisor` pixels.
    """
    height, width, _ = pixels.shape
    missing = (coded_height * divisor - height, coded_width * divisor - width)
    padded = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    places = [(down, across) for down in range(divisor) for across in range(divisor)]
    blocks: Plane = np.zeros((coded_height, coded_width, 4), np.float64)
    for down, across in places:
        blocks += padded[down::divisor, across::divisor]
    blocks /= len(places)
    channels = {name: blocks[..., order.index(name)] for name in "RGB"}
    y = 16 + 219 / 255 * _luma(channels)
    means = {
        name: plane.reshape(coded_height // 2, 2, coded_width // 2, 2).mean((1, 3)) for name, plane in channels.items()
    }
    luma = _luma(means)
    u = 128 + 224 / 255 * (means["B"] - luma) / (2 * (1 - KB))
    v = 128 + 224 / 255 * (means["R"] - luma) / (2 * (1 - KR))
    return Yuv(y, u, v)


def _luma(channels: dict[str, Plane]) -> Plane:
    return KR * channels["R"] + KG * channels["G"] + KB * channels["B"]


def planes(data: Bytes, pixel_format: str, coded_width: int, coded_height: int) -> tuple[Bytes, Bytes, Bytes]:
    """Split a slot's planes, uint8 (coded_height * 3 // 2, stride), into y, u and v without their padding."""
    stride = data.shape[1]
    y = data[:coded_height, :coded_width]
    if pixel_format == "nv12":
        uv = data[coded_height:, :coded_width].reshape(coded_height // 2, coded_width // 2, 2)
        return y, uv[..., 0], uv[..., 1]
    chroma = data[coded_height:].reshape(2, coded_height // 2, stride // 2)[..., : coded_width // 2]
    return y, chroma[0], chroma[1]


def largest_error(data: Bytes, pixel_format: str, expected: Yuv) -> float:
    """The largest difference of any sample, in steps of 8-bit values."""
    coded_height, coded_width = expected.y.shape
    got = planes(data, pixel_format, coded_width, coded_height)
    wanted = (expected.y, expected.u, expected.v)
    return max(float(np.abs(g.astype(np.float64) - w).max()) for g, w in zip(got, wanted, strict=True))
