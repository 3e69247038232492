# SPDX-License-Identifier: Apache-2.0
"""Cursor images: as XFixes gives them, hidden when nothing is to be seen."""

from __future__ import annotations

import struct

from guest_agent.cursor_picture import make_picture


def argb(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def test_pixels_stay_premultiplied() -> None:
    picture = make_picture(2, 2, 1, 1, argb(0xFF102030, 0x80402000, 0x00000000, 0x01010101))
    assert picture is not None
    assert picture.pixels == bytes.fromhex("302010ff 00204080 00000000 01010101")
    assert (picture.width, picture.height, picture.hot_x, picture.hot_y) == (2, 2, 1, 1)


def test_invisible_cursor_is_none() -> None:
    assert make_picture(2, 1, 0, 0, argb(0x00FFFFFF, 0)) is None
    assert make_picture(0, 0, 0, 0, b"") is None
    assert make_picture(2, 2, 0, 0, argb(1)) is None


def test_large_cursor_is_cut() -> None:
    picture = make_picture(300, 2, 299, 1, argb(*[0xFF000000 + n for n in range(600)]))
    assert picture is not None
    assert (picture.width, picture.height, picture.hot_x, picture.hot_y) == (256, 2, 255, 1)
    assert picture.pixels[256 * 4 : 256 * 4 + 4] == (0xFF000000 + 300).to_bytes(4, "little")
