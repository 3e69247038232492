# SPDX-License-Identifier: Apache-2.0
"""The guest's picture: what changes is copied by the X server into shared memory, which the worker reads in place."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import xcffib.damage
import xcffib.shm
import xcffib.xfixes
from xcffib import xproto

from guest_agent import virtio_gpu
from guest_agent.damage import merge_damage
from guest_agent.display_link import DisplayConnection, DisplayLinkError, expect_ok
from guest_agent.memory import Region
from guest_agent.virtio_gpu import Format, Rect, ResponseType
from guest_agent.x_connection import XConnection, XConnectionError, XError

SCANOUT_ID = 0

_log = logging.getLogger(__name__)
resource_ids = itertools.count(1)


class _Buffer:
    """A picture in shared memory: a pixmap for the X server, a blob resource for the worker."""

    def __init__(self, x: XConnection, shm: Any, width: int, height: int) -> None:
        self._x, self._shm = x, shm
        self.width, self.height = width, height
        self.resource_id = next(resource_ids)
        self.region = Region("heliograph-screen", width * height * 4)
        self.unanswered = 0
        self._segment: int = x.raw.generate_id()
        self.pixmap: int = x.raw.generate_id()
        try:
            x.send_fd(self.region.fd)
            x.check(shm.AttachFdChecked(self._segment, False))
            depth = x.screen.root_depth
            x.check(shm.CreatePixmapChecked(self.pixmap, x.root, width, height, depth, self._segment, 0))
        except XError as error:
            self.region.close()
            raise XConnectionError(f"the X server takes no shared pixmap of {width}×{height}: {error!r}") from error

    def close(self) -> None:
        self._x.core.FreePixmap(self.pixmap)
        self._shm.Detach(self._segment)
        self.region.close()


class Capture:
    """Keeps scanout 0 showing the guest's screen. Costs nothing while nothing changes; loop thread only.

    A flush gives the picture to the worker until it is answered: only then the X server writes to it again. What
    changes meanwhile waits in the server's damage region, so the answers pace the copies. `handle_first_frame` is
    called once, when the first picture has been taken by a worker.
    """

    def __init__(self, x: XConnection, width: int, height: int, handle_first_frame: Callable[[], None]) -> None:
        self._x = x
        self._shm = x.extension("shm")
        self._damage_requests = x.extension("damage")
        self._fixes = x.extension("xfixes")
        self._handle_first_frame: Callable[[], None] | None = handle_first_frame
        self._connection: DisplayConnection | None = None
        self._is_damaged = True
        if not x.reply(self._shm.QueryVersion()).shared_pixmaps:
            raise XConnectionError("the X server has no shared pixmaps")
        x.reply(self._damage_requests.QueryVersion(1, 1))
        x.reply(self._fixes.QueryVersion(5, 0))
        self._parts: int = x.raw.generate_id()
        self._fixes.CreateRegion(self._parts, 0, [])
        # The root window's children are part of the picture.
        self._gc: int = x.raw.generate_id()
        values = [xproto.SubwindowMode.IncludeInferiors, 0]
        x.core.CreateGC(self._gc, x.root, xproto.GC.SubwindowMode | xproto.GC.GraphicsExposures, values)
        self._damage: int = x.raw.generate_id()
        level = xcffib.damage.ReportLevel.NonEmpty
        x.check(self._damage_requests.CreateChecked(self._damage, x.root, level))
        x.on(xcffib.damage.NotifyEvent, self._handle_damage)
        self._buffer = _Buffer(x, self._shm, width, height)

    def connect(self, connection: DisplayConnection) -> None:
        """Tell a new worker everything."""
        self._connection = connection
        self._show_buffer(connection)

    def disconnect(self) -> None:
        """The worker is gone: no answer to any flush will come."""
        self._connection = None
        self._buffer.unanswered = 0

    def resize(self, width: int, height: int) -> None:
        """The screen has this size now.

        Raises:
            XConnectionError: there is no memory for it.
        """
        old, self._buffer = self._buffer, _Buffer(self._x, self._shm, width, height)
        if self._connection is not None:
            self._show_buffer(self._connection)
            self._connection.control(virtio_gpu.unref(old.resource_id), expect_ok("RESOURCE_UNREF"))
            self._connection.remove_region(old.region)
        old.close()

    def _show_buffer(self, connection: DisplayConnection) -> None:
        buffer = self._buffer
        buffer.unanswered = 0
        connection.add_region(buffer.region)
        blob = virtio_gpu.create_blob(buffer.resource_id, buffer.region.address, buffer.region.size_bytes)
        connection.control(blob, expect_ok("RESOURCE_CREATE_BLOB"))
        whole = Rect(0, 0, buffer.width, buffer.height)
        self._copy(everything=True)
        show = virtio_gpu.set_scanout_blob(
            SCANOUT_ID, buffer.resource_id, buffer.width, buffer.height, Format.B8G8R8X8_UNORM
        )
        connection.control(show, expect_ok("SET_SCANOUT_BLOB"))
        self._flush(connection, [whole])

    def _handle_damage(self, event: Any) -> None:
        self._is_damaged = True
        self._pump()

    def _pump(self) -> None:
        """Hand over what changed, if the picture is ours to write."""
        if self._connection is None or not self._is_damaged or self._buffer.unanswered:
            return
        try:
            rects = self._copy(everything=False)
        except XError as error:
            # The server is going; whoever watches it ends the session.
            _log.debug("no picture: %r", error)
            return
        if rects:
            self._flush(self._connection, merge_damage(rects))

    def _copy(self, *, everything: bool) -> list[Rect]:
        """Let the X server copy what changed; return it. One round trip."""
        self._is_damaged = False
        buffer, fixes = self._buffer, self._fixes
        self._damage_requests.Subtract(self._damage, 0, self._parts)
        fixes.SetGCClipRegion(self._gc, 0 if everything else self._parts, 0, 0)
        self._x.core.CopyArea(self._x.root, buffer.pixmap, self._gc, 0, 0, 0, 0, buffer.width, buffer.height)
        # The reply also says that the copy is complete.
        rects = self._x.reply(fixes.FetchRegion(self._parts)).rectangles
        found = (Rect(rect.x, rect.y, rect.width, rect.height).clipped(buffer.width, buffer.height) for rect in rects)
        return [rect for rect in found if rect is not None]

    def _flush(self, connection: DisplayConnection, rects: list[Rect]) -> None:
        buffer = self._buffer

        def handle_answer(body: bytes) -> None:
            kind = virtio_gpu.response_type(body)
            if kind != ResponseType.OK_NODATA:
                raise DisplayLinkError(f"RESOURCE_FLUSH was answered with {kind:#x}")
            buffer.unanswered -= 1
            if buffer.unanswered == 0 and buffer is self._buffer:
                if self._handle_first_frame is not None:
                    self._handle_first_frame()
                    self._handle_first_frame = None
                self._pump()

        buffer.unanswered += len(rects)
        for rect in rects:
            connection.control(virtio_gpu.flush(buffer.resource_id, rect), handle_answer)
