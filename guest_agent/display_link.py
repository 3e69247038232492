# SPDX-License-Identifier: Apache-2.0
"""The guest's end of the display link (`docs/protocol/display-link.md`): packets, requests, answers, reconnecting."""

from __future__ import annotations

import array
import asyncio
import collections
import enum
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from guest_agent import virtio_gpu
from guest_agent.memory import Region
from guest_agent.virtio_gpu import ResponseType

VERSION = 1
MAX_PACKET_BYTES = 131072
# Past this the worker does not read any more; it would be told all of it again after a new connection.
MAX_UNSENT_PACKETS = 4096
RECONNECT_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)

HEADER = struct.Struct("<IHHII")
HELLO = struct.Struct("<II")
ADD_REGION = struct.Struct("<QQQ")
REMOVE_REGION = struct.Struct("<Q")
EVENT = struct.Struct("<II")

_log = logging.getLogger(__name__)


class MessageType(enum.IntEnum):
    HELLO = 1
    ADD_REGION = 2
    REMOVE_REGION = 3
    CONTROL = 4
    CURSOR = 5
    HELLO_REPLY = 0x8001
    RESPONSE = 0x8002
    EVENT = 0x8003


class DisplayLinkError(Exception):
    """The worker said no, or nonsense."""


Answer = Callable[[bytes], None]


class Display(Protocol):
    """What is shown over the link. Called on the loop's thread; nothing here may raise for what the worker sends."""

    def handle_connected(self, connection: DisplayConnection) -> None:
        """A worker is there and knows nothing: tell it everything."""

    def handle_disconnected(self) -> None:
        """The worker is gone with all it knew; answers still owed will not come."""

    def handle_display_event(self) -> None:
        """GET_DISPLAY_INFO has a new answer."""


def expect_ok(what: str) -> Answer:
    """Return an answer's handler that takes nothing but OK_NODATA."""

    def check(body: bytes) -> None:
        kind = virtio_gpu.response_type(body)
        if kind != ResponseType.OK_NODATA:
            raise DisplayLinkError(f"{what} was answered with {_name(kind)}")

    return check


def _name(kind: int) -> str:
    try:
        return ResponseType(kind).name
    except ValueError:
        return f"{kind:#x}"


