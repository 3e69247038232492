# SPDX-License-Identifier: Apache-2.0
"""A cursor's picture, as the display link wants it. No I/O."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

MAX_SIZE = 256


@dataclass(frozen=True, slots=True)
class CursorPicture:
    """A cursor: BGRA with premultiplied alpha, rows packed."""

    width: int
    height: int
    hot_x: int
    hot_y: int
    pixels: bytes


def make_picture(width: int, height: int, hot_x: int, hot_y: int, argb: bytes) -> CursorPicture | None:
    """Make a picture of native 32-bit ARGB with premultiplied alpha; None when nothing of it can be seen.

    A cursor that is too large loses its right and lower part.
    """
    if not 0 < width <= len(argb) or len(argb) < width * height * 4 or height <= 0:
        return None
    shown_width, shown_height = min(width, MAX_SIZE), min(height, MAX_SIZE)
    rows = [argb[row * width * 4 : (row * width + shown_width) * 4] for row in range(shown_height)]
    pixels = b"".join(rows)
    if sys.byteorder == "big":
        pixels = struct.pack(f"<{len(pixels) // 4}I", *struct.unpack(f">{len(pixels) // 4}I", pixels))
    if not any(pixels[3::4]):
        return None
    return CursorPicture(shown_width, shown_height, min(hot_x, shown_width - 1), min(hot_y, shown_height - 1), pixels)
