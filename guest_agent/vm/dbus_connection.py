# SPDX-License-Identifier: Apache-2.0
"""A D-Bus connection from peer to peer: no bus, no Hello; we are the client of SASL, QEMU is the server.

Each connection has a thread of its own, which reads, answers the peer's calls and keeps what the socket does not take
yet. QEMU stops its main loop, and with it the guest, until some calls are answered: that must not depend on what else
this process has to do (docs/decisions/0018-qemu-dbus-display.md).
"""

from __future__ import annotations

import array
import asyncio
import collections
import contextlib
import itertools
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jeepney import MessageType
from jeepney.auth import BEGIN, AuthenticationError, Authenticator

from guest_agent.vm import dbus_message
from guest_agent.vm.dbus_message import FIXED_HEADER_BYTES, MAX_FDS, DBusProtocolError, Incoming, Outgoing, message_size

PROPERTIES = "org.freedesktop.DBus.Properties"
PEER = "org.freedesktop.DBus.Peer"

CALL_TIMEOUT_S = 20.0
AUTHENTICATION_TIMEOUT_S = 20.0
MAX_CONTROL_BYTES = 2_097_152
MAX_UNSENT_BYTES = 4_194_304
MAX_UNANSWERED = 256

_log = logging.getLogger(__name__)


class DBusError(Exception):
    """A call failed; the text names it. `name` is the D-Bus error's, "" when no answer came."""

    def __init__(self, member: str, text: str, name: str = "") -> None:
        super().__init__(f"D-Bus {member}: {text}")
        self.member = member
        self.name = name


class DBusClosedError(DBusError):
    """The connection has ended."""


class RefusedError(Exception):
    """A handler refuses a call: the text goes to the peer, and to the log."""


Answer = tuple[str, tuple[Any, ...]]
"""A signature, and a body that has it."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of ours. `handle` runs on the connection's thread, must not wait, and may raise RefusedError."""

    signature: str
    handle: Callable[[Incoming], Answer | None]


@dataclass(frozen=True, slots=True)
class Exports:
    """What the peer may call: methods by interface and member, properties by interface and name (signature, value)."""

    methods: Mapping[tuple[str, str], Method] = field(default_factory=dict)
    properties: Mapping[str, Mapping[str, tuple[str, Any]]] = field(default_factory=dict)
    # On the connection's thread too.
    handle_signal: Callable[[Incoming], None] | None = None


@dataclass(slots=True)
class _Waiting:
    member: str
    signature: str | None
    future: asyncio.Future[tuple[Any, ...]]


