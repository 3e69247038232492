# SPDX-License-Identifier: Apache-2.0
"""The host's end of the port to an agent inside the virtual machine, which may be absent, come, go, and be hostile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Never

from guest_agent.link import LinkError, encode_message
from guest_agent.messages import (
    GUEST_TO_HOST,
    PORT_VERSION,
    Clipboard,
    Clock,
    Error,
    Hello,
    HostTime,
    Message,
    MessageError,
    Size,
)
from guest_agent.port_framing import MARK, PORT_NAME, PortFramer

# What the agent may leave unread: two texts of the largest size, escaped.
MAX_UNSENT_BYTES = 8 << 20
# Beyond this the guest's bytes wait in QEMU, and then in the guest: parsing them takes time from input.
MAX_BYTES_PER_SECOND = 4 << 20
# Of one agent; then it is not listened to until another begins.
MAX_REFUSED = 100
# A guest's program that copies all the time does not keep the viewers' links busy,
TEXT_SECONDS = 0.1
# nor an agent that begins all the time us.
GREETING_SECONDS = 0.2
# Of agents that begin; a guest must not fill the host's log.
MAX_LOGGED = 20

# The virtio-serial device that the port is on; others may have room there too.
_DEVICE = "heliograph-agent"
BUS = f"{_DEVICE}.0"

_READ_BYTES = 65536
_RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


def qemu_arguments(path: Path) -> list[str]:
    """Return QEMU's arguments that give a machine the port, with its socket at `path`."""
    return [
        *("-device", f"virtio-serial-pci,id={_DEVICE}"),
        *("-chardev", f"socket,id=heliograph-agent,path={path},server=on,wait=off"),
        *("-device", f"virtserialport,bus={BUS},chardev=heliograph-agent,name={PORT_NAME}"),
    ]


