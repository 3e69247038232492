# SPDX-License-Identifier: Apache-2.0
"""A D-Bus connection from peer to peer: calls both ways, and a peer that may be hostile."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from pathlib import Path

import pytest

from guest_agent.vm import dbus_connection, dbus_message
from guest_agent.vm.dbus_connection import (
    PROPERTIES,
    DBusClosedError,
    DBusConnection,
    DBusError,
    Exports,
    Method,
    RefusedError,
)
from guest_agent.vm.dbus_message import DBusProtocolError, Incoming
from tests.support.fake_qemu import FakePeer, fake_peer
from tests.support.streaming import wait_until

EXPORTS = Exports(
    {("a.B", "Double"): Method("u", lambda message: ("u", (message.body[0] * 2,)))},
    {"a.B": {"Name": ("s", "ours"), "Parts": ("as", ["x"])}},
)


async def test_calls_go_both_ways() -> None:
    async with fake_peer(EXPORTS) as (connection, peer), asyncio.TaskGroup() as tasks:
        answer = await peer.call("a.B", "Double", "u", (21,))
        assert (answer.signature, answer.body) == ("u", (42,))
        assert (await peer.call(PROPERTIES, "Get", "ss", ("a.B", "Name"))).body == (("s", "ours"),)
        everything = (await peer.call(PROPERTIES, "GetAll", "s", ("a.B",))).body[0]
        assert everything == {"Name": ("s", "ours"), "Parts": ("as", ["x"])}
        assert (await peer.call("org.freedesktop.DBus.Peer", "Ping")).error_name == ""

        calling = tasks.create_task(connection.call("/x", "c.D", "Add", "uu", (1, 2), returns="u"))
        call = await peer.receive()
        assert (call.path, call.interface, call.member, call.body) == ("/x", "c.D", "Add", (1, 2))
        await peer.answer(call, "u", (3,))
        assert await calling == (3,)


async def test_what_we_have_not_is_refused() -> None:
    async with fake_peer(EXPORTS) as (_, peer):
        assert (await peer.call("a.B", "Triple")).error_name.endswith("UnknownMethod")
        assert "signature" in (await peer.call("a.B", "Double", "s", ("x",))).body[0]
        assert "no property" in (await peer.call(PROPERTIES, "Get", "ss", ("a.B", "Other"))).body[0]
        assert (await peer.call(PROPERTIES, "GetAll", "s", ("c.D",))).body == ({},)


async def test_errors_and_wrong_answers_are_told_apart() -> None:
    async with fake_peer() as (connection, peer), asyncio.TaskGroup() as tasks:
        for said, wanted in (("refuse", "not now"), ("answer", "the answer is 's', not 'u'")):
            calling = tasks.create_task(_fails(connection, "u"))
            call = await peer.receive()
            if said == "refuse":
                await peer.refuse(call, "a.B.Error", "not now")
            else:
                await peer.answer(call, "s", ("text",))
            error = await calling
            assert str(error) == f"D-Bus Ask: {wanted}"
            assert error.name == ("a.B.Error" if said == "refuse" else "")


async def _fails(connection: DBusConnection, returns: str) -> DBusError:
    with pytest.raises(DBusError) as raised:
        await connection.call("/", "a.B", "Ask", returns=returns)
    return raised.value


async def test_answers_do_not_wait_for_a_busy_loop() -> None:
    async with fake_peer(EXPORTS) as (_, peer):
        await peer.send(dbus_message.call(1, "/", "a.B", "Double", "u", (4,)).data)
        sock = peer._sock.dup()
        # The loop is held up: only the connection's own thread can answer.
        sock.settimeout(60)
        deadline = time.monotonic() + 30
        received = b""
        while len(received) < 16 and time.monotonic() < deadline:
            received += sock.recv(4096)
        assert dbus_message.message_size(received[:16], 4096)
        sock.close()


async def test_the_peers_end_fails_what_waits() -> None:
    async with fake_peer() as (connection, peer), asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(_fails(connection, ""))
        await peer.receive()
        peer.close()
        assert isinstance(await calling, DBusClosedError)
        assert "closed" in await connection.wait_closed()
        with pytest.raises(DBusClosedError):
            connection.post("/", "a.B", "Ask")


async def test_a_peer_that_does_not_answer_costs_a_bounded_amount() -> None:
    async with fake_peer() as (connection, _):
        for _ in range(dbus_connection.MAX_UNANSWERED):
            connection.post("/", "a.B", "Ask")
        with pytest.raises(DBusError, match="are not answered yet"):
            connection.post("/", "a.B", "Ask")
    async with fake_peer() as (connection, _):
        with pytest.raises(DBusError, match="does not read"):
            for _ in range(100):
                connection.post("/", "a.B", "Ask", "ay", (bytes(1_000_000),))
        with pytest.raises(DBusError, match="no answer within"):
            await connection.call("/", "a.B", "Ask", timeout_s=0.01)


async def test_descriptors_that_nobody_takes_are_closed(tmp_path: Path) -> None:
    taken: list[int] = []

    def take(message: Incoming) -> None:
        taken.append(message.take_fd(message.body[0]))

    def leave(message: Incoming) -> None:
        raise RefusedError("not that one")

    exports = Exports({("a.B", "Take"): Method("h", take), ("a.B", "Leave"): Method("h", leave)})
    async with fake_peer(exports) as (_, peer):
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        before = len(os.listdir("/proc/self/fd"))
        assert (await peer.call("a.B", "Leave", "h", (fd,))).error_name
        assert (await peer.call("a.B", "Unknown", "h", (fd,))).error_name
        await wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert not (await peer.call("a.B", "Take", "h", (fd,))).error_name
        assert os.fstat(taken[0]).st_ino == os.fstat(fd).st_ino
        os.close(taken[0])
        os.close(fd)


def _message(signature: str, body: bytes, *, announced_fds: int = 0) -> bytes:
    """A method call whose body is any bytes."""
    made = bytearray(dbus_message.call(7, "/", "a.B", "Double", "", ()).data)
    fields = bytes(made[16 : 16 + struct.unpack_from("<I", made, 12)[0]])
    fields += bytes(-len(fields) % 8) + b"\x08\x01g\0" + bytes([len(signature)]) + signature.encode() + b"\0"
    if announced_fds:
        fields += bytes(-len(fields) % 8) + b"\x09\x01u\0" + struct.pack("<I", announced_fds)
    start = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), 7, len(fields))
    return start + fields + bytes(-len(fields) % 8) + body


HOSTILE = {
    "no D-Bus": b"GET / HTTP/1.1\r\n\r\n",
    "a huge body": struct.pack("<cBBBIII", b"l", 1, 0, 1, 0xFFFFFFFF, 1, 8),
    "a huge header": struct.pack("<cBBBIII", b"l", 1, 0, 1, 0, 1, 0x10000000),
    "a body over the limit": struct.pack("<cBBBIII", b"l", 1, 0, 1, 70000, 1, 8),
    "an unknown kind": struct.pack("<cBBBIII", b"l", 9, 0, 1, 0, 1, 0),
    "a header of nonsense": struct.pack("<cBBBIII", b"l", 1, 0, 1, 0, 1, 16) + b"\xff" * 16,
    "a body without a signature": struct.pack("<cBBBIII", b"l", 1, 0, 1, 4, 1, 0) + b"abcd",
    "a short body": _message("uu", b"abcd"),
    "a long body": _message("u", b"abcdefgh"),
    "an array past the end": _message("ay", struct.pack("<I", 1000) + b"abcd"),
    "an array of empty structs": _message("v", b"\x03a()\0\0\0\0" + struct.pack("<II", 8, 0) + bytes(8)),
    "an array of empty structs by signature": _message("a()", struct.pack("<II", 8, 0) + bytes(8)),
    "variants without end": _message("v", b"\x01v\0" * 20000),
    "a signature of brackets": _message("(" * 200, b""),
    "no such type": _message("z", b"abcd"),
    "a text without its end": _message("s", struct.pack("<I", 2) + b"abcd"),
    "a text that is none": _message("s", struct.pack("<I", 2) + b"\xff\xfe\0"),
    "a descriptor that did not come": _message("h", struct.pack("<I", 0), announced_fds=1),
    "a descriptor of nowhere": _message("h", struct.pack("<I", 77)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_nonsense_ends_the_connection(name: str) -> None:
    async with fake_peer(EXPORTS, 65536) as (connection, peer):
        await peer.send(HOSTILE[name])
        async with asyncio.timeout(60):
            reason = await connection.wait_closed()
        assert reason and "of ours" not in reason
        assert await peer.is_closed()


async def test_descriptors_have_a_limit() -> None:
    async with fake_peer(EXPORTS, 65536) as (connection, peer):
        before = len(os.listdir("/proc/self/fd"))
        read_fd, write_fd = os.pipe()
        await peer.send(_message("u", struct.pack("<I", 1))[:-1], [read_fd] * 100)
        await connection.wait_closed()
        os.close(read_fd)
        os.close(write_fd)
        assert len(os.listdir("/proc/self/fd")) < before


async def test_more_descriptors_than_announced_are_refused() -> None:
    async with fake_peer(EXPORTS, 65536) as (connection, peer):
        read_fd, write_fd = os.pipe()
        await peer.send(_message("u", struct.pack("<I", 1)), [read_fd])
        assert "1 descriptors came, 0 were announced" in await connection.wait_closed()
        os.close(read_fd)
        os.close(write_fd)


@pytest.mark.parametrize("said", [b"REJECTED\r\n", b"OK x\r\nmore\r\n", b"x" * 20000, b""])
async def test_a_peer_that_does_not_let_us_in(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    peer = FakePeer(theirs)
    connection = DBusConnection(ours, Exports(), "test")
    if said:
        await peer.send(said)
    else:
        peer.close()
    with pytest.raises(DBusClosedError):
        async with asyncio.timeout(60):
            await connection.authenticated()
    await connection.wait_closed()
    peer.close()


def test_text_with_brackets_is_no_signature() -> None:
    data = dbus_message.call(1, "/", "a.B", "C", "a{sv}", ({"f()": ("s", "X a() y"), "()": ("as", ["a()"])},)).data
    assert dbus_message.parse(memoryview(bytearray(data)), []).body[0]["f()"] == ("s", "X a() y")
    with pytest.raises(ValueError):
        dbus_message.call(1, "/", "a.B", "C", "u", (-1,))
    with pytest.raises(DBusProtocolError):
        dbus_message.message_size(bytes(16), 100)
