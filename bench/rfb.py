# SPDX-License-Identifier: Apache-2.0
"""A VNC client that only reads the barcode: when a server's picture has come to a process beside it (RFC 6143)."""

from __future__ import annotations

import asyncio
import struct
import time

import numpy as np
from numpy.typing import NDArray

from bench.guest_programs import barcode

_SECURITY_NONE = 1
_RAW = 0
_UPDATE = 0
# 32 bits a pixel, depth 24, little endian, true colour, 255 each, red from bit 16, green 8, blue 0.
_PIXEL_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class RfbError(Exception):
    """The server does not speak as this client does; the text says where."""


async def watch_barcode(port: int, seconds: float) -> dict[int, float]:
    """Ask a server of this machine for the barcode's part, again whenever it has come.

    Returns:
        By number, when its pixels had come first, in ms of CLOCK_MONOTONIC.

    Raises:
        RfbError, OSError: it cannot be watched.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await _shake_hands(reader, writer)
        writer.write(struct.pack(">Bxxx", 0) + _PIXEL_FORMAT)
        writer.write(struct.pack(">BxHi", 2, 1, _RAW))
        found: dict[int, float] = {}
        image = np.zeros((barcode.HEIGHT, barcode.WIDTH), np.uint32)
        is_incremental = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    writer.write(struct.pack(">BBHHHH", 3, is_incremental, 0, 0, barcode.WIDTH, barcode.HEIGHT))
                    is_incremental = 1
                    await _take_update(reader, image)
                    now_ms = time.monotonic_ns() / 1e6
                    number = read_barcode(image)
                    if number is not None:
                        found.setdefault(number, now_ms)
        except TimeoutError:
            return found
    finally:
        writer.close()


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    version = await reader.readexactly(12)
    if version != b"RFB 003.008\n":
        raise RfbError(f"the server speaks {version!r}")
    writer.write(version)
    kinds = await reader.readexactly((await reader.readexactly(1))[0])
    if _SECURITY_NONE not in kinds:
        raise RfbError("the server wants a password")
    writer.write(bytes([_SECURITY_NONE]))
    if any(await reader.readexactly(4)):
        raise RfbError("the server refuses us")
    writer.write(b"\1")  # others may watch too
    header = await reader.readexactly(24)
    await reader.readexactly(struct.unpack(">I", header[20:])[0])


async def _take_update(reader: asyncio.StreamReader, image: NDArray[np.uint32]) -> None:
    """Read messages up to an update, and draw that."""
    while (kind := (await reader.readexactly(1))[0]) != _UPDATE:
        if kind == 3:
            (length,) = struct.unpack(">xxxI", await reader.readexactly(7))
            await reader.readexactly(length)
        elif kind != 2:
            raise RfbError(f"the server says {kind}, which is not known here")
    (count,) = struct.unpack(">xH", await reader.readexactly(3))
    for _ in range(count):
        left, top, width, height, encoding = struct.unpack(">HHHHi", await reader.readexactly(12))
        if encoding != _RAW:
            raise RfbError(f"the server sends encoding {encoding}")
        pixels = np.frombuffer(await reader.readexactly(width * height * 4), "<u4").reshape(height, width)
        part = image[top : top + height, left : left + width]
        part[:] = pixels[: part.shape[0], : part.shape[1]]


def read_barcode(image: NDArray[np.uint32]) -> int | None:
    """Return the number that a barcode in XRGB pixels stands for; None where there is none. No I/O."""
    half = barcode.CELL // 2
    white = (image[half :: barcode.CELL, half :: barcode.CELL] & 0xFF) >= 128
    words = [int("".join("1" if cell else "0" for cell in row), 2) for row in white[: barcode.ROWS, : barcode.COLUMNS]]
    number = 0
    for word in words[1:5]:
        number = number << 16 | word
    return number if tuple(words) == barcode.rows(number) else None
