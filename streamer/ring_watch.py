# SPDX-License-Identifier: Apache-2.0
"""Looks for frames in the frame ring while somebody wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamer.frames import FrameRing, HeldFrame

MAX_EMPTY_EVENTS = 1000


class RingWatch:
    """Owns one ring at a time. Event loop only.

    `on_readable` is called when there is a frame; the eventfd stays readable until acquire(), so it is not looked at
    meanwhile. `on_failure` when the ring raised one of `errors` or keeps announcing frames that are not there: it is
    closed then.
    """

    def __init__(
        self,
        on_readable: Callable[[], None],
        on_failure: Callable[[str], None],
        errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self._on_readable = on_readable
        self._on_failure = on_failure
        self._errors = errors
        self._ring: FrameRing | None = None
        self._fd: int | None = None
        self._is_readable = False
        self._empty_events = 0

    @property
    def ring(self) -> FrameRing | None:
        """Where frames come from; None: from nowhere."""
        return self._ring

    @property
    def is_readable(self) -> bool:
        """Whether acquire() has something to look for."""
        return self._is_readable

    def set_ring(self, ring: FrameRing | None) -> None:
        """Take frames from `ring`, now the watch's; the one before is closed."""
        self._unwatch()
        if self._ring is not None:
            self._ring.close()
        self._ring = ring
        self._empty_events = 0
        self._is_readable = False

    def watch(self, is_wanted: bool) -> None:
        """Look for a frame, unless there is one already, or nobody wants any."""
        if self._ring is None or not is_wanted or self._is_readable:
            self._unwatch()
        elif self._fd is None:
            self._fd = self._ring.fileno()
            asyncio.get_running_loop().add_reader(self._fd, self._handle_readable)

    def acquire(self) -> HeldFrame | None:
        """Take the newest frame; None: there is none after all."""
        if self._ring is None or not self._is_readable:
            return None
        self._is_readable = False
        try:
            frame = self._ring.acquire()
        except self._errors as error:
            self._drop(str(error))
            return None
        if frame is not None:
            self._empty_events = 0
            return frame
        # Now and then a frame was taken before its event was seen; an event that never ends is a broken worker's.
        self._empty_events += 1
        if self._empty_events > MAX_EMPTY_EVENTS:
            self._drop("the frame ring announces frames that are not there")
        return None

    def _drop(self, reason: str) -> None:
        self.set_ring(None)
        self._on_failure(reason)

    def _unwatch(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._fd = None

    def _handle_readable(self) -> None:
        self._is_readable = True
        self._on_readable()
