# SPDX-License-Identifier: Apache-2.0
"""A stand-in for render_core's frame link: rings of NumPy planes in this process, real eventfds, no render worker."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from render_core import Rect
from streamer.encode.encoder import PixelFormat
from streamer.frames import LinkMessage

MAX_HELD = 2


class FakeLinkClosedError(Exception):
    """The fake worker has gone."""


@dataclass(frozen=True, slots=True)
class FakeTrace:
    flush_ns: int
    gpu_done_ns: int
    handoff_ns: int


@dataclass(eq=False, slots=True)
class FakeFrame:
    ring: FakeRing
    sequence: int
    trace: FakeTrace
    planes: NDArray[np.uint8]
    base_sequence: int
    damage: tuple[Rect, ...]
    is_released: bool = False

    def release(self) -> None:
        assert not self.is_released, "a frame was released twice"
        self.is_released = True
        self.ring.held -= 1


class FakeRing:
    """Publishes what a test gives it; the newest wins."""

    def __init__(
        self,
        width: int,
        height: int,
        pixel_format: PixelFormat = "yuv420p",
        scanout_id: int = 0,
        source: tuple[int, int] | None = None,
        divisor: int = 1,
    ) -> None:
        """`source`: what the guest shows, where that is larger by `divisor`."""
        self.scanout_id = scanout_id
        self.format: PixelFormat = pixel_format
        self.width, self.height = width, height
        self.source_width, self.source_height = source or (width, height)
        self.divisor = divisor
        self.coded_width, self.coded_height = (width + 1) // 2 * 2, (height + 3) // 4 * 4
        self.stride = (self.coded_width + 63) // 64 * 64
        self.held = 0
        self.published = 0
        self.acquired: list[int] = []
        self.is_closed = False
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._newest: FakeFrame | None = None

    def fileno(self) -> int:
        return self._eventfd

    def picture(self, y: int, u: int = 128, v: int = 128) -> NDArray[np.uint8]:
        """Return planes of one colour."""
        planes = np.empty((self.coded_height * 3 // 2, self.stride), np.uint8)
        planes[: self.coded_height] = y
        chroma = planes[self.coded_height :]
        if self.format == "nv12":
            chroma[:, 0::2], chroma[:, 1::2] = u, v
        else:
            half = chroma.reshape(-1)
            half[: half.size // 2], half[half.size // 2 :] = u, v
        return planes

    def publish(self, planes: NDArray[np.uint8], damage: tuple[Rect, ...] | None = None) -> None:
        """Hand a frame over, as the worker does. `damage` against the one published before; None: everywhere."""
        planes = planes.view()
        planes.flags.writeable = False
        now_ns = time.monotonic_ns()
        base, untaken = self.published, self._newest
        self.published += 1
        rects = (Rect(0, 0, self.width, self.height),) if damage is None else damage
        if untaken is not None:
            # A frame that was never taken hands its damage to the next.
            base, rects = untaken.base_sequence, (*untaken.damage, *rects)
        trace = FakeTrace(now_ns, now_ns + 1, now_ns + 2)
        self._newest = FakeFrame(self, self.published, trace, planes, base, rects)
        os.eventfd_write(self._eventfd, 1)

    def acquire(self) -> FakeFrame | None:
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            pass
        frame, self._newest = self._newest, None
        if frame is not None:
            self.held += 1
            self.acquired.append(frame.sequence)
            assert self.held <= MAX_HELD, "more frames are held than may be"
        return frame

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self._eventfd)


@dataclass(eq=False)
class FakeFrameLink:
    """The worker's side is this object: `post()` a message, `drop()` the link, read what was `asked`."""

    sock: socket.socket
    watched: set[int] = field(default_factory=set)
    displays: list[tuple[int, int, int]] = field(default_factory=list)  # scanout, width, height
    expected: int = 0

    def __post_init__(self) -> None:
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._messages: deque[LinkMessage] = deque()
        self._is_dropped = False
        self.is_closed = False

    @property
    def active(self) -> bool:
        """Whether scanout 0 is watched."""
        return 0 in self.watched

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """What scanout 0 was asked for."""
        return [(width, height) for scanout_id, width, height in self.displays if scanout_id == 0]

    def post(self, message: LinkMessage) -> None:
        self._messages.append(message)
        os.eventfd_write(self._eventfd, 1)

    def drop(self) -> None:
        self._is_dropped = True
        os.eventfd_write(self._eventfd, 1)

    def fileno(self) -> int:
        return self._eventfd

    def receive(self) -> list[LinkMessage]:
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            pass
        if self._is_dropped:
            raise FakeLinkClosedError("the worker has gone")
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def set_active(self, scanout_id: int, active: bool) -> None:
        if active:
            self.watched.add(scanout_id)
        else:
            self.watched.discard(scanout_id)

    def expect_picture(self, scanout_id: int) -> None:
        self.expected += 1

    def set_display(self, scanout_id: int, width: int, height: int, refresh_mhz: int = 0) -> None:
        self.displays.append((scanout_id, width, height))

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self._eventfd)
            self.sock.close()
