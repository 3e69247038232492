# SPDX-License-Identifier: Apache-2.0
"""The guest's clipboard by `org.qemu.Display1.Clipboard`: text, both ways.

QEMU passes it on to a stock spice-vdagent in the guest (`-chardev qemu-vdagent,clipboard=on` on a virtio-serial port
named com.redhat.spice.0). Who has something to offer grabs the clipboard; the other side requests it when it is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from guest_agent.messages import MAX_CLIPBOARD_BYTES
from guest_agent.vm.dbus_connection import (
    Answer,
    DBusClosedError,
    DBusConnection,
    DBusError,
    Exports,
    Method,
    RefusedError,
)
from guest_agent.vm.dbus_display import ROOT
from guest_agent.vm.dbus_message import Incoming

CLIPBOARD = "org.qemu.Display1.Clipboard"
PATH = ROOT + "/Clipboard"
TEXT = "text/plain;charset=utf-8"
# QEMU's selections; the others are X11's.
SELECTION_CLIPBOARD = 0
MAX_SERIAL = 2**32 - 1

_log = logging.getLogger(__name__)


class DBusClipboard:
    """Loop thread only, but `exports`, which belong to the display's control connection: `DBusDisplay.open(qmp,
    clipboard.exports)`. `handle_guest_text` is called with what the guest has copied.
    """

    def __init__(self, handle_guest_text: Callable[[str], None]) -> None:
        self._handle_guest_text = handle_guest_text
        self._loop = asyncio.get_running_loop()
        self._grabbed = asyncio.Event()
        self._connection: DBusConnection | None = None
        self._lock = threading.Lock()  # what follows
        self._text: bytes | None = None  # what the viewer has copied, while the clipboard is ours
        self._serial = 0
        self._is_told = False
        methods = {
            (CLIPBOARD, "Register"): Method("", self._register),
            (CLIPBOARD, "Unregister"): Method("", lambda _: None),
            (CLIPBOARD, "Grab"): Method("uuas", self._grab),
            (CLIPBOARD, "Release"): Method("u", lambda _: None),
            (CLIPBOARD, "Request"): Method("uas", self._request),
        }
        self.exports = Exports(methods, {CLIPBOARD: {"Interfaces": ("as", [])}})

    # On the connection's thread.

    def _register(self, message: Incoming) -> Answer | None:
        with self._lock:
            self._serial = 0
        return None

    def _grab(self, message: Incoming) -> Answer | None:
        selection, serial, mimes = message.body
        if selection != SELECTION_CLIPBOARD:
            return None
        with self._lock:
            self._serial = max(self._serial, serial)
            self._text = None
            if TEXT in mimes and not self._is_told:
                self._is_told = True
                # The loop may have ended before us.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._grabbed.set)
        return None

    def _request(self, message: Incoming) -> Answer | None:
        selection, mimes = message.body
        with self._lock:
            if selection != SELECTION_CLIPBOARD or self._text is None:
                raise RefusedError("there is nothing")
            if TEXT not in mimes:
                raise RefusedError("there is only text")
            return "say", (TEXT, self._text)

    # On the loop's thread.

    async def run(self, connection: DBusConnection) -> None:
        """Serve the clipboard on a control connection until that ends.

        Raises:
            DBusError: QEMU has no clipboard, or another has registered.
        """
        try:
            await connection.call(PATH, CLIPBOARD, "Register")
            self._connection = connection
            self._offer()
            async with asyncio.TaskGroup() as tasks:
                fetching = tasks.create_task(self._fetch_grabbed(connection))
                await connection.wait_closed()
                fetching.cancel()
        except DBusClosedError:
            _log.debug("the clipboard ends with its connection")
        finally:
            self._connection = None

    async def _fetch_grabbed(self, connection: DBusConnection) -> None:
        while True:
            await self._grabbed.wait()
            self._grabbed.clear()
            with self._lock:
                self._is_told = False
            try:
                body = (SELECTION_CLIPBOARD, [TEXT])
                mime, data = await connection.call(PATH, CLIPBOARD, "Request", "uas", body, returns="say")
            except DBusError as error:
                _log.info("the guest's clipboard stays there: %s", error)
                continue
            if mime != TEXT or len(data) > MAX_CLIPBOARD_BYTES:
                _log.info("the guest's clipboard stays there: it has %d bytes of %.64r", len(data), mime)
                continue
            text = bytes(data).decode(errors="replace").rstrip("\0")
            if len(text.encode()) <= MAX_CLIPBOARD_BYTES:
                self._handle_guest_text(text)

    def set_text(self, text: str) -> None:
        """The viewer has copied `text`: offer it to the guest, now or when it can be reached."""
        data = text.encode()[:MAX_CLIPBOARD_BYTES]
        with self._lock:
            self._text = data
        self._offer()

    def _offer(self) -> None:
        connection = self._connection
        with self._lock:
            if self._text is None or connection is None:
                return
            self._serial = min(self._serial + 1, MAX_SERIAL)
            body = (SELECTION_CLIPBOARD, self._serial, [TEXT])
        try:
            connection.post(PATH, CLIPBOARD, "Grab", "uuas", body).add_done_callback(_log_refusal)
        except DBusError as error:
            _log.info("the guest does not get the clipboard: %s", error)


def _log_refusal(answer: asyncio.Future[tuple[object, ...]]) -> None:
    error = None if answer.cancelled() else answer.exception()
    if error is not None:
        _log.info("the guest does not get the clipboard: %s", error)