class DBusConnection:
    """A connection that begins at once; `authenticated()` waits until it can be used.

    The socket is the connection's. Methods are for the loop's thread, but close(), which any thread may call.

    Args:
        sock: a connected stream socket.
        exports: what QEMU may call on it.
        name: what it is called in the log.
        max_message_bytes: what a message of QEMU's may have at most.
    """

    def __init__(
        self, sock: socket.socket, exports: Exports, name: str, max_message_bytes: int = MAX_CONTROL_BYTES
    ) -> None:
        self.name = name
        self._sock = sock
        self._exports = exports
        self._limit_bytes = max_message_bytes
        self._loop = asyncio.get_running_loop()
        self._serials = itertools.count(1)
        self._lock = threading.Lock()  # what follows, up to the next blank line
        self._unsent: collections.deque[tuple[memoryview, list[int]]] = collections.deque()
        self._unsent_bytes = 0
        self._waiting: dict[int, _Waiting] = {}
        self._has_begun = False
        self._is_closing = False

        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_open: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"dbus-{name}", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._is_closing

    async def authenticated(self) -> None:
        """Wait until the peer has taken us in.

        Raises:
            DBusClosedError: it has not.
        """
        await asyncio.shield(self._is_open)

    async def wait_closed(self) -> str:
        """Wait until the connection has ended, by whomever; return why. Cancelling is safe."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """End the connection; calls that wait fail. Any thread; may be called twice."""
        with self._lock:
            self._is_closing = True
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        returns: str | None = "",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> tuple[Any, ...]:
        """Call a method and return what it returns, which has the signature `returns` (None: any).

        Raises:
            DBusError: the peer refused, did not answer, answered something else, or has too much to answer already.
            DBusClosedError: the connection has ended.
        """
        future = self.post(path, interface, member, signature, body, returns=returns)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise DBusError(member, f"no answer within {timeout_s:g} s") from None

    def post(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        returns: str | None = "",
    ) -> asyncio.Future[tuple[Any, ...]]:
        """Call a method; the answer comes by the future, which may be forgotten. Never blocks.

        Raises:
            DBusError: as call().
        """
        serial = next(self._serials)
        message = dbus_message.call(serial, path, interface, member, signature, body)
        future: asyncio.Future[tuple[Any, ...]] = self._loop.create_future()
        # Who forgets it does not want to hear of it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        with self._lock:
            if self._is_closing:
                raise DBusClosedError(member, "the connection has ended")
            if len(self._waiting) >= MAX_UNANSWERED:
                raise DBusError(member, f"{MAX_UNANSWERED} calls are not answered yet")
            self._waiting[serial] = _Waiting(member, returns, future)
            try:
                self._send(message)
            except DBusProtocolError as error:
                del self._waiting[serial]
                raise DBusError(member, str(error)) from error
        return future

    @property
    def unanswered(self) -> int:
        """How many calls are not answered yet."""
        return len(self._waiting)

    def _send(self, message: Outgoing) -> None:
        """With the lock held. Descriptors that have to wait are copies: their owner may close them meanwhile."""
        if self._unsent_bytes + len(message.data) > MAX_UNSENT_BYTES:
            raise DBusProtocolError("the peer does not read")
        was_empty = not self._unsent
        self._unsent.append((memoryview(message.data), [os.dup(fd) for fd in message.fds]))
        self._unsent_bytes += len(message.data)
        if not self._has_begun:
            return  # the thread sends it once the peer has taken us in
        if was_empty and self._flush():
            return
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def _flush(self) -> bool:
        """With the lock held: send what the socket takes; whether that was all. Errors are left to the reader."""
        while self._unsent:
            data, fds = self._unsent[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError:
                sent = len(data)
            _close_all(fds)
            self._unsent_bytes -= sent
            if sent < len(data):
                self._unsent[0] = (data[sent:], [])
            else:
                self._unsent.popleft()
        return True

    # From here on: the connection's thread.

    def _run(self) -> None:
        reason = "the connection was closed"
        try:
            self._authenticate()
            with self._lock:
                self._has_begun = True
                self._flush()
            self._tell(self._set_open)
            self._serve()
        except (DBusProtocolError, AuthenticationError) as error:
            reason = str(error)
            _log.warning("the D-Bus connection %s ends: %s", self.name, error)
        except OSError as error:
            reason = f"QEMU is gone: {error.strerror or error}"
        except Exception:
            reason = "an error of ours"
            _log.exception("the D-Bus connection %s ends", self.name)
        with self._lock:
            self._is_closing = True
            os.close(self._wake_fd)
            self._wake_fd = -1
            self._sock.close()
            for _, fds in self._unsent:
                _close_all(fds)
            self._unsent.clear()
        self._tell(self._finish, reason)

    def _authenticate(self) -> None:
        self._sock.settimeout(AUTHENTICATION_TIMEOUT_S)
        authenticator = Authenticator(enable_fds=True)
        for line in authenticator:
            self._sock.sendall(line)
            data = self._sock.recv(512)
            if not data:
                raise OSError("it closed the connection before it began")
            authenticator.feed(data)
        self._sock.sendall(BEGIN)
        self._sock.setblocking(False)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        reader = _Reader(self._sock, self._limit_bytes)
        try:
            while not self._is_closing:
                wants = select.POLLIN | (select.POLLOUT if self._unsent else 0)
                poll.register(self._sock, wants)
                for fd, events in poll.poll():
                    if fd == self._wake_fd:
                        os.eventfd_read(self._wake_fd)
                    elif events & select.POLLOUT:
                        with self._lock:
                            self._flush()
                    if fd != self._wake_fd and events & ~select.POLLOUT:
                        message = reader.read()
                        if message is not None:
                            self._handle(message)
        finally:
            reader.close()

    def _handle(self, message: Incoming) -> None:
        try:
            match message.kind:
                case MessageType.method_return | MessageType.error:
                    self._handle_answer(message)
                case MessageType.method_call:
                    answer = self._answer(message)
                    if message.wants_reply:
                        with self._lock:
                            self._send(answer)
                case MessageType.signal:
                    if self._exports.handle_signal is not None:
                        self._exports.handle_signal(message)
        finally:
            message.close()

    def _handle_answer(self, message: Incoming) -> None:
        with self._lock:
            waiting = self._waiting.pop(message.reply_serial, None)
        if waiting is None:
            return
        error: DBusError | None = None
        if message.kind == MessageType.error:
            text = message.body[0] if message.signature.startswith("s") else "no reason given"
            error = DBusError(waiting.member, str(text)[:1000], message.error_name)
        elif waiting.signature is not None and message.signature != waiting.signature:
            error = DBusError(waiting.member, f"the answer is {message.signature[:64]!r}, not {waiting.signature!r}")
        self._tell(_settle, waiting.future, message.body, error)

    def _answer(self, message: Incoming) -> Outgoing:
        serial = next(self._serials)
        if message.interface == PROPERTIES:
            method: Method | None = {
                "Get": Method("ss", self._get),
                "GetAll": Method("s", self._get_all),
            }.get(message.member)
        elif message.interface == PEER and message.member == "Ping":
            method = Method("", lambda _: None)
        else:
            method = self._exports.methods.get((message.interface, message.member))
        if method is None:
            _log.debug("%s: QEMU calls %s.%s, which we have not", self.name, message.interface, message.member)
            unknown = "org.freedesktop.DBus.Error.UnknownMethod"
            return dbus_message.error(serial, message, unknown, "there is no such method")
        try:
            if message.signature != method.signature:
                raise RefusedError(f"has the signature {message.signature[:64]!r} instead of {method.signature!r}")
            signature, body = method.handle(message) or ("", ())
        except RefusedError as error:
            _log.warning("%s: %s: %s", self.name, message.member, error)
            return dbus_message.error(serial, message, "org.freedesktop.DBus.Error.InvalidArgs", str(error))
        return dbus_message.reply(serial, message, signature, body)

    def _get_all(self, message: Incoming) -> Answer:
        return "a{sv}", (dict(self._exports.properties.get(message.body[0], {})),)

    def _get(self, message: Incoming) -> Answer:
        interface, name = message.body
        value = self._exports.properties.get(interface, {}).get(name)
        if value is None:
            raise RefusedError(f"has no property {name[:64]!r}")
        return "v", (value,)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop may have ended before us.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    # On the loop's thread again.

    def _set_open(self) -> None:
        if not self._is_open.done():
            self._is_open.set_result(None)

    def _finish(self, reason: str) -> None:
        if not self._is_open.done():
            self._is_open.set_exception(DBusClosedError("authentication", reason))
            self._is_open.exception()
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            _settle(call.future, (), DBusClosedError(call.member, reason))
        if not self._ended.done():
            self._ended.set_result(reason)


def _settle(future: asyncio.Future[tuple[Any, ...]], body: tuple[Any, ...], error: DBusError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(body)


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


class _Reader:
    """Puts one message after the other together, reading never beyond its end: descriptors belong to the message whose
    bytes they came with."""

    def __init__(self, sock: socket.socket, limit_bytes: int) -> None:
        self._sock = sock
        self._limit_bytes = limit_bytes
        self._data = bytearray(FIXED_HEADER_BYTES)
        self._got = 0
        self._is_sized = False
        self._fds: list[int] = []

    def read(self) -> Incoming | None:
        """Read what there is of the next message; return it when it is complete.

        Raises:
            DBusProtocolError: it is no message. OSError: the peer is gone.
        """
        while self._got < len(self._data):
            try:
                with memoryview(self._data) as whole, whole[self._got :] as rest:
                    size, ancillary, flags, _ = self._sock.recvmsg_into(
                        [rest], socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
                    )
            except BlockingIOError:
                return None
            self._fds += _fds_of(ancillary)
            if not size:
                raise OSError("it closed the connection")
            if flags & socket.MSG_CTRUNC or len(self._fds) > MAX_FDS:
                raise DBusProtocolError(f"a message has over {MAX_FDS} descriptors")
            self._got += size
            if self._got == FIXED_HEADER_BYTES and not self._is_sized:
                size = message_size(bytes(self._data), self._limit_bytes)
                self._is_sized = True
                data = bytearray(size)
                data[:FIXED_HEADER_BYTES] = self._data
                self._data = data
        data, self._data = self._data, bytearray(FIXED_HEADER_BYTES)
        self._got, self._is_sized = 0, False
        message = dbus_message.parse(memoryview(data), self._fds)
        self._fds = []
        return message

    def close(self) -> None:
        _close_all(self._fds)


def _fds_of(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
