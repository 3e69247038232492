# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of virtual machines computes, without machines."""

from __future__ import annotations

import numpy as np
import pytest

from bench.guest_programs import barcode
from bench.rfb import read_barcode
from bench.vm import Round, Standing, join, result


@pytest.mark.parametrize("number", [0, 1, 0x0123456789ABCDEF, 2**64 - 1])
def test_barcodes_are_read_from_pixels(number: int) -> None:
    image = np.zeros((barcode.HEIGHT, barcode.WIDTH), np.uint32)
    for x, y in barcode.white_squares(number):
        image[y : y + barcode.CELL, x : x + barcode.CELL] = 0xFFFFFF
    assert read_barcode(image) == number
    image[: barcode.CELL] ^= 0xFFFFFF
    assert read_barcode(image) is None


def test_times_are_joined_by_number() -> None:
    assert join({1: 1_000_000, 2: 2_000_000, 4: 9_000_000}, {1: 3.5, 2: 2.25, 3: 7.0}) == (2.5, 0.25)


def test_a_way_without_rounds_has_a_row_and_its_failures_are_told() -> None:
    shown = Standing("one", [Round((1.0, 3.0), (0.5,), 2.0, 0.5, 0.25, 1.0)])
    found = result({"flip 57/s": [shown, Standing("other", failures=["no picture"])]}, {}, [])
    [table] = found.tables
    assert [row["way"] for row in table.rows] == ["one", "other"]
    assert table.rows[0]["to the page p50 ms"] == 2.0
    assert list(found.pictures) == ["flip-57"]  # a file's name
    assert found.notes == ("flip 57/s, other: a round failed: no picture",)
