# SPDX-License-Identifier: Apache-2.0
"""The render core: guests' displays in, frames in shared memory out."""

from .errors import DeviceError, InvalidError, LinkClosedError, LinkError, RenderCoreError, UnsupportedError
from .frame import Frame, FrameTrace, Rect, Ring, RingLayout
from .frame_link import CursorImage, CursorMove, Device, Event, FrameLink, ScanoutOff

__all__ = [
    "CursorImage",
    "CursorMove",
    "Device",
    "DeviceError",
    "Event",
    "Frame",
    "FrameLink",
    "FrameTrace",
    "InvalidError",
    "LinkClosedError",
    "LinkError",
    "Rect",
    "RenderCoreError",
    "Ring",
    "RingLayout",
    "ScanoutOff",
    "UnsupportedError",
]