class AgentPort:
    """One port's end on the host; loop thread only.

    Args:
        path: the socket of QEMU's chardev.
        handle_text: gets what a program in the guest has copied.
    """

    def __init__(self, path: Path, handle_text: Callable[[str], None]) -> None:
        self._path = path
        self._handle_text = handle_text
        self._writer: asyncio.StreamWriter | None = None
        self._framer = PortFramer()
        self._has_hello = False  # since the last mark
        self._is_present = False
        self._is_clock_wanted = False
        self._refused = 0
        self._greeted = 0
        self._viewers_text = ""
        self._guests_text = ""
        self._sizes: dict[int, Size] = {}
        self._greeting: asyncio.TimerHandle | None = None
        self._passing: asyncio.TimerHandle | None = None
        self._is_full = False  # was once, since we connected

    @property
    def is_present(self) -> bool:
        """Whether an agent has been greeted. That it has ended since cannot be seen."""
        return self._is_present

    @property
    def guest_text(self) -> str:
        """The text that a guest program copied last, "" when the viewer's is newer or there is none."""
        return self._guests_text

    # From the host

    def set_text(self, text: str) -> None:
        """Offer the viewer's text to the guest's programs, now and to agents that come later."""
        if text and text != self._viewers_text:
            self._viewers_text = text
            self._guests_text = ""
            self._tell(Clipboard(text))

    def send_size(self, scanout: int, width: int, height: int) -> None:
        """Say which size viewers want of an output; 0×0 when they do not look at it."""
        self._sizes[scanout] = Size(scanout, width, height)
        self._tell(self._sizes[scanout])

    def send_time(self) -> None:
        """Tell the guest what time it is; after its machine was paused it does not know."""
        self._is_clock_wanted = self._is_present
        self._tell(HostTime(time.time_ns()))

    def _tell(self, message: Message) -> None:
        if self._is_present:
            self._send(message)

    def _send(self, message: Message, before: bytes = b"") -> None:
        """Queue a message. It is dropped when the agent does not read; never blocks."""
        if self._writer is None or self._writer.is_closing():
            return
        try:
            data = before + encode_message(message.to_dict())
        except LinkError as error:
            _log.info("the guest's agent is not told: %s", error)
            return
        if self._writer.transport.get_write_buffer_size() + len(data) > MAX_UNSENT_BYTES:
            if not self._is_full:
                self._is_full = True
                _log.warning("the guest's agent does not read: what is for it is dropped")
            return
        self._writer.write(data)

    # From the guest

    async def run(self) -> Never:
        """Serve the port; connects again when QEMU has closed it. Cancelling is safe, and the only end."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(str(self._path), limit=_READ_BYTES)
            except OSError as error:
                _log.debug("no connection to the guest's port: %s", error)
            else:
                try:
                    await self._serve(reader)
                except OSError as error:
                    _log.debug("the connection to the guest's port is lost: %s", error)
                finally:
                    self._disconnect()
            await asyncio.sleep(_RETRY_SECONDS)

    def _disconnect(self) -> None:
        self._is_present = False
        for timer in (self._greeting, self._passing):
            if timer is not None:
                timer.cancel()
        self._greeting = self._passing = None
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        self._framer = PortFramer()
        self._is_full = self._has_hello = False
        self._refused = 0
        # For an agent that was there before us. One that comes later says hello itself.
        self._send(Hello(PORT_VERSION, reply=False), MARK)
        while data := await reader.read(_READ_BYTES):
            for fields in self._framer.feed(data):
                if fields is None:
                    self._has_hello = self._is_present = False
                    self._refused = 0
                elif self._refused <= MAX_REFUSED:
                    self._handle_fields(fields)
            await asyncio.sleep(len(data) / MAX_BYTES_PER_SECOND)

    def _handle_fields(self, fields: Mapping[str, Any]) -> None:
        try:
            message = GUEST_TO_HOST.parse(fields)
            if not self._has_hello and not isinstance(message, Hello):
                raise MessageError(f"{message.type}: comes before hello")
        except MessageError as error:
            self._refuse(error, fields)
            return
        match message:
            case Hello(_version, reply):
                self._has_hello = True
                if self._greeting is None:
                    loop = asyncio.get_running_loop()
                    self._greeting = loop.call_later(GREETING_SECONDS, self._greet, not reply)
            case Clipboard(text):
                self._take_text(text)
            case Clock(behind_ms, was_set):
                # Once for each time of asking.
                if self._is_clock_wanted:
                    self._is_clock_wanted = False
                    level = logging.INFO if abs(behind_ms) > 1000 else logging.DEBUG
                    ending = "and is set" if was_set else "and stays so"
                    _log.log(level, "the guest's clock was %.1f s behind %s", behind_ms / 1000, ending)
            case Error(text):
                _log.debug("the guest's agent says: %a", text[:200])

    def _refuse(self, error: MessageError, fields: Mapping[str, Any]) -> None:
        self._refused += 1
        _log.debug("refused a message of the guest's agent: %s", error)
        if self._refused > MAX_REFUSED:
            _log.debug("it is not listened to any more")
            self._is_present = False
        elif fields.get("type") != Error.type:
            self._send(Error(str(error)))

    def _greet(self, must_answer: bool) -> None:
        """Tell an agent that has begun what there is to know."""
        self._greeting = None
        self._greeted += 1
        _log.log(logging.INFO if self._greeted <= MAX_LOGGED else logging.DEBUG, "the guest has an agent")
        self._is_present = True
        if must_answer:
            self._send(Hello(PORT_VERSION, reply=True), MARK)
        self.send_time()
        for size in self._sizes.values():
            self._send(size)
        if self._viewers_text:
            self._send(Clipboard(self._viewers_text))

    def _take_text(self, text: str) -> None:
        if not text or text in (self._guests_text, self._viewers_text):
            return
        if self._viewers_text and not self._is_present:
            # An agent's first word of what was copied before. The viewer's is newer, and on its way.
            return
        self._guests_text = text
        self._viewers_text = ""
        if self._passing is None:
            # More may come meanwhile: the newest is passed on.
            self._passing = asyncio.get_running_loop().call_later(TEXT_SECONDS, self._pass_text)

    def _pass_text(self) -> None:
        self._passing = None
        if self._guests_text:
            self._handle_text(self._guests_text)
