# SPDX-License-Identifier: Apache-2.0
"""A picture that QEMU shows: where its pixels are, and how rows are read into memory of ours.

Numbers are QEMU's and checked here. QEMU's own memory is only ever read by system calls: a mapping of it could vanish
under us, since QEMU 10 does not seal its memfds against shrinking (which is also why the render worker refuses them).
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from guest_agent.virtio_gpu import Format, Rect

MAX_SIZE = 16384
MAX_PICTURE_BYTES = 1 << 29  # 15360×8640 in 32 bit

# pixman's format codes, 32 bit a pixel; on a little-endian host the memory is that of Virtio's formats. Alpha is not
# looked at: a screen has none.
_FORMATS = {
    0x20028888: Format.B8G8R8X8_UNORM,  # a8r8g8b8
    0x20020888: Format.B8G8R8X8_UNORM,  # x8r8g8b8
    0x20038888: Format.R8G8B8X8_UNORM,  # a8b8g8r8
    0x20030888: Format.R8G8B8X8_UNORM,  # x8b8g8r8
    0x20088888: Format.X8R8G8B8_UNORM,  # b8g8r8a8
    0x20080888: Format.X8R8G8B8_UNORM,  # b8g8r8x8
}
_R5G6B5 = 0x10020565


class PictureError(ValueError):
    """QEMU's numbers make no picture; the text says which."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture's size and memory. `stride_bytes` is QEMU's; `is_16_bit`: r5g6b5, which read_rows() makes 32 bit."""

    width: int
    height: int
    stride_bytes: int
    pixel_format: Format
    is_16_bit: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of QEMU's picture, its last row without a gap."""
        return self.stride_bytes * (self.height - 1) + self.width * (2 if self.is_16_bit else 4)

    @property
    def shown_stride_bytes(self) -> int:
        """Bytes from row to row of what read_rows() makes."""
        return self.width * 4 if self.is_16_bit else self.stride_bytes

    @property
    def whole(self) -> Rect:
        return Rect(0, 0, self.width, self.height)


def make_layout(width: int, height: int, stride_bytes: int, pixman_format: int) -> Layout:
    """Check QEMU's numbers.

    Raises:
        PictureError: they make no picture that can be shown.
    """
    if not (0 < width <= MAX_SIZE and 0 < height <= MAX_SIZE):
        raise PictureError(f"the size {width}×{height} is not within 1×1 and {MAX_SIZE}×{MAX_SIZE}")
    is_16_bit = pixman_format == _R5G6B5
    pixel_format = Format.B8G8R8X8_UNORM if is_16_bit else _FORMATS.get(pixman_format)
    if pixel_format is None:
        raise PictureError(f"the pixel format {pixman_format:#x} is not shown: 32 bit or r5g6b5 is")
    pixel_bytes = 2 if is_16_bit else 4
    if stride_bytes < width * pixel_bytes or stride_bytes % pixel_bytes or stride_bytes > MAX_SIZE * 8:
        raise PictureError(f"the stride {stride_bytes} does not fit a width of {width}")
    if stride_bytes * height > MAX_PICTURE_BYTES:
        raise PictureError(f"{stride_bytes * height} bytes are over the limit of {MAX_PICTURE_BYTES}")
    return Layout(width, height, stride_bytes, pixel_format, is_16_bit)


class Picture(Protocol):
    """Pixels of QEMU's."""

    layout: Layout

    def read_rows(self, y: int, height: int, target: memoryview) -> None:
        """Copy whole rows to `target`, which begins with row `y` and has rows of `layout.shown_stride_bytes`.

        Raises:
            OSError: they cannot be read.
        """

    def close(self) -> None:
        """May be called twice."""