class DisplayConnection:
    """One connection to a worker. Requests never block; loop thread only."""

    def __init__(self, sock: socket.socket, display: Display) -> None:
        self._sock = sock
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._answers: dict[int, Answer] = {}
        # The fd of a packet that waits is a copy: its owner may close it meanwhile.
        self._unsent: collections.deque[tuple[bytes, int | None]] = collections.deque()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._is_greeted = False
        self._max_scanouts = 0

    @property
    def max_scanouts(self) -> int:
        """How many scanouts the worker has; 0 before it was greeted."""
        return self._max_scanouts

    @property
    def was_greeted(self) -> bool:
        return self._is_greeted

    async def serve(self) -> None:
        """Greet the worker and serve until the connection ends. Cancelling closes it.

        Raises:
            DisplayLinkError, OSError: why it ended, unless the worker closed it.
        """
        self._loop.add_reader(self._sock, self._read)
        try:
            self._request(MessageType.HELLO, HELLO.pack(VERSION, 0), self._handle_hello)
            await self._ended
        finally:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            while self._unsent:
                _, fd = self._unsent.popleft()
                if fd is not None:
                    os.close(fd)
            if self._is_greeted:
                self._display.handle_disconnected()

    def add_region(self, region: Region) -> None:
        """Give the worker a region; the fd stays the caller's."""
        body = ADD_REGION.pack(region.address, region.size_bytes, 0)
        self._request(MessageType.ADD_REGION, body, expect_ok("ADD_REGION"), region.fd)

    def remove_region(self, region: Region) -> None:
        body = REMOVE_REGION.pack(region.address)
        self._request(MessageType.REMOVE_REGION, body, expect_ok("REMOVE_REGION"))

    def control(self, command: bytes, answer: Answer) -> None:
        """Send a control queue request. A DisplayLinkError or ValueError of `answer` ends the connection."""
        self._request(MessageType.CONTROL, command, answer)

    def cursor(self, command: bytes, answer: Answer) -> None:
        """Send a cursor queue request."""
        self._request(MessageType.CURSOR, command, answer)

    def _request(self, kind: MessageType, body: bytes, answer: Answer, fd: int | None = None) -> None:
        if self._ended.done():
            return
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        self._answers[self._sequence] = answer
        length = HEADER.size + len(body)
        packet = HEADER.pack(length, kind, 0 if fd is None else 1, self._sequence, 0) + body
        if self._unsent or not self._send(packet, fd):
            self._unsent.append((packet, None if fd is None else os.dup(fd)))
            if len(self._unsent) == 1:
                self._loop.add_writer(self._sock, self._write)
            elif len(self._unsent) > MAX_UNSENT_PACKETS:
                self._end(DisplayLinkError("the worker does not read its requests"))

    def _send(self, packet: bytes, fd: int | None) -> bool:
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            self._sock.sendmsg([packet], ancillary)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(error)
        return True

    def _write(self) -> None:
        while self._unsent:
            packet, fd = self._unsent[0]
            if not self._send(packet, fd):
                return
            if fd is not None:
                os.close(fd)
            self._unsent.popleft()
        self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        while not self._ended.done():
            try:
                packet = self._sock.recv(MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(error)
                return
            if not packet:
                self._end(None)
                return
            try:
                self._handle(packet)
            except (DisplayLinkError, ValueError) as error:
                self._end(error)

    def _handle(self, packet: bytes) -> None:
        if len(packet) < HEADER.size:
            raise DisplayLinkError(f"a packet of {len(packet)} bytes has no header")
        length, kind, fd_count, sequence, _ = HEADER.unpack_from(packet)
        body = packet[HEADER.size :]
        if length != len(packet) or fd_count:
            raise DisplayLinkError("a packet's header does not fit it")
        if kind == MessageType.EVENT:
            if len(body) != EVENT.size:
                raise DisplayLinkError("EVENT has a wrong size")
            if EVENT.unpack(body)[0] & virtio_gpu.EVENT_DISPLAY and self._is_greeted:
                self._display.handle_display_event()
            return
        answer = self._answers.pop(sequence, None)
        if answer is None:
            raise DisplayLinkError(f"an answer came for {sequence}, which was not asked")
        if (kind == MessageType.HELLO_REPLY) != (not self._is_greeted):
            raise DisplayLinkError("HELLO was refused" if not self._is_greeted else "HELLO was answered twice")
        if kind not in (MessageType.HELLO_REPLY, MessageType.RESPONSE):
            raise DisplayLinkError(f"the message type {kind:#x} is not known")
        answer(body)

    def _handle_hello(self, body: bytes) -> None:
        if len(body) != HELLO.size or HELLO.unpack(body)[0] != VERSION:
            raise DisplayLinkError("the worker speaks another version")
        self._is_greeted = True
        self._max_scanouts = HELLO.unpack(body)[1]
        self._display.handle_connected(self)

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)


async def run_display_link(path: str, display: Display) -> None:
    """Keep `display` connected to the worker at `path`, for ever. Cancelling is safe."""
    failures = 0
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect(path)
            connection = DisplayConnection(sock, display)
            await connection.serve()
            _log.info("the render worker closed the display link")
            failures = 0 if connection.was_greeted else failures + 1
        except BlockingIOError:
            # The backlog is full: nobody accepts at the moment.
            failures += 1
        except (DisplayLinkError, ValueError, OSError) as error:
            failures += 1
            _log.warning("the display link ended: %s", error)
        finally:
            sock.close()
        await asyncio.sleep(RECONNECT_DELAYS_S[min(failures, len(RECONNECT_DELAYS_S) - 1)])
