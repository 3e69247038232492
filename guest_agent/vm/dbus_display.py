# SPDX-License-Identifier: Apache-2.0
"""QEMU's D-Bus display (`-display dbus,p2p=yes`): the control connection, its consoles, what they are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from guest_agent.vm.dbus_connection import PROPERTIES, DBusConnection, DBusError, Exports
from guest_agent.vm.dbus_message import MAX_MESSAGE_BYTES, Incoming
from guest_agent.vm.qmp import Qmp, QmpError

ROOT = "/org/qemu/Display1"
CONSOLE = "org.qemu.Display1.Console"
KEYBOARD = "org.qemu.Display1.Keyboard"
MOUSE = "org.qemu.Display1.Mouse"
MULTI_TOUCH = "org.qemu.Display1.MultiTouch"

MAX_CONSOLES = 64
# Between two sizes that QEMU is told: Linux' driver clears the event that says so after it has handled it, and one that
# has come meanwhile with it.
UI_INFO_S = 0.25
# Says how large a screen of so many pixels is: 96 dpi.
_MM_PER_INCH, _DPI = 25.4, 96
_MAX_MM = 65535
# What is on its way to a listener of QEMU's fits better.
_SEND_BUFFER_BYTES = 4_194_304

_UNSUPPORTED = "org.qemu.Display1.Error.Unsupported"
_CONSOLE_PATH = re.compile(ROOT + r"/Console_([0-9]{1,4})")
_names = itertools.count(1)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Console:
    """A console of QEMU's. `kind`: "Graphic" or "Text". Sizes in pixels or characters; they change."""

    number: int
    kind: str
    label: str
    head: int
    width: int
    height: int
    interfaces: frozenset[str]
    device_address: str
    is_absolute: bool
    max_touches: int

    @property
    def path(self) -> str:
        return f"{ROOT}/Console_{self.number}"


class ConsoleListener(Protocol):
    """What register_listener() wants."""

    exports: Exports
    max_message_bytes: int


