# SPDX-License-Identifier: Apache-2.0
"""What QEMU's consoles show, at the end of the display link: each graphic console is a scanout."""

from __future__ import annotations

import asyncio
import itertools
import logging
import mmap
from collections.abc import Callable, Sequence

from guest_agent import virtio_gpu
from guest_agent.cursor_picture import MAX_SIZE as MAX_CURSOR_SIZE
from guest_agent.cursor_picture import CursorPicture
from guest_agent.damage import MAX_FLUSHES, merge_damage
from guest_agent.display_link import DisplayConnection, DisplayLinkError, expect_ok
from guest_agent.memory import Region
from guest_agent.virtio_gpu import DisplayMode, Format, Rect, ResponseType
from guest_agent.vm.dbus_connection import DBusClosedError, DBusConnection, DBusError
from guest_agent.vm.dbus_display import UI_INFO_S, Console, DBusDisplay
from guest_agent.vm.dbus_listener import Listener
from guest_agent.vm.picture import Layout

# The link takes 64 unanswered flushes, whatever they are of.
MAX_UNANSWERED_FLUSHES = 60

_log = logging.getLogger(__name__)
_resource_ids = itertools.count(1)


class _Buffer:
    """Memory that the worker shows: a blob resource with the layout of QEMU's picture."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.resource_id = next(_resource_ids)
        self.region = Region("heliograph-console", layout.shown_stride_bytes * layout.height)
        self._mapping: mmap.mmap = self.region.map()
        self.memory = memoryview(self._mapping)

    def show(self, connection: DisplayConnection, scanout_id: int) -> None:
        layout = self.layout
        connection.add_region(self.region)
        blob = virtio_gpu.create_blob(self.resource_id, self.region.address, self.region.size_bytes)
        connection.control(blob, expect_ok("RESOURCE_CREATE_BLOB"))
        show = virtio_gpu.set_scanout_blob(
            *(scanout_id, self.resource_id, layout.width, layout.height, layout.pixel_format),
            layout.shown_stride_bytes,
        )
        connection.control(show, expect_ok("SET_SCANOUT_BLOB"))

    def forget(self, connection: DisplayConnection) -> None:
        connection.control(virtio_gpu.unref(self.resource_id), expect_ok("RESOURCE_UNREF"))
        connection.remove_region(self.region)

    def close(self) -> None:
        self.memory.release()
        self._mapping.close()
        self.region.close()


class _CursorImage:
    """Sends a console's cursor; its memory is the worker's while it copies from it."""

    def __init__(self, scanout_id: int, listener: Listener) -> None:
        self._scanout_id = scanout_id
        self._listener = listener
        self._region = Region("heliograph-console-cursor", MAX_CURSOR_SIZE * MAX_CURSOR_SIZE * 4)
        self._memory = self._region.map()
        self._connection: DisplayConnection | None = None
        self._resource_id = 0
        self._shown: CursorPicture | None = None
        self._is_copying = False

    def connect(self, connection: DisplayConnection) -> None:
        self._connection = connection
        self._resource_id, self._shown, self._is_copying = 0, None, False
        connection.add_region(self._region)

    def disconnect(self) -> None:
        self._connection = None

    def send(self) -> None:
        """Send what is new, if the memory is ours to write."""
        connection = self._connection
        if connection is None or self._is_copying:
            return
        state = self._listener.take_cursor()
        if state is None:
            return
        if state.picture is not None and state.picture is self._shown:
            move = virtio_gpu.move_cursor(self._scanout_id, state.x, state.y)
            connection.cursor(move, expect_ok("MOVE_CURSOR"))
            return
        old, self._resource_id, self._shown = self._resource_id, 0, state.picture
        hot_x = hot_y = 0
        if state.picture is not None:
            self._resource_id = next(_resource_ids)
            self._upload(connection, state.picture)
            hot_x, hot_y = state.picture.hot_x, state.picture.hot_y
        place = (self._scanout_id, state.x, state.y)
        update = virtio_gpu.update_cursor(*place, self._resource_id, hot_x, hot_y)
        connection.cursor(update, expect_ok("UPDATE_CURSOR"))
        if old:
            connection.control(virtio_gpu.unref(old), expect_ok("RESOURCE_UNREF"))

    def _upload(self, connection: DisplayConnection, picture: CursorPicture) -> None:
        size = len(picture.pixels)
        self._memory[:size] = picture.pixels
        create = virtio_gpu.create_2d(self._resource_id, Format.B8G8R8A8_UNORM, picture.width, picture.height)
        connection.control(create, expect_ok("RESOURCE_CREATE_2D"))
        backing = virtio_gpu.attach_backing(self._resource_id, self._region.address, size)
        connection.control(backing, expect_ok("RESOURCE_ATTACH_BACKING"))
        check = expect_ok("TRANSFER_TO_HOST_2D")

        def handle_copied(body: bytes) -> None:
            check(body)
            self._is_copying = False
            self.send()

        self._is_copying = True
        whole = Rect(0, 0, picture.width, picture.height)
        connection.control(virtio_gpu.transfer_to_host_2d(self._resource_id, whole, 0), handle_copied)

    def close(self) -> None:
        self._memory.close()
        self._region.close()


class ConsoleView:
    """One console as one scanout; loop thread only.

    A flush gives the picture to the worker until it is answered; what changes meanwhile is merged in the listener, so
    that the answers pace the copies: a guest that flips a thousand times a second is copied at the frame rate.
    """

    def __init__(self, scanout_id: int, name: str, max_flushes: int, handle_first_frame: Callable[[], None]) -> None:
        self.scanout_id = scanout_id
        self.listener = Listener(name, self._handle_changed)
        self._max_flushes = max_flushes
        self._handle_first_frame: Callable[[], None] | None = handle_first_frame
        self._connection: DisplayConnection | None = None
        self._buffer: _Buffer | None = None
        self._unanswered = 0
        self._cursor = _CursorImage(scanout_id, self.listener)

    def connect(self, connection: DisplayConnection) -> None:
        """Tell a new worker everything."""
        self._connection = connection
        self._unanswered = 0
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None
        self._cursor.connect(connection)
        self.listener.take_again()
        self._pump()
        self._cursor.send()

    def disconnect(self) -> None:
        """The worker is gone: no answer to any flush will come."""
        self._connection = None
        self._unanswered = 0
        self._cursor.disconnect()

    def _handle_changed(self) -> None:
        self.listener.acknowledge()
        self._cursor.send()
        self._pump()

    def _pump(self) -> None:
        """Hand over what changed, if the picture is ours to write."""
        connection = self._connection
        if connection is None or self._unanswered:
            return
        change = self.listener.take()
        if change is None:
            return
        if change.layout is None:
            self._turn_off(connection)
            return
        old = self._buffer
        if old is None or old.layout != change.layout:
            self._buffer = _Buffer(change.layout)
            self._copy_whole(self._buffer)
            self._buffer.show(connection, self.scanout_id)
            if old is not None:
                old.forget(connection)
                old.close()
            self._flush(connection, self._buffer, [change.layout.whole])
            return
        if self.listener.read(change.layout, change.damage, old.memory):
            self._flush(connection, old, merge_damage(change.damage, self._max_flushes))

    def _copy_whole(self, buffer: _Buffer) -> None:
        self.listener.read(buffer.layout, [buffer.layout.whole], buffer.memory)

    def _turn_off(self, connection: DisplayConnection) -> None:
        if self._buffer is not None:
            off = virtio_gpu.set_scanout(self.scanout_id, 0, Rect(0, 0, 0, 0))
            connection.control(off, expect_ok("SET_SCANOUT"))
            self._buffer.forget(connection)
            self._buffer.close()
            self._buffer = None

    def _flush(self, connection: DisplayConnection, buffer: _Buffer, rects: list[Rect]) -> None:
        def handle_answer(body: bytes) -> None:
            kind = virtio_gpu.response_type(body)
            if kind != ResponseType.OK_NODATA:
                raise DisplayLinkError(f"RESOURCE_FLUSH was answered with {kind:#x}")
            if connection is not self._connection:
                return
            self._unanswered -= 1
            if self._unanswered == 0:
                if self._handle_first_frame is not None:
                    self._handle_first_frame()
                    self._handle_first_frame = None
                self._pump()

        self._unanswered += len(rects)
        for rect in rects:
            connection.control(virtio_gpu.flush(buffer.resource_id, rect), handle_answer)

    def close(self) -> None:
        self.listener.close()
        self._cursor.close()
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None


class DBusSource:
    """A `display_link.Display` of a machine's graphic consoles: the n-th of them is scanout n. Loop thread only.

    `run()` keeps the listeners registered and tells QEMU the sizes that viewers want. Not for a machine whose display
    is a vhost-user device: a listener without OpenGL ends QEMU there.

    Args:
        handle_first_frame: called once, when a worker has taken the first picture of any console.
        handle_wanted: is told of viewers' wishes too: a scanout, and the width and height that are wanted of it.
    """

    def __init__(
        self,
        display: DBusDisplay,
        handle_first_frame: Callable[[], None],
        handle_wanted: Callable[[int, int, int], None] = lambda scanout_id, width, height: None,
    ) -> None:
        self._display = display
        self._handle_first_frame: Callable[[], None] | None = handle_first_frame
        self._handle_wanted = handle_wanted
        self._connection: DisplayConnection | None = None
        consoles = display.graphic_consoles[: virtio_gpu.MAX_SCANOUTS]
        max_flushes = min(MAX_FLUSHES, MAX_UNANSWERED_FLUSHES // max(len(consoles), 1))
        self._views = [
            ConsoleView(scanout_id, f"console {console.number}", max_flushes, self._note_first_frame)
            for scanout_id, console in enumerate(consoles)
        ]
        self._consoles: Sequence[Console] = consoles
        self._wanted: dict[int, tuple[int, int]] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._is_wanted = asyncio.Event()
        self._unsupported: set[int] = set()

    def _note_first_frame(self) -> None:
        if self._handle_first_frame is not None:
            self._handle_first_frame()
            self._handle_first_frame = None

    def sizes(self) -> list[tuple[int, int]]:
        """Return the sizes of what the scanouts show, in pixels; 0×0 for one that is off."""
        return [view.listener.size if self._is_on(view) else (0, 0) for view in self._views]

    def _is_on(self, view: ConsoleView) -> bool:
        """A device's further heads are off until somebody wants them; QEMU shows a placeholder then."""
        return self._consoles[view.scanout_id].head == 0 or view.scanout_id in self._told

    async def run(self) -> None:
        """Serve until cancelled, or until QEMU has closed a listener.

        Raises:
            DBusError: QEMU takes no listener, or has closed one.
        """
        connections: list[DBusConnection] = []
        try:
            for console, view in zip(self._consoles, self._views, strict=True):
                connections.append(await self._display.register_listener(console, view.listener))
            async with asyncio.TaskGroup() as tasks:
                for connection in connections:
                    tasks.create_task(_watch(connection))
                tasks.create_task(self._tell_sizes())
        except* DBusError as group:
            raise group.exceptions[0] from group
        finally:
            for connection in connections:
                connection.close()
            for connection in connections:
                await connection.wait_closed()
            for view in self._views:
                view.close()

    def handle_connected(self, connection: DisplayConnection) -> None:
        self._connection = connection
        for view in self._views[: connection.max_scanouts]:
            if self._is_on(view):
                view.connect(connection)
        if len(self._views) > connection.max_scanouts:
            _log.warning("the render worker shows %d of %d consoles", connection.max_scanouts, len(self._views))
        # A viewer may have come before us.
        self.handle_display_event()

    def handle_disconnected(self) -> None:
        self._connection = None
        for view in self._views:
            view.disconnect()

    def handle_display_event(self) -> None:
        if self._connection is not None:
            self._connection.control(virtio_gpu.get_display_info(), self._handle_display_info)

    def _handle_display_info(self, body: bytes) -> None:
        for scanout_id, mode in enumerate(virtio_gpu.parse_display_info(body)[: len(self._views)]):
            self._want(scanout_id, mode)

    def _want(self, scanout_id: int, mode: DisplayMode) -> None:
        before = self._wanted.get(scanout_id, (0, 0))
        # One that nobody wants any more is unplugged, by no size at all.
        size = (mode.rect.width, mode.rect.height) if mode.enabled else (0, 0)
        if size != before:
            self._wanted[scanout_id] = size
            self._is_wanted.set()

    async def _tell_sizes(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            for scanout_id, size in list(self._wanted.items()):
                if self._told.get(scanout_id) == size:
                    continue
                await self._tell_size(scanout_id, *size)
                # An agent in the guest can do what the device cannot.
                self._handle_wanted(scanout_id, *size)
                await asyncio.sleep(UI_INFO_S)

    async def _tell_size(self, scanout_id: int, width: int, height: int) -> None:
        view = self._views[scanout_id]
        was_on = self._is_on(view)
        self._told[scanout_id] = (width, height)
        if scanout_id in self._unsupported:
            return
        try:
            if not await self._display.set_ui_info(self._consoles[scanout_id], width, height):
                self._unsupported.add(scanout_id)
                _log.info("screen %d keeps the size that its guest sets: its device takes no wishes", scanout_id + 1)
        except DBusClosedError:
            # Whoever holds the display connects it again, or ends.
            _log.debug("the size of scanout %d was not told: QEMU's control connection has ended", scanout_id)
        except DBusError as error:
            _log.warning("the size of scanout %d was not told: %s", scanout_id, error)
        if not was_on and self._connection is not None and scanout_id < self._connection.max_scanouts:
            view.connect(self._connection)


async def _watch(connection: DBusConnection) -> None:
    raise DBusError("Listener", f"{connection.name} has ended: {await connection.wait_closed()}")
