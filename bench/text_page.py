# SPDX-License-Identifier: Apache-2.0
"""A page of text, near enough for codecs, where there is no font: glyphs of random dots, lines of random length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CELL_WIDTH, CELL_HEIGHT = 8, 16
_GLYPHS = 96
_DOTS = 0.25
_PAPER, _INK = 0x1D, 0xD8


def text_page(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return light text on dark, uint8 (height, width), the same at every call."""
    random = np.random.default_rng(1)
    font = np.where(random.random((_GLYPHS, CELL_HEIGHT, CELL_WIDTH)) < _DOTS, _INK, _PAPER).astype(np.uint8)
    page = np.full((height, width), _PAPER, np.uint8)
    columns = width // CELL_WIDTH
    for top in range(0, height - CELL_HEIGHT + 1, CELL_HEIGHT):
        count = int(random.integers(columns // 8, columns))
        line = font[random.integers(0, _GLYPHS, count)]
        page[top : top + CELL_HEIGHT, : count * CELL_WIDTH] = line.transpose(1, 0, 2).reshape(CELL_HEIGHT, -1)
    return page
