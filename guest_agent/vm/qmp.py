# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol (QMP): commands, answers, events; on asyncio, without a library."""

from __future__ import annotations

import array
import asyncio
import collections
import itertools
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

MAX_LINE_BYTES = 4_194_304  # query-qmp-schema's answer has some 200 KB
MAX_UNSENT_BYTES = 1_048_576
MAX_UNANSWERED = 256
TIMEOUT_S = 30.0

_READ_BYTES = 65536
_log = logging.getLogger(__name__)

EventHandler = Callable[[str, Mapping[str, Any]], None]


class QmpError(Exception):
    """A command failed; the text names it. `error_class` and `description` are QEMU's, where QEMU has answered."""

    def __init__(self, command: str, description: str, error_class: str = "") -> None:
        super().__init__(f"QMP {command}: {description}")
        self.command = command
        self.description = description
        self.error_class = error_class


class QmpClosedError(QmpError):
    """The connection has ended; QEMU is gone, or broke the protocol."""


@dataclass(frozen=True, slots=True, order=True)
class QemuVersion:
    major: int
    minor: int
    micro: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.micro}"


class LineReader:
    """Cuts a byte stream into JSON objects, one a line. Holds at most one unfinished line; no I/O."""

    __slots__ = ("_buffer", "_limit_bytes")

    def __init__(self, limit_bytes: int = MAX_LINE_BYTES) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Add received bytes, return the objects that are complete now.

        Raises:
            ValueError: a line is too long, or is no JSON object. The stream is lost.
        """
        begin = len(self._buffer)
        self._buffer += data
        objects = []
        while (end := self._buffer.find(b"\n", begin)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            begin = 0
            if len(line) > self._limit_bytes:
                break
            if line.strip():
                objects.append(_parse(line))
        if len(self._buffer) > self._limit_bytes or end >= 0:
            raise ValueError(f"a line is over the limit of {self._limit_bytes} bytes")
        return objects


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("a line is not a JSON object")
    return value


class Qmp:
    """One QMP connection. Owns its socket; loop thread only.

    Args of `connect`: the path of QEMU's QMP socket, and what is called with an event's name and data, on the loop's
    thread. A QEMU that does not read, or never answers, costs a bounded amount of memory.
    """

    def __init__(self, sock: socket.socket, handle_event: EventHandler | None = None) -> None:
        self.handle_event = handle_event
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._reader = LineReader()
        # Descriptors that wait are copies: their owner may close them meanwhile.
        self._unsent: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._unsent_bytes = 0
        self._answers: dict[str, tuple[str, asyncio.Future[Any]]] = {}
        self._ids = itertools.count(1)
        # QEMU keeps the descriptors that came last for the next command that wants some.
        self._fd_turn = asyncio.Lock()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._reason = "the connection is closed"
        self._loop.add_reader(sock, self._read)

    @classmethod
    async def connect(cls, path: str, handle_event: EventHandler | None = None, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect, wait for the greeting, and ask for the commands. Cancelling is safe.

        Raises:
            QmpError: QEMU does not answer, or is none. OSError: nobody listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(sock, path)
        except TimeoutError as error:
            sock.close()
            raise QmpError("connect", f"nobody accepts within {timeout_s:g} s") from error
        except BaseException:
            sock.close()
            raise
        return await cls.open(sock, handle_event, timeout_s)

    @classmethod
    async def open(
        cls, sock: socket.socket, handle_event: EventHandler | None = None, timeout_s: float = TIMEOUT_S
    ) -> Self:
        """Make a Qmp of a connected socket, which is the Qmp's from now on, also after a failure."""
        sock.setblocking(False)
        qmp = cls(sock, handle_event)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(qmp._greeted)
            await qmp.execute("qmp_capabilities", timeout_s=timeout_s)
        except BaseException as error:
            qmp.close()
            if isinstance(error, TimeoutError):
                raise QmpError("connect", f"no greeting within {timeout_s:g} s; a QMP socket has one user") from error
            raise
        return qmp

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        return self._ended.done()

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, by whomever. Cancelling is safe."""
        await asyncio.shield(self._ended)

    def close(self) -> None:
        """End the connection; what is not answered yet fails. May be called twice."""
        self._end("the connection was closed")

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        fds: Sequence[int] = (),
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Run a command; return what QEMU returns. `fds` stay the caller's. After cancelling QEMU may still do it.

        Raises:
            QmpError: QEMU refused it, did not answer, or has too much to answer already.
            QmpClosedError: the connection has ended.
        """
        if not fds:
            return await self._execute(command, arguments, fds, timeout_s)
        async with self._fd_turn:
            return await self._execute(command, arguments, fds, timeout_s)

    async def _execute(
        self, command: str, arguments: Mapping[str, Any] | None, fds: Sequence[int], timeout_s: float
    ) -> Any:
        future = self.post(command, arguments, fds)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise QmpError(command, f"no answer within {timeout_s:g} s") from None

    def post(
        self, command: str, arguments: Mapping[str, Any] | None = None, fds: Sequence[int] = ()
    ) -> asyncio.Future[Any]:
        """Send a command; the answer comes by the future, which may be forgotten. Never blocks.

        Raises:
            QmpError: as execute().
        """
        if self._ended.done():
            raise QmpClosedError(command, self._reason)
        if len(self._answers) >= MAX_UNANSWERED:
            raise QmpError(command, f"{MAX_UNANSWERED} commands are not answered yet")
        request: dict[str, Any] = {"execute": command, "id": str(next(self._ids))}
        if arguments is not None:
            request["arguments"] = dict(arguments)
        data = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        if self._unsent_bytes + len(data) > MAX_UNSENT_BYTES:
            raise QmpError(command, "QEMU does not read its commands")
        future = self._loop.create_future()
        # Who forgets it does not want to hear of it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._answers[request["id"]] = (command, future)
        self._unsent.append((data, [os.dup(fd) for fd in fds]))
        self._unsent_bytes += len(data)
        self._write()
        return future

    def _write(self) -> None:
        while self._unsent and not self._ended.done():
            data, fds = self._unsent[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._write)
                return
            except OSError as error:
                self._end(f"QEMU is gone: {error.strerror}")
                return
            _close_all(fds)
            self._unsent_bytes -= sent
            if sent < len(data):
                self._unsent[0] = (data[sent:], [])
            else:
                self._unsent.popleft()
        if not self._ended.done():
            self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end("QEMU is gone")
            return
        try:
            for message in self._reader.feed(data):
                self._handle(message)
        except ValueError as error:
            _log.warning("QMP ends: %s", error)
            self._end(f"QEMU broke the protocol: {error}")

    def _handle(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            if not self._greeted.done():
                self._greeted.set_result(None)
        elif isinstance(message.get("event"), str):
            data = message.get("data")
            if self.handle_event is not None:
                self.handle_event(message["event"], data if isinstance(data, dict) else {})
        elif "return" in message or "error" in message:
            self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        identity = message.get("id")
        waiting = self._answers.pop(identity, None) if isinstance(identity, str) else None
        if waiting is None:
            _log.debug("QMP: an answer to nothing that was asked")
            return
        command, future = waiting
        if future.done():
            return
        if "return" in message:
            future.set_result(message["return"])
            return
        error = message["error"] if isinstance(message["error"], dict) else {}
        description = str(error.get("desc", "no reason given"))[:1000]
        future.set_exception(QmpError(command, description, str(error.get("class", ""))[:100]))

    def _end(self, reason: str) -> None:
        if self._ended.done():
            return
        self._reason = reason
        self._ended.set_result(None)
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for _, fds in self._unsent:
            _close_all(fds)
        self._unsent.clear()
        if not self._greeted.done():
            self._greeted.set_exception(QmpClosedError("connect", reason))
            self._greeted.exception()
        answers, self._answers = self._answers, {}
        for command, future in answers.values():
            if not future.done():
                future.set_exception(QmpClosedError(command, reason))

    async def version(self) -> QemuVersion:
        """Return QEMU's version.

        Raises:
            QmpError: as execute(), or the answer is none.
        """
        answer = await self.execute("query-version")
        try:
            numbers = answer["qemu"]
            return QemuVersion(int(numbers["major"]), int(numbers["minor"]), int(numbers["micro"]))
        except (KeyError, TypeError, ValueError) as error:
            raise QmpError("query-version", "the answer names no version") from error


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
