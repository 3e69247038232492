# SPDX-License-Identifier: Apache-2.0
"""A clock as black and white squares that survive any codec; `bench/static/barcode_reader.js` reads them. No I/O.

16 squares a row, 6 rows: a fixed mark, the 64-bit time from its highest bit on, a checksum.
"""

from __future__ import annotations

CELL = 16
COLUMNS, ROWS = 16, 6
WIDTH, HEIGHT = COLUMNS * CELL, ROWS * CELL
# Where a second one, that of the clicks, begins.
CLICKS_TOP = HEIGHT + CELL

MARK = 0xA5C3


def checksum(clock_ns: int) -> int:
    """Return the 16-bit words' sum, each turned by its place, and inverted."""
    total = 0
    for place in range(4):
        word = clock_ns >> (16 * (3 - place)) & 0xFFFF
        shift = 3 * place
        total += (word << shift | word >> (16 - shift)) & 0xFFFF
    return ~total & 0xFFFF


def rows(clock_ns: int) -> tuple[int, ...]:
    """Return the rows from the top, 16 bits each; the highest bit is at the left, 1 is white."""
    words = (clock_ns >> shift & 0xFFFF for shift in (48, 32, 16, 0))
    return (MARK, *words, checksum(clock_ns))


def white_squares(clock_ns: int) -> list[tuple[int, int]]:
    """Return the left upper corners of the white squares, relative to the barcode's."""
    return [
        (column * CELL, row * CELL)
        for row, word in enumerate(rows(clock_ns))
        for column in range(COLUMNS)
        if word >> (COLUMNS - 1 - column) & 1
    ]
