# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from guest_agent.vm.machine_link import JOURNAL_BYTES, Journal, MachineLink, MachineLinkError, State, WantedDisplay


def packet(kind: int, body: bytes, *, fd_count: int = 0) -> bytes:
    return struct.pack("<IHHII", 16 + len(body), kind, fd_count, 0, 0) + body


HELLO_REPLY = packet(0x8001, struct.pack("<II", 1, 16))


class FakeWorker:
    """A render worker's end of the machine link (a fake: it says what a test wants)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fds: list[int] = []

    async def receive(self) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.sock, readable.set)
        await readable.wait()
        loop.remove_reader(self.sock)
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 4)
        self.fds += fds
        length, kind, fd_count, _, _ = struct.unpack_from("<IHHII", data)
        assert (length, fd_count) == (len(data), len(fds))
        return kind, data[16:]


@asynccontextmanager
async def connected(
    tmp_path: Path, wanted: list[WantedDisplay], greeting: bytes = HELLO_REPLY
) -> AsyncIterator[tuple[MachineLink, FakeWorker]]:
    path = os.fspath(tmp_path / "machine")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(greet(listener, greeting))
            connecting = tasks.create_task(connect(path, wanted))
        worker, link = accepting.result(), connecting.result()
        with worker.sock:
            if isinstance(link, MachineLinkError):
                raise link
            with closing(link):
                yield link, worker
            for fd in worker.fds:
                os.close(fd)


async def greet(listener: socket.socket, greeting: bytes) -> FakeWorker:
    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
    worker = FakeWorker(sock)
    assert await worker.receive() == (1, struct.pack("<II", 1, 0))
    sock.send(greeting)
    return worker


async def connect(path: str, wanted: list[WantedDisplay]) -> MachineLink | MachineLinkError:
    try:
        return await MachineLink.connect(path, wanted.append)
    except MachineLinkError as error:
        return error


async def test_attach_hands_over_the_device_and_the_journal(tmp_path: Path) -> None:
    wanted: list[WantedDisplay] = []
    async with connected(tmp_path, wanted) as (link, worker):
        with closing(Journal()) as journal, socket.socket(socket.AF_UNIX) as device:
            link.attach(device.fileno(), journal, recover=True)
        assert await worker.receive() == (2, struct.pack("<II", 1, 0))
        assert os.fstat(worker.fds[1]).st_size == JOURNAL_BYTES
        with pytest.raises(OSError):
            os.ftruncate(worker.fds[1], 0)
        worker.sock.send(packet(0x8002, struct.pack("<II", State.ATTACHED, 0)))
        assert await link.next_state() is State.ATTACHED
        worker.sock.send(packet(0x8003, struct.pack("<4I", 1, 800, 600, 60000)))
        worker.sock.close()
        assert await link.next_state() is None
        assert wanted == [WantedDisplay(1, 800, 600, 60000)]
        assert "gone" in link.reason


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"short",
        packet(0x8002, struct.pack("<II", 6, 0)),
        packet(0x8002, b"\0"),
        packet(0x8003, struct.pack("<4I", 16, 800, 600, 0)),
        packet(0x8003, struct.pack("<4I", 0, 15, 600, 0)),
        packet(0x8003, struct.pack("<4I", 0, 800, 20000, 0)),
        packet(0x9000, b""),
        packet(0x8002, struct.pack("<II", 1, 0), fd_count=1),
        HELLO_REPLY,
    ],
)
async def test_nonsense_ends_the_link(tmp_path: Path, nonsense: bytes) -> None:
    wanted: list[WantedDisplay] = []
    async with connected(tmp_path, wanted) as (link, worker):
        worker.sock.send(nonsense)
        assert await link.next_state() is None
        assert link.reason
        assert not wanted


async def test_floods_of_states_end_the_link(tmp_path: Path) -> None:
    async with connected(tmp_path, []) as (link, worker):
        for _ in range(300):
            worker.sock.send(packet(0x8002, struct.pack("<II", State.RUNNING, 0)))
            await asyncio.sleep(0)
        while await link.next_state() is not None:
            pass
        assert "STATE" in link.reason


@pytest.mark.parametrize("greeting", [b"", packet(0x8001, struct.pack("<II", 2, 16)), packet(0x8002, bytes(8))])
async def test_another_version_is_no_worker(tmp_path: Path, greeting: bytes) -> None:
    with pytest.raises(MachineLinkError):
        async with connected(tmp_path, [], greeting):
            pass
