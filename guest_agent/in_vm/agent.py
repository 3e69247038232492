# SPDX-License-Identifier: Apache-2.0
"""The agent inside a virtual machine: what the host says on the port, done in the guest; what is copied, sent back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from guest_agent.clipboard import Clipboard
from guest_agent.in_vm.clock import compare_clock
from guest_agent.in_vm.outputs import Outputs
from guest_agent.in_vm.port_device import PortDevice, PortError
from guest_agent.link import LinkError, encode_message
from guest_agent.messages import (
    HOST_TO_GUEST,
    PORT_VERSION,
    Error,
    Hello,
    HostTime,
    Message,
    MessageError,
    Size,
)
from guest_agent.messages import Clipboard as ClipboardText
from guest_agent.port_framing import MARK, PortFramer
from guest_agent.x_connection import XConnection, XConnectionError, XError

# A desktop that follows its outputs has done so by then.
GRACE_SECONDS = 1.0
_RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


class InVmAgent:
    """Serves one port; loop thread only. Without an X server it keeps the time alone, and looks for one.

    Args:
        port: taken over.
        display: of the X server, ":0".
        sets_clock: whether the guest's clock is set right; that takes root.
    """

    def __init__(self, port: PortDevice, display: str, *, sets_clock: bool = True) -> None:
        self._port = port
        self._display = display
        self._sets_clock = sets_clock
        self._framer = PortFramer()
        self._is_greeted = False
        self._clipboard: Clipboard | None = None
        self._outputs: Outputs | None = None
        self._text = ""  # the viewer's newest, for when there is an X server
        self._wanted: dict[int, Size] = {}

    async def run(self) -> None:
        """Serve the port. Cancelling is safe.

        Raises:
            PortError: it is gone.
        """
        try:
            # What the last agent has left in the port is void.
            self._say(Hello(PORT_VERSION, reply=False), MARK)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve_display())
                tasks.create_task(self._serve_port())
        except* PortError as group:
            raise group.exceptions[0] from None
        finally:
            self._port.close()

    async def _serve_port(self) -> None:
        while True:
            for fields in self._framer.feed(await self._port.read()):
                if fields is None:
                    self._is_greeted = False
                else:
                    self._handle_fields(fields)

    def _say(self, message: Message, before: bytes = b"") -> None:
        try:
            data = before + encode_message(message.to_dict())
        except LinkError as error:
            _log.info("the host is not told: %s", error)
            return
        if not self._port.write(data):
            _log.warning("the host does not read: %s is dropped", message.type)

    # From the host

    def _handle_fields(self, fields: Mapping[str, Any]) -> None:
        try:
            message = HOST_TO_GUEST.parse(fields)
        except MessageError as error:
            _log.warning("refused a message: %s", error)
            if fields.get("type") != Error.type:
                self._say(Error(str(error)))
            return
        match message:
            case Hello(_version, reply):
                self._handle_hello(must_answer=not reply)
            case HostTime(unix_ns):
                if self._sets_clock:
                    clock = compare_clock(unix_ns)
                    _log.info("the clock was %.3f s behind%s", clock.behind_ms / 1000, ": set" * clock.was_set)
                    self._say(clock)
            case Size():
                self._wanted[message.scanout] = message
                asyncio.get_running_loop().call_later(GRACE_SECONDS, self._set_size, message)
            case ClipboardText(text):
                self._text = text
                self._set_text()
            case Error(text):
                _log.warning("the host says: %s", text)

    def _handle_hello(self, *, must_answer: bool) -> None:
        self._is_greeted = True
        if must_answer:
            self._say(Hello(PORT_VERSION, reply=True), MARK)
        if self._clipboard is not None and self._clipboard.guest_text:
            self._handle_text(self._clipboard.guest_text)

    def _set_text(self) -> None:
        if self._clipboard is not None and self._text:
            try:
                self._clipboard.set_text(self._text)
            except XError as error:
                _log.debug("the clipboard is not set: %r", error)

    def _set_size(self, size: Size) -> None:
        # A newer one may have come meanwhile.
        if self._outputs is None or self._wanted.get(size.scanout) != size:
            return
        try:
            if self._outputs.set_size(size.scanout, size.width, size.height):
                _log.info("output %d is %d×%d now", size.scanout, size.width, size.height)
        except XError as error:
            _log.warning("output %d does not take %d×%d: %r", size.scanout, size.width, size.height, error)

    # From the guest

    def _handle_text(self, text: str) -> None:
        self._text = ""
        if self._is_greeted:
            self._say(ClipboardText(text))

    async def _serve_display(self) -> None:
        """Keep a connection to the X server, whenever there is one."""
        while True:
            try:
                x = XConnection(self._display)
            except XConnectionError as error:
                _log.debug("%s", error)
            else:
                with contextlib.closing(x):
                    await self._use_display(x)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _use_display(self, x: XConnection) -> None:
        try:
            self._outputs = Outputs(x)
            clipboard = Clipboard(x, self._handle_text)
        except (XConnectionError, XError) as error:
            _log.warning("the X server %s cannot be used: %s", self._display, error)
            return
        _log.info("serving the X server %s", self._display)
        try:
            self._clipboard = clipboard
            self._set_text()
            for size in list(self._wanted.values()):
                self._set_size(size)
            await x.closed
            _log.info("the X server %s is gone", self._display)
        finally:
            clipboard.close()
            self._clipboard = self._outputs = None