class ReceivedPicture:
    """Pixels that came in a message, and what was updated since."""

    def __init__(self, layout: Layout, data: memoryview) -> None:
        """`data` is the picture's from now on.

        Raises:
            PictureError: there is not as much as the layout says.
        """
        if len(data) < layout.size_bytes:
            raise PictureError(f"{len(data)} bytes came for a picture of {layout.size_bytes}")
        self.layout = layout
        self._data = data

    def update(self, rect: Rect, stride_bytes: int, pixman_format: int, data: memoryview) -> None:
        """Replace a part.

        Raises:
            PictureError: it does not lie inside, or there are too few bytes.
        """
        part = make_layout(rect.width, rect.height, stride_bytes, pixman_format)
        if rect.clipped(self.layout.width, self.layout.height) != rect:
            raise PictureError(f"{rect} is not inside {self.layout.width}×{self.layout.height}")
        if (part.pixel_format, part.is_16_bit) != (self.layout.pixel_format, self.layout.is_16_bit):
            raise PictureError("an update has another pixel format than its picture")
        if len(data) < part.size_bytes:
            raise PictureError(f"{len(data)} bytes came for a part of {part.size_bytes}")
        pixel_bytes = 2 if part.is_16_bit else 4
        row_bytes = rect.width * pixel_bytes
        own_stride = self.layout.stride_bytes
        begin = rect.y * own_stride + rect.x * pixel_bytes
        if row_bytes == own_stride == stride_bytes:
            self._data[begin : begin + row_bytes * rect.height] = data[: row_bytes * rect.height]
            return
        for row in range(rect.height):
            at = begin + row * own_stride
            self._data[at : at + row_bytes] = data[row * stride_bytes : row * stride_bytes + row_bytes]

    def read_rows(self, y: int, height: int, target: memoryview) -> None:
        stride = self.layout.stride_bytes
        rows = self._data[y * stride : (y + height) * stride]
        if self.layout.is_16_bit:
            _widen(self.layout, rows, height, target)
        else:
            target[: len(rows)] = rows

    def close(self) -> None:
        pass


class MappedPicture:
    """Pixels in a memfd of QEMU's. Owns the descriptor until close()."""

    def __init__(self, layout: Layout, fd: int, offset: int) -> None:
        """On failure the descriptor stays the caller's.

        Raises:
            PictureError: it is not what QEMU gives, or is too small.
        """
        try:
            status = os.fstat(fd)
            # Only memory has seals: a read from anything else might wait for ever.
            fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            raise PictureError("the picture's descriptor is no memfd") from error
        if not stat.S_ISREG(status.st_mode) or offset + layout.size_bytes > status.st_size:
            raise PictureError(f"a picture of {layout.size_bytes} bytes at {offset} is not inside {status.st_size}")
        self.layout = layout
        self._fd = fd
        self._offset = offset

    def read_rows(self, y: int, height: int, target: memoryview) -> None:
        stride = self.layout.stride_bytes
        size = min((y + height) * stride, self.layout.size_bytes) - y * stride
        rows = memoryview(bytearray(size)) if self.layout.is_16_bit else target[:size]
        done = 0
        while done < size:
            got = os.preadv(self._fd, [rows[done:]], self._offset + y * stride + done)
            if not got:
                raise OSError("QEMU has made its picture's memory smaller")
            done += got
        if self.layout.is_16_bit:
            _widen(self.layout, rows, height, target)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _widen(layout: Layout, rows: memoryview, height: int, target: memoryview) -> None:
    """r5g6b5 to B8G8R8X8; the last row may lack its gap."""
    source = np.zeros((height, layout.stride_bytes // 2), np.uint16)
    source.reshape(-1).view(np.uint8)[: len(rows)] = np.frombuffer(rows, np.uint8)
    pixels = source[:, : layout.width].astype(np.uint32)
    red, green, blue = pixels >> 11, pixels >> 5 & 63, pixels & 31
    wide = (red << 3 | red >> 2) << 16 | (green << 2 | green >> 4) << 8 | (blue << 3 | blue >> 2)
    out = np.frombuffer(target, np.uint32, count=height * layout.width)
    out[:] = wide.reshape(-1)
