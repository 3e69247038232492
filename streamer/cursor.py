# SPDX-License-Identifier: Apache-2.0
"""The guest's cursor as a PNG, which a browser can take for its own. No I/O."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGBA = 6
_FILTER_UP = 2


def encode_png(width: int, height: int, bgra: bytes) -> bytes:
    """Return a PNG of `bgra` (rows packed, straight alpha).

    Raises:
        ValueError: the bytes are not width * height * 4.
    """
    if width < 1 or height < 1 or len(bgra) != width * height * 4:
        raise ValueError(f"{len(bgra)} bytes are no {width}x{height} BGRA picture")
    rows = np.frombuffer(bgra, np.uint8).reshape(height, width, 4)[..., [2, 1, 0, 3]].reshape(height, width * 4)
    # Each row is stored as its difference from the one above: cursors compress well so.
    filtered = np.empty((height, width * 4 + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack("!IIBBBBB", width, height, 8, _RGBA, 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
