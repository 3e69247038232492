# SPDX-License-Identifier: Apache-2.0
"""Text, near enough for codecs, where there is no font: glyphs of random dots, lines of random length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Area = npt.NDArray[np.uint8]

CELL_WIDTH, CELL_HEIGHT = 8, 16
_GLYPHS = 96
_DOTS = 0.25


class RandomText:
    """Writes text into luma areas, uint8 (height, width); the same for the same calls."""

    def __init__(self, paper: int, ink: int) -> None:
        self.random = np.random.default_rng(1)
        dots = self.random.random((_GLYPHS, CELL_HEIGHT, CELL_WIDTH)) < _DOTS
        self._font = np.where(dots, ink, paper).astype(np.uint8)
        self._paper = paper

    def write(self, area: Area) -> None:
        """Fill an area with lines of different lengths."""
        area[:] = self._paper
        columns = area.shape[1] // CELL_WIDTH
        for top in range(0, area.shape[0] - CELL_HEIGHT + 1, CELL_HEIGHT):
            count = int(self.random.integers(columns // 8, columns))
            line = self._font[self.random.integers(0, _GLYPHS, count)]
            area[top : top + CELL_HEIGHT, : count * CELL_WIDTH] = line.transpose(1, 0, 2).reshape(CELL_HEIGHT, -1)

    def scroll(self, area: Area, lines: int) -> None:
        """Move an area up by lines of text; new ones come in below."""
        step = lines * CELL_HEIGHT
        area[:-step] = area[step:].copy()
        self.write(area[-step:])

    def letter(self, area: Area, x: int, y: int) -> None:
        """Draw any letter at a place."""
        area[y : y + CELL_HEIGHT, x : x + CELL_WIDTH] = self._font[self.random.integers(0, _GLYPHS)]


def text_page(width: int, height: int) -> Area:
    """Return light text on dark, uint8 (height, width), the same at every call."""
    page = np.empty((height, width), np.uint8)
    RandomText(paper=0x1D, ink=0xD8).write(page)
    return page
