# SPDX-License-Identifier: Apache-2.0
"""The guest's cursor: its image goes to the worker apart from the picture."""

from __future__ import annotations

import logging
import struct
from typing import Any

import xcffib.xfixes

from guest_agent import virtio_gpu
from guest_agent.capture import SCANOUT_ID, resource_ids
from guest_agent.cursor_picture import MAX_SIZE, CursorPicture, make_picture
from guest_agent.display_link import DisplayConnection, expect_ok
from guest_agent.memory import Region
from guest_agent.virtio_gpu import Format, Rect
from guest_agent.x_connection import XConnection, XError

_log = logging.getLogger(__name__)


class Cursor:
    """Sends the cursor's image when it changes; loop thread only."""

    def __init__(self, x: XConnection) -> None:
        self._x = x
        self._fixes = x.extension("xfixes")
        x.reply(self._fixes.QueryVersion(5, 0))
        self._connection: DisplayConnection | None = None
        self._region = Region("heliograph-cursor", MAX_SIZE * MAX_SIZE * 4)
        self._memory = self._region.map()
        self._resource_id = 0
        self._is_copying = False
        self._is_changed = True
        x.on(xcffib.xfixes.CursorNotifyEvent, self._handle_changed)
        x.check(self._fixes.SelectCursorInputChecked(x.root, xcffib.xfixes.CursorNotifyMask.DisplayCursor))

    def connect(self, connection: DisplayConnection) -> None:
        """Tell a new worker everything."""
        self._connection = connection
        self._resource_id = 0
        self._is_copying = False
        connection.add_region(self._region)
        self._is_changed = True
        self._send()

    def disconnect(self) -> None:
        self._connection = None

    def _handle_changed(self, event: Any) -> None:
        self._is_changed = True
        self._send()

    def _send(self) -> None:
        # The memory belongs to the worker while it copies from it.
        if self._connection is None or self._is_copying or not self._is_changed:
            return
        self._is_changed = False
        try:
            image = self._x.reply(self._fixes.GetCursorImage())
        except XError as error:
            _log.debug("no cursor: %r", error)
            return
        argb = struct.pack(f"={len(image.cursor_image)}I", *image.cursor_image)
        picture = make_picture(image.width, image.height, image.xhot, image.yhot, argb)
        old = self._resource_id
        if picture is None:
            self._resource_id = 0
            self._point(self._connection, image.x, image.y, 0, 0)
        else:
            self._resource_id = next(resource_ids)
            self._upload(self._connection, picture)
            self._point(self._connection, image.x, image.y, picture.hot_x, picture.hot_y)
        if old:
            self._connection.control(virtio_gpu.unref(old), expect_ok("RESOURCE_UNREF"))

    def _upload(self, connection: DisplayConnection, picture: CursorPicture) -> None:
        resource_id, size = self._resource_id, len(picture.pixels)
        self._memory[:size] = picture.pixels
        create = virtio_gpu.create_2d(resource_id, Format.B8G8R8A8_UNORM, picture.width, picture.height)
        connection.control(create, expect_ok("RESOURCE_CREATE_2D"))
        backing = virtio_gpu.attach_backing(resource_id, self._region.address, size)
        connection.control(backing, expect_ok("RESOURCE_ATTACH_BACKING"))
        check = expect_ok("TRANSFER_TO_HOST_2D")

        def handle_copied(body: bytes) -> None:
            check(body)
            self._is_copying = False
            self._send()

        self._is_copying = True
        whole = Rect(0, 0, picture.width, picture.height)
        connection.control(virtio_gpu.transfer_to_host_2d(resource_id, whole, 0), handle_copied)

    def _point(self, connection: DisplayConnection, x: int, y: int, hot_x: int, hot_y: int) -> None:
        command = virtio_gpu.update_cursor(SCANOUT_ID, x, y, self._resource_id, hot_x, hot_y)
        connection.cursor(command, expect_ok("UPDATE_CURSOR"))
