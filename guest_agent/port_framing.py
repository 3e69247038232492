# SPDX-License-Identifier: Apache-2.0
"""JSON messages on a virtio-serial port (`docs/protocol/agent-link.md`). No I/O.

The port is a stream that outlives who writes to it: an agent may die in the middle of a message, and the next one
begins where it stopped. So who begins writes a mark, which no message can contain (JSON in UTF-8 has no byte 0xFF, and
a length has two at most), and who reads drops what came before it.
"""

from __future__ import annotations

from typing import Any

from guest_agent.link import LENGTH, MAX_MESSAGE_BYTES, LinkError, decode_body

PORT_NAME = "org.heliograph.agent.0"
MARK = b"\xff\xff\xff\xff\n"


class PortFramer:
    """Cuts a port's bytes into messages; holds at most one unfinished message.

    Before the first mark, and after bytes that are no message, all is dropped up to the next mark.

    Attributes:
        failure: why messages are dropped now, None while all is well.
    """

    def __init__(self) -> None:
        self.failure: str | None = "nobody has begun yet"
        self._buffer = bytearray()
        # The last bytes, where a mark may have begun.
        self._tail = b""

    def feed(self, data: bytes) -> list[dict[str, Any] | None]:
        """Add received bytes; return the messages that are complete now. None stands for a mark: somebody begins."""
        found: list[dict[str, Any] | None] = []
        data = self._tail + data
        start = len(self._tail)  # what is before was fed already
        while (place := data.find(MARK)) >= 0:
            self._feed(data[start:place], found)
            found.append(None)
            self._buffer.clear()
            self.failure = None
            data = data[place + len(MARK) :]
            start = 0
        self._feed(data[start:], found)
        self._tail = data[-(len(MARK) - 1) :]
        return found

    def _feed(self, data: bytes, found: list[dict[str, Any] | None]) -> None:
        if self.failure is not None:
            return
        self._buffer += data
        try:
            while (end := self._message_end()) <= len(self._buffer):
                found.append(decode_body(bytes(self._buffer[LENGTH.size : end])))
                del self._buffer[:end]
        except LinkError as error:
            self.failure = str(error)
            self._buffer.clear()

    def _message_end(self) -> int:
        """Where the buffer's first message ends, as far as is known."""
        if len(self._buffer) < LENGTH.size:
            return LENGTH.size
        (length,) = LENGTH.unpack_from(self._buffer)
        if not 0 < length <= MAX_MESSAGE_BYTES:
            raise LinkError(f"message length {length} is not within 1…{MAX_MESSAGE_BYTES}")
        return LENGTH.size + int(length)
