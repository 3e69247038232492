# SPDX-License-Identifier: Apache-2.0
"""The guard with real sockets and real memory; the worker's end is in the test's hands."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from streamer.gateway.ring_guard import GuardError, GuardType, RingGuard, check_memory, parse_message

_SIZE = 8192
_STATUS = 4160
_LAST = 1_000_000


def _packet(kind: int, client: int = 1, ring: int = 0, padding: int = 0, status_offset: int = 0) -> bytes:
    return struct.pack("<IIIIQ", kind, client, ring, padding, status_offset)


class Ring:
    """A ring's memory, as a worker shares it with its client."""

    def __init__(self, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW) -> None:
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, _SIZE)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)

    @property
    def words(self) -> list[int]:
        """The words that are not 0, as (offset, value)."""
        words = struct.unpack(f"<{_SIZE // 4}I", os.pread(self.fd, _SIZE, 0))
        return [value for pair in ((4 * i, word) for i, word in enumerate(words) if word) for value in pair]


class Worker:
    """A worker's end of the guard link, and its clients' ends of their sockets."""

    def __init__(self) -> None:
        self.announced = 0
        self._all_announced = asyncio.Event()
        self.guard, self.sock = RingGuard.create("the worker", self._count)
        self.clients: list[socket.socket] = []
        self.rings: list[Ring] = []

    def _count(self) -> None:
        self.announced += 1
        if self.announced == len(self.clients):
            self._all_announced.set()

    def send(self, packet: bytes, *fds: int) -> None:
        socket.send_fds(self.sock, [packet], fds)

    def add_client(self, number: int = 1) -> socket.socket:
        """Add a client; return its own end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.clients.append(ours)
        with theirs:
            self.send(_packet(GuardType.CLIENT_ADDED, number), theirs.fileno())
        return ours

    def add_ring(self, client: int = 1, ring: int = 1, status_offset: int = _STATUS, **options: int) -> Ring:
        memory = Ring(**options)
        self.rings.append(memory)
        self.send(_packet(GuardType.RING_ADDED, client, ring, 0, status_offset), memory.fd)
        return memory

    async def settle(self) -> None:
        """Wait until all that was sent has been handled: one more client, without rings, comes last."""
        self._all_announced.clear()
        self.add_client(_LAST + len(self.clients))
        async with asyncio.timeout(60):
            await self._all_announced.wait()

    def close(self) -> None:
        self.guard.close()
        self.sock.close()
        for client in self.clients:
            client.close()
        for ring in self.rings:
            os.close(ring.fd)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def memory() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    os.close(ring.fd)


def _is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


async def _wait_closed(client: socket.socket) -> None:
    client.setblocking(False)
    async with asyncio.timeout(60):
        assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_dead_workers_rings_are_fatal_before_their_sockets_close(worker: Worker) -> None:
    client = worker.add_client()
    rings = [worker.add_ring(ring=1), worker.add_ring(ring=2, status_offset=0)]
    worker.sock.close()
    await _wait_closed(client)
    assert [ring.words for ring in rings] == [[_STATUS, 2], [0, 2]]
    assert (worker.guard.client_count, worker.guard.ring_count) == (0, 0)


async def test_what_the_worker_said_last_counts(worker: Worker) -> None:
    """The supervisor hears of the death before it has read the link."""
    client = worker.add_client()
    ring = worker.add_ring()
    worker.sock.close()
    worker.guard.close()
    assert ring.words == [_STATUS, 2]
    assert _is_closed(client)


async def test_worker_that_lives_when_the_guard_closes_ends_its_clients_too(worker: Worker) -> None:
    client = worker.add_client()
    ring = worker.add_ring()
    worker.guard.close()
    worker.guard.close()
    assert ring.words == [_STATUS, 2]
    assert _is_closed(client)


async def test_removed_ring_and_client_are_left_alone(worker: Worker) -> None:
    staying, leaving = worker.add_client(1), worker.add_client(2)
    removed = worker.add_ring(1, 1)
    kept = worker.add_ring(1, 2)
    others = worker.add_ring(2, 1)
    worker.send(_packet(GuardType.RING_REMOVED, 1, 1))
    worker.send(_packet(GuardType.CLIENT_REMOVED, 2))
    await worker.settle()
    assert (worker.guard.client_count, worker.guard.ring_count) == (2, 1)
    assert _is_closed(leaving)
    assert not _is_closed(staying)
    worker.sock.close()
    await _wait_closed(staying)
    assert (removed.words, kept.words, others.words) == ([], [_STATUS, 2], [])


async def test_new_clients_are_announced(worker: Worker) -> None:
    worker.add_client()
    await worker.settle()
    assert worker.announced == worker.guard.client_count == 2


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (b"", "message.size"),
        (_packet(2, ring=1)[:-1], "message.size"),
        (_packet(2, ring=1) + b"\0", "message.size"),
        (_packet(0), "message.type: 0"),
        (_packet(5), "message.type: 5"),
        (_packet(1, client=0), "CLIENT_ADDED.client"),
        (_packet(1, ring=3), "CLIENT_ADDED.ring"),
        (_packet(2), "RING_ADDED.ring"),
        (_packet(3), "RING_REMOVED.ring"),
        (_packet(4, padding=1), "CLIENT_REMOVED.padding"),
        (_packet(3, ring=1, status_offset=4), "RING_REMOVED.status_offset"),
    ],
)
def test_nonsense_is_refused(packet: bytes, error: str) -> None:
    with pytest.raises(GuardError, match=error):
        parse_message(packet)


def test_memory_must_hold_the_word_for_ever(memory: Ring) -> None:
    check_memory(memory.fd, 0)
    check_memory(memory.fd, _SIZE - 4)
    for offset in (_SIZE, _SIZE - 2, 2**63, 2**64 - 4):
        with pytest.raises(GuardError, match="status_offset"):
            check_memory(memory.fd, offset)


@pytest.mark.parametrize(
    ("seals", "error"),
    [(0, "could shrink"), (fcntl.F_SEAL_GROW, "could shrink"), (fcntl.F_SEAL_SHRINK | 0x10, "cannot be written")],
)
def test_memory_must_be_sealed(seals: int, error: str) -> None:
    ring = Ring(seals)
    try:
        with pytest.raises(GuardError, match=error):
            check_memory(ring.fd, 0)
    finally:
        os.close(ring.fd)


def test_memory_must_be_a_memfd() -> None:
    with open("/proc/self/exe", "rb") as file, pytest.raises(GuardError, match="no memfd"):
        check_memory(file.fileno(), 0)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(GuardError, match="no memfd"):
        check_memory(ours.fileno(), 0)


async def test_worker_that_was_taken_over_harms_nobody(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    client = worker.add_client()
    ring = worker.add_ring()
    await worker.settle()
    fds_before = len(os.listdir("/proc/self/fd"))
    spare = worker.rings[0].fd
    worker.send(b"x" * 500)
    worker.send(_packet(GuardType.CLIENT_ADDED, 1), worker.sock.fileno())  # there already
    worker.send(_packet(GuardType.CLIENT_ADDED, 2), spare)  # no socket
    worker.send(_packet(GuardType.CLIENT_ADDED, 2))  # no fd
    worker.send(_packet(GuardType.CLIENT_ADDED, 2), *[spare] * 20)
    worker.send(_packet(GuardType.RING_ADDED, 1, 1), spare)  # there already
    worker.send(_packet(GuardType.RING_ADDED, 9, 1), spare)
    worker.send(_packet(GuardType.RING_ADDED, 1, 2, 0, _SIZE), spare)
    worker.send(_packet(GuardType.RING_ADDED, 1, 2, 0, 2), spare)
    worker.send(_packet(GuardType.RING_REMOVED, 1, 7))
    worker.send(_packet(GuardType.CLIENT_REMOVED, 7), spare)
    await worker.settle()
    assert len(os.listdir("/proc/self/fd")) == fds_before + 2  # both ends of settle()'s client
    assert (worker.guard.client_count, worker.guard.ring_count) == (3, 1)
    assert caplog.text.count("sent nonsense") == 10  # and no more
    worker.sock.close()
    await _wait_closed(client)
    assert ring.words == [_STATUS, 2]
