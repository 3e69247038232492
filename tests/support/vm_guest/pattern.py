# SPDX-License-Identifier: Apache-2.0
"""The picture that the guest's program `kms` shows after it has set a mode: what tests expect to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
CORNER = 64
CURSOR_SIZE = 24


def pattern(width: int, height: int, output: int = 0) -> NDArray[np.uint8]:
    """Return the pattern of an output, RGB (height, width, 3): squares of 32 pixels, and a square of 64 in each corner:
    red, green, blue, white from the upper left."""
    across = np.arange(width) // BLOCK
    down = np.arange(height)[:, None] // BLOCK
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (across * 37 + output * 85) & 0xFF
    image[..., 1] = (down * 53 + output * 29) & 0xFF
    image[..., 2] = ((across ^ down) * 29 + 64) & 0xFF
    image[:CORNER, :CORNER] = (255, 0, 0)
    image[:CORNER, -CORNER:] = (0, 255, 0)
    image[-CORNER:, :CORNER] = (0, 0, 255)
    image[-CORNER:, -CORNER:] = (255, 255, 255)
    return image


def centres(width: int, height: int) -> list[tuple[int, int]]:
    """Return the middles of the pattern's whole squares (x, y), where what a codec does at edges is not seen."""
    half = BLOCK // 2
    return [
        (x + half, y + half)
        for y in range(0, height - BLOCK + 1, BLOCK)
        for x in range(0, width - BLOCK + 1, BLOCK)
        if not (_is_cut(x, width) and _is_cut(y, height))
    ]


def _is_cut(start: int, size: int) -> bool:
    """Whether a corner's edge may run through a square that begins here."""
    return start < size - CORNER < start + BLOCK
