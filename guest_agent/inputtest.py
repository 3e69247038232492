# SPDX-License-Identifier: Apache-2.0
"""The protocol of Xorg's inputtest driver (`xf86-input-inputtest-protocol.h`, 1.1), the part for pointers. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Mapping

MAJOR, MINOR = 1, 1
SCROLL_UNITS_PER_NOTCH = 120.0
AXIS_X, AXIS_Y, AXIS_SCROLL_X, AXIS_SCROLL_Y = range(4)

_CLIENT_VERSION, _WAIT_FOR_SYNC, _MOTION, _PROXIMITY, _BUTTON = range(5)
RESPONSE_VERSION, RESPONSE_SYNC_FINISHED = range(2)

MAX_AXES = 64
RESPONSE_HEADER = struct.Struct("=II")
# C structs with their native padding.
_VERSION_EVENT = struct.Struct("@IIHH")
_EMPTY_EVENT = struct.Struct("@II")
_VALUATORS = struct.Struct(f"@I8s{MAX_AXES}d{MAX_AXES}d")
_MOTION_EVENT = struct.Struct(f"@III4x{_VALUATORS.size}s")
_BUTTON_EVENT = struct.Struct(f"@IIiiI4x{_VALUATORS.size}s")


def _valuators(values: Mapping[int, float]) -> bytes:
    mask = bytearray(MAX_AXES // 8)
    axes = [0.0] * MAX_AXES
    for axis, value in values.items():
        mask[axis // 8] |= 1 << axis % 8
        axes[axis] = value
    return _VALUATORS.pack(0, bytes(mask), *axes, *[0.0] * MAX_AXES)


def client_version() -> bytes:
    return _VERSION_EVENT.pack(_VERSION_EVENT.size, _CLIENT_VERSION, MAJOR, MINOR)


def wait_for_sync() -> bytes:
    return _EMPTY_EVENT.pack(_EMPTY_EVENT.size, _WAIT_FOR_SYNC)


def motion(values: Mapping[int, float], *, absolute: bool) -> bytes:
    return _MOTION_EVENT.pack(_MOTION_EVENT.size, _MOTION, absolute, _valuators(values))


def button(number: int, *, down: bool) -> bytes:
    return _BUTTON_EVENT.pack(_BUTTON_EVENT.size, _BUTTON, 0, number, down, _valuators({}))


def parse_response(data: bytes) -> tuple[int | None, bytes]:
    """Return the type of the first response in `data` and the rest; None when there is no whole one.

    Raises:
        ValueError: this is no response.
    """
    if len(data) < RESPONSE_HEADER.size:
        return None, data
    length, kind = RESPONSE_HEADER.unpack_from(data)
    if not RESPONSE_HEADER.size <= length <= 64:
        raise ValueError(f"a response of {length} bytes")
    return (kind, data[length:]) if len(data) >= length else (None, data)
