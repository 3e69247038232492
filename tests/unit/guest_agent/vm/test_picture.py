# SPDX-License-Identifier: Apache-2.0
"""QEMU's pictures: its numbers are checked, its pixels come out right."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

from guest_agent.virtio_gpu import Format, Rect
from guest_agent.vm.picture import Layout, MappedPicture, PictureError, ReceivedPicture, make_layout

X8R8G8B8, A8B8G8R8, B8G8R8X8, R5G6B5 = 0x20020888, 0x20038888, 0x20080888, 0x10020565


def test_layouts() -> None:
    assert make_layout(3, 2, 16, X8R8G8B8) == Layout(3, 2, 16, Format.B8G8R8X8_UNORM)
    assert make_layout(3, 2, 12, A8B8G8R8).pixel_format == Format.R8G8B8X8_UNORM
    assert make_layout(3, 2, 12, B8G8R8X8).pixel_format == Format.X8R8G8B8_UNORM
    assert make_layout(3, 2, 16, X8R8G8B8).size_bytes == 28
    narrow = make_layout(3, 2, 8, R5G6B5)
    assert (narrow.size_bytes, narrow.shown_stride_bytes) == (14, 12)


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ((0, 1, 4, X8R8G8B8), "the size 0×1"),
        ((1, 16385, 4, X8R8G8B8), "the size 1×16385"),
        ((2**32 - 1, 1, 4, X8R8G8B8), "the size"),
        ((-1, 1, 4, X8R8G8B8), "the size"),
        ((2, 1, 4, X8R8G8B8), "the stride 4"),
        ((2, 1, 10, X8R8G8B8), "the stride 10"),
        ((2, 1, 2**32 - 4, X8R8G8B8), "the stride"),
        ((16384, 16384, 65536, X8R8G8B8), "over the limit"),
        ((2, 1, 8, 0x18020888), "pixel format 0x18020888 is not shown"),
        ((2, 1, 8, 0), "pixel format 0x0"),
    ],
)
def test_numbers_that_make_no_picture(numbers: tuple[int, int, int, int], error: str) -> None:
    with pytest.raises(PictureError, match=error):
        make_layout(*numbers)


def rows_of(picture: ReceivedPicture | MappedPicture, y: int = 0, height: int | None = None) -> bytes:
    height = picture.layout.height if height is None else height
    target = bytearray(picture.layout.shown_stride_bytes * height)
    picture.read_rows(y, height, memoryview(target))
    return bytes(target)


def test_received_pixels_and_their_updates() -> None:
    layout = make_layout(2, 3, 12, X8R8G8B8)
    data = bytearray(range(layout.size_bytes))
    picture = ReceivedPicture(layout, memoryview(data))
    assert rows_of(picture)[:32] == bytes(range(32))
    part = struct.pack("<II", 0xAABBCCDD, 0x11223344)
    picture.update(Rect(1, 1, 1, 2), 4, X8R8G8B8, memoryview(part))
    assert rows_of(picture, 1, 2)[4:8] == part[:4] and rows_of(picture, 1, 2)[16:20] == part[4:]
    whole = make_layout(2, 2, 8, X8R8G8B8)
    picture = ReceivedPicture(whole, memoryview(bytearray(16)))
    picture.update(Rect(0, 0, 2, 2), 8, X8R8G8B8, memoryview(b"x" * 17))
    assert rows_of(picture) == b"x" * 16


def test_updates_that_do_not_fit() -> None:
    picture = ReceivedPicture(make_layout(4, 4, 16, X8R8G8B8), memoryview(bytearray(64)))
    some = memoryview(bytes(64))
    for rect, stride, kind, data, error in (
        (Rect(1, 0, 4, 4), 16, X8R8G8B8, some, "is not inside"),
        (Rect(-1, 0, 2, 2), 16, X8R8G8B8, some, "is not inside"),
        (Rect(0, 2**31 - 1, 1, 1), 16, X8R8G8B8, some, "is not inside"),
        (Rect(0, 0, 0, 1), 16, X8R8G8B8, some, "the size"),
        (Rect(0, 0, 4, 4), 12, X8R8G8B8, some, "the stride"),
        (Rect(0, 0, 4, 4), 16, X8R8G8B8, some[:63], "63 bytes came"),
        (Rect(0, 0, 4, 4), 16, A8B8G8R8, some, "another pixel format"),
    ):
        with pytest.raises(PictureError, match=error):
            picture.update(rect, stride, kind, data)
    with pytest.raises(PictureError, match="63 bytes came"):
        ReceivedPicture(make_layout(4, 4, 16, X8R8G8B8), some[:63])


def test_sixteen_bits_become_thirty_two() -> None:
    values = np.array([[0xF800, 0x07E0, 0xDEAD], [0x001F, 0xFFFF, 0xDEAD]], "<u2")
    layout = make_layout(2, 2, 6, R5G6B5)
    wide = np.frombuffer(rows_of(ReceivedPicture(layout, memoryview(bytearray(values.tobytes())))), "<u4")
    assert wide.tolist() == [0xFF0000, 0x00FF00, 0x0000FF, 0xFFFFFF]
    picture = ReceivedPicture(layout, memoryview(bytearray(values.tobytes()[: layout.size_bytes])))
    picture.update(Rect(1, 1, 1, 1), 2, R5G6B5, memoryview(struct.pack("<H", 0xF800)))
    assert np.frombuffer(rows_of(picture, 1, 1), "<u4").tolist() == [0x0000FF, 0xFF0000]


def test_mapped_pixels() -> None:
    fd = os.memfd_create("test")
    os.write(fd, bytes(4) + bytes(range(64)))
    picture = MappedPicture(make_layout(4, 4, 16, X8R8G8B8), os.dup(fd), 4)
    assert rows_of(picture, 1, 2) == bytes(range(16, 48))
    # It may become smaller at any time.
    os.ftruncate(fd, 20)
    with pytest.raises(OSError, match="smaller"):
        rows_of(picture)
    with pytest.raises(PictureError, match="is not inside 20"):
        MappedPicture(make_layout(4, 4, 16, X8R8G8B8), fd, 4)
    with pytest.raises(PictureError, match="is not inside"):
        MappedPicture(make_layout(1, 1, 4, X8R8G8B8), fd, 2**32 - 1)
    picture.close()
    picture.close()
    os.close(fd)


def test_only_memory_is_read() -> None:
    for fd in (*os.pipe(), os.open("/proc/self/status", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY)):
        with pytest.raises(PictureError, match="no memfd"):
            MappedPicture(make_layout(1, 1, 4, X8R8G8B8), fd, 0)
        os.close(fd)
