# SPDX-License-Identifier: Apache-2.0
"""The frame link on an event loop: connects to the render worker, and again when it was restarted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from render_core import CursorImage, CursorMove, Device, Rect, ScanoutOff
from streamer.encode.encoder import Planes

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 2.0


class Trace(Protocol):
    """CLOCK_MONOTONIC ns."""

    @property
    def flush_ns(self) -> int: ...
    @property
    def gpu_done_ns(self) -> int: ...
    @property
    def handoff_ns(self) -> int: ...


class HeldFrame(Protocol):
    """A slot of the ring that we hold; its planes are valid until release(). At most two are held."""

    @property
    def sequence(self) -> int: ...
    @property
    def base_sequence(self) -> int: ...
    @property
    def damage(self) -> Sequence[Rect]: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def planes(self) -> Planes: ...
    def release(self) -> None: ...


class FrameRing(Protocol):
    """The frames of one scanout at one size. `fileno()` is readable when acquire() has a frame.

    The guest shows source_width × source_height; frames are that divided by `divisor`.
    """

    @property
    def scanout_id(self) -> int: ...
    @property
    def format(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def source_width(self) -> int: ...
    @property
    def source_height(self) -> int: ...
    @property
    def divisor(self) -> int: ...
    @property
    def coded_width(self) -> int: ...
    @property
    def coded_height(self) -> int: ...
    def fileno(self) -> int: ...
    def acquire(self) -> HeldFrame | None: ...
    def close(self) -> None: ...


LinkMessage = FrameRing | ScanoutOff | CursorImage | CursorMove | Device


class WorkerLink(Protocol):
    """The streamer's end of the frame link (`render_core.FrameLink`)."""

    def fileno(self) -> int: ...
    def receive(self) -> Sequence[LinkMessage]: ...
    def set_active(self, scanout_id: int, active: bool) -> None: ...
    def expect_picture(self, scanout_id: int) -> None: ...
    def set_display(self, scanout_id: int, width: int, height: int, refresh_mhz: int = 0) -> None: ...
    def close(self) -> None: ...


class FrameListener(Protocol):
    """Hears of the link, on the event loop."""

    def handle_link_up(self) -> None:
        """The worker is there (or will be: it takes connections that wait)."""

    def handle_link_message(self, message: LinkMessage) -> None:
        """A message came; a ring is the listener's from now on."""

    def handle_link_down(self, reason: str) -> None:
        """The worker is gone. Rings are dead; frames that are held stay valid."""


class FrameSource:
    """Keeps the frame link connected. Event loop only."""

    def __init__(
        self, path: str, open_link: Callable[[socket.socket], WorkerLink], errors: tuple[type[Exception], ...]
    ) -> None:
        """`open_link` takes a connected SOCK_SEQPACKET socket over; `errors` are what a link raises when it ends."""
        self._path = path
        self._open_link = open_link
        self._errors: tuple[type[Exception], ...] = (*errors, OSError)
        self._link: WorkerLink | None = None
        self._readable = asyncio.Event()
        self._drop_reason: str | None = None

    def drop(self, reason: str) -> None:
        """Give up this connection and make another: the worker breaks the rules."""
        if self._link is not None:
            self._drop_reason = reason
            self._readable.set()

    def set_active(self, scanout_id: int, active: bool) -> None:
        """Say whether somebody watches; nothing happens while the worker is gone."""
        self._call(lambda link: link.set_active(scanout_id, active))

    def expect_picture(self, scanout_id: int) -> None:
        """Say that a viewer has pressed something; nothing happens while the worker is gone."""
        self._call(lambda link: link.expect_picture(scanout_id))

    def set_display(self, scanout_id: int, width: int, height: int) -> None:
        """Ask the guest for a size; nothing happens while the worker is gone."""
        self._call(lambda link: link.set_display(scanout_id, width, height))

    def _call(self, call: Callable[[WorkerLink], None]) -> None:
        if self._link is not None:
            try:
                call(self._link)
            except self._errors as error:
                # The receiving side will notice that the link has ended.
                _log.debug("the frame link: %s", error)

    async def run(self, listener: FrameListener) -> None:
        """Serve until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                link = await self._connect()
            except self._errors as error:
                _log.debug("the render worker is not there: %s", error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._link = link
            listener.handle_link_up()
            try:
                reason = await self._serve(link, listener)
            finally:
                self._link = None
                link.close()
            _log.warning("the render worker's link ended: %s", reason)
            listener.handle_link_down(reason)
            await asyncio.sleep(FIRST_RETRY_S)

    async def _connect(self) -> WorkerLink:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path)
            return self._open_link(sock)
        except BaseException:
            sock.close()
            raise

    async def _serve(self, link: WorkerLink, listener: FrameListener) -> str:
        loop = asyncio.get_running_loop()
        fd = link.fileno()
        self._drop_reason = None
        self._readable.set()  # something may have come already
        loop.add_reader(fd, self._readable.set)
        try:
            while True:
                await self._readable.wait()
                self._readable.clear()
                if self._drop_reason is not None:
                    return self._drop_reason
                try:
                    messages = link.receive()
                except self._errors as error:
                    return str(error) or type(error).__name__
                for message in messages:
                    listener.handle_link_message(message)
                # A worker that always has something to say leaves the others a turn.
                await asyncio.sleep(0)
        finally:
            loop.remove_reader(fd)
