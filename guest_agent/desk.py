# SPDX-License-Identifier: Apache-2.0
"""What the guest shows: screen, picture, cursor and background as one, at the end of the display link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from guest_agent import virtio_gpu
from guest_agent.capture import SCANOUT_ID, Capture
from guest_agent.cursor import Cursor
from guest_agent.display_link import DisplayConnection
from guest_agent.screen import Screen
from guest_agent.wallpaper import Wallpaper
from guest_agent.x_connection import XConnection, XConnectionError

_log = logging.getLogger(__name__)


class Desk:
    """A `display_link.Display` of an X server's screen; loop thread only.

    `handle_first_frame` is called once, when a worker has taken the first picture.
    """

    def __init__(self, x: XConnection, handle_first_frame: Callable[[], None], *, is_painted: bool) -> None:
        self._x = x
        self.screen = Screen(x, self._handle_resized)
        self._capture: Capture | None = None
        self._cursor = Cursor(x)
        self._wallpaper = Wallpaper(x, self.screen.height) if is_painted else None
        self._handle_first_frame = handle_first_frame
        self._connection: DisplayConnection | None = None
        self._was_connected = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def watch(self) -> None:
        """Wait until the screen cannot be shown any more.

        Raises:
            XConnectionError: why.
        """
        await asyncio.shield(self._failed)

    def resize(self, width: int, height: int) -> None:
        """Give the screen a size; it keeps its old one when the server refuses."""
        try:
            self.screen.set_size(width, height)
            self._x.drain()
        except XConnectionError as error:
            _log.warning("%s", error)

    def _handle_resized(self, width: int, height: int) -> None:
        try:
            if self._capture is not None:
                self._capture.resize(width, height)
        except XConnectionError as error:
            self._fail(error)
        if self._wallpaper is not None:
            self._wallpaper.paint(height)

    def _fail(self, error: XConnectionError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def handle_connected(self, connection: DisplayConnection) -> None:
        self._connection = connection
        try:
            if self._capture is None:
                self._capture = Capture(self._x, self.screen.width, self.screen.height, self._handle_first_frame)
        except XConnectionError as error:
            self._fail(error)
            return
        self._capture.connect(connection)
        self._cursor.connect(connection)
        if not self._was_connected:
            # A viewer may have come before us. A later worker is a new one, which knows no viewer's wish yet.
            self._was_connected = True
            self.handle_display_event()

    def handle_disconnected(self) -> None:
        self._connection = None
        if self._capture is not None:
            self._capture.disconnect()
        self._cursor.disconnect()

    def handle_display_event(self) -> None:
        if self._connection is not None:
            self._connection.control(virtio_gpu.get_display_info(), self._handle_display_info)

    def _handle_display_info(self, body: bytes) -> None:
        mode = virtio_gpu.parse_display_info(body)[SCANOUT_ID]
        if mode.enabled and mode.rect.width and mode.rect.height:
            self.resize(mode.rect.width, mode.rect.height)