class DBusDisplay:
    """QEMU's display, reached by a control connection of ours; loop thread only. Works without any listener.

    `handle_changed` is called when a console's properties have changed (its size, whether its pointer is absolute).
    """

    def __init__(self, qmp: Qmp, exports: Exports | None = None) -> None:
        self._qmp = qmp
        self._given_exports = exports or Exports()
        self._loop = asyncio.get_running_loop()
        self._connection: DBusConnection | None = None
        self._consoles: dict[int, Console] = {}
        self.interfaces: frozenset[str] = frozenset()
        self.handle_changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # what signals have said and the loop has not seen yet, by console and field
        self._changed: dict[tuple[int, str], Any] = {}

    @classmethod
    async def open(cls, qmp: Qmp, exports: Exports | None = None) -> Self:
        """Connect to the display of the QEMU that `qmp` speaks to; `exports` is what QEMU may call on the connection.

        Raises:
            QmpError: QEMU has no D-Bus display, or one on a bus. DBusError: it does not answer as one.
        """
        display = cls(qmp, exports)
        await display.reopen()
        return display

    async def reopen(self) -> None:
        """Connect again; QEMU drops the old control connection. Listeners live on. Raises as open()."""
        self.close()
        connection = await self._connect()
        try:
            await connection.authenticated()
            await self._list(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    async def _connect(self) -> DBusConnection:
        ours, theirs = socket.socketpair()
        with theirs:
            name = f"heliograph-display-{next(_names)}"
            try:
                await self._qmp.execute("getfd", {"fdname": name}, [theirs.fileno()])
                try:
                    await self._qmp.execute("add_client", {"protocol": "@dbus-display", "fdname": name})
                except QmpError:
                    with contextlib.suppress(QmpError):
                        await self._qmp.execute("closefd", {"fdname": name})
                    raise
            except BaseException:
                ours.close()
                raise
        exports = replace(self._given_exports, handle_signal=self._handle_signal)
        return DBusConnection(ours, exports, "control")

    @property
    def connection(self) -> DBusConnection:
        """The control connection.

        Raises:
            DBusError: there is none.
        """
        if self._connection is None:
            raise DBusError("display", "is not connected")
        return self._connection

    @property
    def consoles(self) -> list[Console]:
        """All consoles, by their numbers."""
        return [self._consoles[number] for number in sorted(self._consoles)]

    @property
    def graphic_consoles(self) -> list[Console]:
        """The consoles that are screens: the n-th is scanout n."""
        return [console for console in self.consoles if console.kind == "Graphic"]

    async def wait_closed(self) -> None:
        """Wait until the control connection has ended. Cancelling is safe."""
        if self._connection is not None:
            await self._connection.wait_closed()

    def close(self) -> None:
        """End the control connection. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def set_ui_info(self, console: Console, width: int, height: int) -> bool:
        """Tell the guest that a window of so many pixels shows the console; False when its device takes no wishes.

        Raises:
            DBusError: QEMU refuses or does not answer.
        """
        width_mm, height_mm = (min(round(size / _DPI * _MM_PER_INCH), _MAX_MM) for size in (width, height))
        body = (width_mm, height_mm, 0, 0, width, height)
        try:
            await self.connection.call(console.path, CONSOLE, "SetUIInfo", "qqiiuu", body)
        except DBusError as error:
            if error.name == _UNSUPPORTED:
                return False
            raise
        return True

    async def register_listener(self, console: Console, listener: ConsoleListener) -> DBusConnection:
        """Register a listener of a console; it lives as long as the returned connection, which is the caller's.

        Raises:
            DBusError: QEMU refuses or does not answer.
        """
        return await self.register(
            console.path, CONSOLE, "RegisterListener", listener.exports, f"console {console.number}"
        )

    async def register(self, path: str, interface: str, member: str, exports: Exports, name: str) -> DBusConnection:
        """Give QEMU a connection on which it calls `exports`."""
        ours, theirs = socket.socketpair()
        # The buffer is that of QEMU's end.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        # QEMU waits in this call until we have authenticated and answered on the new connection.
        connection = DBusConnection(ours, exports, name, MAX_MESSAGE_BYTES)
        try:
            with theirs:
                await self.connection.call(path, interface, member, "h", (theirs.fileno(),))
            await connection.authenticated()
        except BaseException:
            connection.close()
            await connection.wait_closed()
            raise
        return connection

    async def _list(self, connection: DBusConnection) -> None:
        manager = "org.freedesktop.DBus.ObjectManager"
        (objects,) = await connection.call(ROOT, manager, "GetManagedObjects", returns="a{oa{sa{sv}}}")
        consoles: dict[int, Console] = {}
        for path, interfaces in objects.items():
            match = _CONSOLE_PATH.fullmatch(path)
            if match is not None and CONSOLE in interfaces and len(consoles) < MAX_CONSOLES:
                number = int(match[1])
                consoles[number] = _make_console(number, interfaces)
        self._consoles = consoles
        self.interfaces = frozenset(name for interfaces in objects.values() for name in interfaces)

    def _handle_signal(self, message: Incoming) -> None:
        """On the connection's thread."""
        match = _CONSOLE_PATH.fullmatch(message.path)
        if message.interface != PROPERTIES or message.member != "PropertiesChanged" or match is None:
            return
        number = int(match[1])
        if message.signature != "sa{sv}as" or number not in self._consoles:
            return
        interface, values, _ = message.body
        with self._lock:
            was_empty = not self._changed
            for name, (signature, value) in values.items():
                field = _FIELDS.get((interface, name, signature))
                if field is not None:
                    self._changed[number, field] = value
            if was_empty and self._changed:
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._take_changed)

    def _take_changed(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, {}
        for (number, field), value in changed.items():
            console = self._consoles.get(number)
            if console is not None:
                fields: dict[str, Any] = {field: value}
                self._consoles[number] = replace(console, **fields)
        self.handle_changed()


# The properties that are followed: interface, name and signature -> Console's field.
_FIELDS = {
    (CONSOLE, "Width", "u"): "width",
    (CONSOLE, "Height", "u"): "height",
    (MOUSE, "IsAbsolute", "b"): "is_absolute",
}


def _make_console(number: int, interfaces: dict[str, dict[str, tuple[str, Any]]]) -> Console:
    def value(interface: str, name: str, signature: str, default: Any) -> Any:
        found = interfaces.get(interface, {}).get(name, (signature, default))
        if found[0] != signature:
            raise DBusError("GetManagedObjects", f"{interface}.{name} has the type {found[0][:64]!r}")
        return found[1]

    return Console(
        number=number,
        kind=value(CONSOLE, "Type", "s", ""),
        label=value(CONSOLE, "Label", "s", ""),
        head=value(CONSOLE, "Head", "u", 0),
        width=value(CONSOLE, "Width", "u", 0),
        height=value(CONSOLE, "Height", "u", 0),
        interfaces=frozenset(interfaces),
        device_address=value(CONSOLE, "DeviceAddress", "s", ""),
        is_absolute=value(MOUSE, "IsAbsolute", "b", False),
        max_touches=value(MULTI_TOUCH, "MaxSlots", "i", 0),
    )
