# SPDX-License-Identifier: Apache-2.0
"""A fake QEMU: the server's end of a D-Bus connection, and QMP; it says whatever a test wants it to."""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

from guest_agent.vm import dbus_message
from guest_agent.vm.dbus_connection import DBusConnection, Exports
from guest_agent.vm.dbus_message import FIXED_HEADER_BYTES, MAX_MESSAGE_BYTES, Incoming

LISTENER = "org.qemu.Display1.Listener"
LISTENER_MAP = "org.qemu.Display1.Listener.Unix.Map"


class FakePeer:
    """The server's end. Owns its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._serials = itertools.count(1000)

    async def let_in(self) -> None:
        """Take the client in, as GDBus does."""
        line = await self._line()
        assert line.startswith(b"\0AUTH EXTERNAL "), line
        await self.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
        assert await self._line() == b"NEGOTIATE_UNIX_FD\r\n"
        await self.send(b"AGREE_UNIX_FD\r\n")
        assert await self._line() == b"BEGIN\r\n"

    async def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += await self._read(1)
        return line

    async def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            async with asyncio.timeout(60):
                part = await self._loop.sock_recv(self._sock, size - len(data))
            if not part:
                raise ConnectionResetError("the client has closed the connection")
            data += part
        return data

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send any bytes; the descriptors go with the first."""
        if fds:
            sent = self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            data = data[sent:]
        if data:
            await self._loop.sock_sendall(self._sock, data)

    async def receive(self) -> Incoming:
        """Wait for the next message."""
        start = await self._read(FIXED_HEADER_BYTES)
        rest = await self._read(dbus_message.message_size(start, MAX_MESSAGE_BYTES) - len(start))
        return dbus_message.parse(memoryview(bytearray(start + rest)), [])

    async def call(
        self, interface: str, member: str, signature: str = "", body: tuple[Any, ...] = (), path: str = "/"
    ) -> Incoming:
        """Call a method of the client's and wait for the answer to it."""
        serial = next(self._serials)
        message = dbus_message.call(serial, path, interface, member, signature, body)
        await self.send(message.data, message.fds)
        while (answer := await self.receive()).reply_serial != serial:
            pass
        return answer

    async def answer(self, call: Incoming, signature: str = "", body: tuple[Any, ...] = ()) -> None:
        """Answer a call of the client's."""
        await self.send(dbus_message.reply(next(self._serials), call, signature, body).data)

    async def refuse(self, call: Incoming, name: str, text: str) -> None:
        await self.send(dbus_message.error(next(self._serials), call, name, text).data)

    async def is_closed(self) -> bool:
        """Wait until the client has closed; what it says until then is thrown away."""
        try:
            while True:
                await self._read(1)
        except OSError:
            return True

    def close(self) -> None:
        self._sock.close()


@contextlib.asynccontextmanager
async def fake_peer(
    exports: Exports | None = None, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[tuple[DBusConnection, FakePeer]]:
    """A connection of ours that a fake QEMU has taken in."""
    ours, theirs = socket.socketpair()
    peer = FakePeer(theirs)
    connection = DBusConnection(ours, exports or Exports(), "test", max_message_bytes)
    try:
        await peer.let_in()
        await connection.authenticated()
        yield connection, peer
    finally:
        connection.close()
        peer.close()
        async with asyncio.timeout(60):
            await connection.wait_closed()


class FakeQmp:
    """QMP's server on a socket; a test answers by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.fds: list[int] = []

    async def greet(self) -> None:
        """Greet and take the capabilities."""
        await self.send({"QMP": {"version": {}, "capabilities": []}})
        await self.answer(await self.receive())

    async def receive(self) -> dict[str, Any]:
        """Wait for the next command; its descriptors are in `fds`."""
        while b"\n" not in self._received:
            readable = asyncio.Event()
            self._loop.add_reader(self._sock, readable.set)
            try:
                async with asyncio.timeout(60):
                    await readable.wait()
            finally:
                self._loop.remove_reader(self._sock)
            data, fds, _, _ = socket.recv_fds(self._sock, 65536, 8)
            if not data:
                raise ConnectionResetError("the client has closed the connection")
            self._received += data
            self.fds += fds
        line, _, self._received = self._received.partition(b"\n")
        command: dict[str, Any] = json.loads(line)
        return command

    async def send(self, message: Any) -> None:
        await self.send_bytes(json.dumps(message).encode() + b"\r\n")

    async def send_bytes(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def answer(self, command: dict[str, Any], value: Any = None) -> None:
        await self.send({"return": value if value is not None else {}, "id": command["id"]})

    def close(self) -> None:
        self._sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def picture_bytes(width: int, height: int, value: int = 0) -> bytes:
    """A picture of one 32-bit value."""
    return struct.pack("<I", value) * (width * height)
