# SPDX-License-Identifier: Apache-2.0
"""The virtio-gpu structs that the agent speaks (OASIS Virtio 1.2, 5.7.6), little-endian. Packing only, no I/O."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

MAX_SCANOUTS = 16


class Command(enum.IntEnum):
    GET_DISPLAY_INFO = 0x0100
    RESOURCE_CREATE_2D = 0x0101
    RESOURCE_UNREF = 0x0102
    SET_SCANOUT = 0x0103
    RESOURCE_FLUSH = 0x0104
    TRANSFER_TO_HOST_2D = 0x0105
    RESOURCE_ATTACH_BACKING = 0x0106
    RESOURCE_CREATE_BLOB = 0x010C
    SET_SCANOUT_BLOB = 0x010D
    UPDATE_CURSOR = 0x0300
    MOVE_CURSOR = 0x0301


class ResponseType(enum.IntEnum):
    OK_NODATA = 0x1100
    OK_DISPLAY_INFO = 0x1101
    ERR_UNSPEC = 0x1200
    ERR_OUT_OF_MEMORY = 0x1201
    ERR_INVALID_SCANOUT_ID = 0x1202
    ERR_INVALID_RESOURCE_ID = 0x1203
    ERR_INVALID_CONTEXT_ID = 0x1204
    ERR_INVALID_PARAMETER = 0x1205


class Format(enum.IntEnum):
    B8G8R8A8_UNORM = 1
    B8G8R8X8_UNORM = 2
    X8R8G8B8_UNORM = 4
    R8G8B8X8_UNORM = 134


EVENT_DISPLAY = 1
BLOB_MEM_GUEST = 1
BLOB_FLAG_USE_SHAREABLE = 2

HEADER = struct.Struct("<IIQIB3x")
RECT = struct.Struct("<IIII")
MEM_ENTRY = struct.Struct("<QI4x")
DISPLAY_ONE = struct.Struct("<IIIIII")
CREATE_2D = struct.Struct("<IIII")
UNREF = struct.Struct("<I4x")
SET_SCANOUT = struct.Struct("<IIIIII")
FLUSH = struct.Struct("<IIIII4x")
TRANSFER_2D = struct.Struct("<IIIIQI4x")
ATTACH_BACKING = struct.Struct("<II")
CREATE_BLOB = struct.Struct("<IIIIQQ")
SET_SCANOUT_BLOB = struct.Struct("<IIIIIIIII4x4I4I")
CURSOR = struct.Struct("<Iii4xIII4x")


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def union(self, other: Rect) -> Rect:
        """Return the smallest rectangle that holds both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        bottom = max(self.y + self.height, other.y + other.height)
        return Rect(x, y, right - x, bottom - y)

    def clipped(self, width: int, height: int) -> Rect | None:
        """Return the part that lies within 0, 0, width, height, or None when there is none."""
        x, y = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, width), min(self.y + self.height, height)
        return Rect(x, y, right - x, bottom - y) if right > x and bottom > y else None


@dataclass(frozen=True, slots=True)
class DisplayMode:
    """One entry of GET_DISPLAY_INFO's answer."""

    rect: Rect
    enabled: bool


def _header(command: Command) -> bytes:
    return HEADER.pack(command, 0, 0, 0, 0)


def _rect(rect: Rect) -> tuple[int, int, int, int]:
    return rect.x, rect.y, rect.width, rect.height


def get_display_info() -> bytes:
    return _header(Command.GET_DISPLAY_INFO)


def create_2d(resource_id: int, pixel_format: Format, width: int, height: int) -> bytes:
    return _header(Command.RESOURCE_CREATE_2D) + CREATE_2D.pack(resource_id, pixel_format, width, height)


def unref(resource_id: int) -> bytes:
    return _header(Command.RESOURCE_UNREF) + UNREF.pack(resource_id)


def flush(resource_id: int, rect: Rect) -> bytes:
    return _header(Command.RESOURCE_FLUSH) + FLUSH.pack(*_rect(rect), resource_id)


def transfer_to_host_2d(resource_id: int, rect: Rect, offset: int) -> bytes:
    return _header(Command.TRANSFER_TO_HOST_2D) + TRANSFER_2D.pack(*_rect(rect), offset, resource_id)


def attach_backing(resource_id: int, address: int, size_bytes: int) -> bytes:
    body = ATTACH_BACKING.pack(resource_id, 1) + MEM_ENTRY.pack(address, size_bytes)
    return _header(Command.RESOURCE_ATTACH_BACKING) + body


def create_blob(resource_id: int, address: int, size_bytes: int) -> bytes:
    """A blob of the guest's memory, in one piece."""
    body = CREATE_BLOB.pack(resource_id, BLOB_MEM_GUEST, BLOB_FLAG_USE_SHAREABLE, 1, 0, size_bytes)
    return _header(Command.RESOURCE_CREATE_BLOB) + body + MEM_ENTRY.pack(address, size_bytes)


def set_scanout(scanout_id: int, resource_id: int, rect: Rect) -> bytes:
    """Show a part of a 2D resource; resource 0 turns the scanout off."""
    return _header(Command.SET_SCANOUT) + SET_SCANOUT.pack(*_rect(rect), scanout_id, resource_id)


def set_scanout_blob(
    scanout_id: int, resource_id: int, width: int, height: int, pixel_format: Format, stride_bytes: int = 0
) -> bytes:
    """Show the whole of a blob. `stride_bytes` from row to row; 0: rows follow each other without gaps."""
    strides, offsets = (stride_bytes or width * 4, 0, 0, 0), (0, 0, 0, 0)
    body = SET_SCANOUT_BLOB.pack(
        0, 0, width, height, scanout_id, resource_id, width, height, pixel_format, *strides, *offsets
    )
    return _header(Command.SET_SCANOUT_BLOB) + body


def move_cursor(scanout_id: int, x: int, y: int) -> bytes:
    return _header(Command.MOVE_CURSOR) + CURSOR.pack(scanout_id, x, y, 0, 0, 0)


def update_cursor(scanout_id: int, x: int, y: int, resource_id: int, hot_x: int, hot_y: int) -> bytes:
    """Resource 0 hides the cursor."""
    return _header(Command.UPDATE_CURSOR) + CURSOR.pack(scanout_id, x, y, resource_id, hot_x, hot_y)


def response_type(body: bytes) -> int:
    """Return the type of a response, 0 when the body is too short for one."""
    return int(HEADER.unpack_from(body)[0]) if len(body) >= HEADER.size else 0


def parse_display_info(body: bytes) -> list[DisplayMode]:
    """Return the scanouts' wanted modes.

    Raises:
        ValueError: this is no such answer.
    """
    if response_type(body) != ResponseType.OK_DISPLAY_INFO:
        raise ValueError(f"GET_DISPLAY_INFO was answered with {response_type(body):#x}")
    if len(body) != HEADER.size + MAX_SCANOUTS * DISPLAY_ONE.size:
        raise ValueError(f"GET_DISPLAY_INFO's answer has {len(body)} bytes")
    modes = []
    for x, y, width, height, enabled, _flags in DISPLAY_ONE.iter_unpack(body[HEADER.size :]):
        modes.append(DisplayMode(Rect(x, y, width, height), bool(enabled)))
    return modes
