# SPDX-License-Identifier: Apache-2.0
"""The barcodes that the guest program draws."""

from __future__ import annotations

import pytest

from bench.guest_programs import barcode


@pytest.mark.parametrize("value", [0, 1, 2**64 - 1, 0x0123_4567_89AB_CDEF])
def test_rows_hold_the_number(value: int) -> None:
    mark, *words, check = barcode.rows(value)
    assert mark == barcode.MARK
    assert sum(word << 16 * (3 - place) for place, word in enumerate(words)) == value
    assert check == barcode.checksum(value)


def test_white_squares_are_the_ones() -> None:
    squares = barcode.white_squares(5)
    assert len(squares) == sum(word.bit_count() for word in barcode.rows(5))
    assert all(0 <= x < barcode.WIDTH and 0 <= y < barcode.HEIGHT for x, y in squares)


def test_barcodes_do_not_lie_over_each_other() -> None:
    assert barcode.CLICKS_TOP >= barcode.HEIGHT
