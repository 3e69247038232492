# SPDX-License-Identifier: Apache-2.0
"""The JSON links between the processes (`docs/protocol/agent-link.md`): framing without I/O, a thin asyncio adapter."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from guest_agent.messages import Error, Message, MessageError, MessageSet

MAX_MESSAGE_BYTES = 4_194_304
# A peer that lets this much pile up does not read any more.
MAX_UNSENT_BYTES = 4 * MAX_MESSAGE_BYTES
# Our own processes send none at all; a render worker may have been taken over by its guest.
MAX_REFUSED = 100

LENGTH = struct.Struct("<I")
_READ_BYTES = 65536
_log = logging.getLogger(__name__)


class LinkError(Exception):
    """The peer broke the framing (the connection cannot go on), or a message is too long to be sent."""


def encode_message(fields: Mapping[str, Any]) -> bytes:
    """Return one framed message.

    Raises:
        LinkError: it is longer than a message may be, or JSON cannot say it.
    """
    try:
        body = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise LinkError(f"a message cannot be said in JSON: {error}") from error
    if len(body) > MAX_MESSAGE_BYTES:
        raise LinkError(f"a message of {len(body)} bytes is over the limit of {MAX_MESSAGE_BYTES}")
    return LENGTH.pack(len(body)) + body


class MessageFramer:
    """Cuts a byte stream into JSON objects. Holds at most one unfinished message; no I/O."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_inside_message(self) -> bool:
        """True when the stream must not end here."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Add received bytes, return the messages that are complete now.

        Raises:
            LinkError: length 0 or over the limit, not JSON, or not an object. The stream is lost.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if not 0 < length <= MAX_MESSAGE_BYTES:
                raise LinkError(f"message length {length} is not within 1…{MAX_MESSAGE_BYTES}")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(decode_body(bytes(self._buffer[LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def decode_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a message's bytes behind its length are.

    Raises:
        LinkError: they are none.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LinkError(f"a message is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise LinkError("a message is not a JSON object")
    return value


class Link:
    """One end of a JSON link on an asyncio loop. Owns the socket; loop thread only.

    Args of `open`: a connected stream socket, which the Link takes over, and the messages that may arrive here.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepts: MessageSet) -> None:
        self._reader = reader
        self._writer = writer
        self._accepts = accepts
        self._framer = MessageFramer()
        self._received: list[dict[str, Any]] = []
        self._refused = 0
        self._is_closed = False

    @classmethod
    async def open(cls, sock: socket.socket, accepts: MessageSet) -> Self:
        """Make a Link of a connected socket. The socket is the Link's on success, the caller's on failure."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, accepts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        return self._is_closed or self._writer.is_closing()

    async def receive(self) -> Message | None:
        """Wait for the next good message; None when the peer has closed or is gone.

        A message that is wrong is answered with `error` and skipped. Cancelling is safe.

        Raises:
            LinkError: the framing is broken, or very many messages were wrong. The link is closed.
        """
        while True:
            while self._received:
                message = self._parse(self._received.pop(0))
                if message is not None:
                    return message
            if self.is_closed:
                return None
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self.close()
                return None
            try:
                self._received = self._framer.feed(data)
            except LinkError:
                self.close()
                raise

    def _parse(self, fields: dict[str, Any]) -> Message | None:
        try:
            return self._accepts.parse(fields)
        except MessageError as error:
            self._refused += 1
            if self._refused > MAX_REFUSED:
                self.close()
                raise LinkError(f"over {MAX_REFUSED} messages were wrong, the last one: {error}") from error
            _log.warning("refused a message: %s", error)
            # An answer to an error could be answered with an error, for ever.
            if fields.get("type") != Error.type:
                self.send(Error(str(error)))
            return None

    def send(self, message: Message) -> None:
        """Queue a message; never blocks. Nothing happens on a closed link; a peer that does not read is cut off.

        Raises:
            LinkError: the message is too long, or JSON cannot say it; the link stays open.
        """
        data = encode_message(message.to_dict())
        if self.is_closed:
            return
        if self._writer.transport.get_write_buffer_size() + len(data) > MAX_UNSENT_BYTES:
            _log.warning("the peer does not read its messages: closing the link")
            self._writer.transport.abort()
            self._is_closed = True
            return
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until most of what was sent has gone to the kernel. Errors of the connection are left to receive()."""
        try:
            await self._writer.drain()
        except OSError:
            self.close()

    def close(self) -> None:
        """Close after what was queued has been sent. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._writer.close()

    async def wait_closed(self) -> None:
        """After close(): wait until the queue has been sent and the socket is closed."""
        try:
            await self._writer.wait_closed()
        except OSError:
            _log.debug("the peer was gone before all was sent")
