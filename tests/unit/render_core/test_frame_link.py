# SPDX-License-Identifier: Apache-2.0
"""The streamer's end of the frame link against a worker that its guest has taken over."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import socket
import struct
from collections.abc import Iterator, Sequence

import pytest

from render_core import CursorMove, FrameLink, InvalidError, LinkClosedError, LinkError, Ring, ScanoutOff

WIDTH, HEIGHT, STRIDE = 64, 32, 64
SLOT = 4096
SIZE = 4096 + 4 * SLOT
# The guest shows 127x63, at half its size.
RING = (0, 1, 1, WIDTH, HEIGHT, WIDTH, HEIGHT, STRIDE, 4, 60_000, 127, 63, 2, 4096, SLOT, SIZE)
RING_FORMAT = "<13I4x3Q"
FREE, READY, HELD = 0, 2, 3


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


class Worker:
    """The other end: it sends what a test wants."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link = FrameLink(theirs)
        assert self.sock.recv(64) == struct.pack("<IHHIIII", 24, 1, 0, 0, 0, 1, 0)

    def send(self, kind: int, body: bytes, fds: Sequence[int] = (), *, fd_count: int | None = None) -> None:
        count = len(fds) if fd_count is None else fd_count
        packet = struct.pack("<IHHII", 16 + len(body), kind, count, 0, 0) + body
        if fds:
            socket.send_fds(self.sock, [packet], list(fds))
        else:
            self.sock.send(packet)

    def close(self) -> None:
        self.link.close()
        self.sock.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    gc.collect()  # what earlier tests have left
    before = open_fds()
    worker = Worker()
    yield worker
    worker.close()
    assert open_fds() == before, "fds leaked"


def memfd(size: int, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class Memory:
    """A ring's memory and eventfd, as a producer has them."""

    def __init__(self) -> None:
        self.fd = memfd(SIZE)
        self.event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.map = mmap.mmap(self.fd, SIZE)
        self.map[0:16] = struct.pack("<IIII", 0x52464C48, 4, 0xFFFFFFFF, 0)

    def publish(self, slot: int, sequence: int, damage: bytes = b"", count: int = 0) -> None:
        size = 8 + 6 * 8 + 16 * 16
        body = struct.pack("<II6Q", READY, count, sequence, sequence - 1, 1, 2, 3, 4) + damage
        self.map[16 + slot * size : 16 + slot * size + len(body)] = body
        self.map[8:12] = struct.pack("<I", slot)
        os.eventfd_write(self.event_fd, 1)

    def state(self, slot: int) -> int:
        return int(struct.unpack_from("<I", self.map, 16 + slot * (8 + 6 * 8 + 16 * 16))[0])

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)
        os.close(self.event_fd)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.close()


def receive_ring(worker: Worker, memory: Memory) -> Ring:
    worker.send(0x8001, struct.pack(RING_FORMAT, *RING), (memory.fd, memory.event_fd))
    (ring,) = worker.link.receive()
    assert isinstance(ring, Ring)
    return ring


def test_frames_are_taken_once_and_given_back(memory: Memory, worker: Worker) -> None:
    ring = receive_ring(worker, memory)
    assert (ring.source_width, ring.source_height, ring.divisor, ring.width, ring.height) == (127, 63, 2, WIDTH, HEIGHT)
    assert ring.acquire() is None
    memory.publish(2, 7, struct.pack("<4I", 1, 2, 3, 4), 1)
    frame = ring.acquire()
    assert frame is not None
    assert (frame.sequence, frame.base_sequence, len(frame.damage)) == (7, 6, 1)
    assert memory.state(2) == HELD
    assert ring.acquire() is None
    frame.release()
    frame.release()
    assert memory.state(2) == FREE
    ring.close()


def test_a_frame_is_given_back_after_its_ring_and_link_are_closed(memory: Memory, worker: Worker) -> None:
    ring = receive_ring(worker, memory)
    memory.publish(0, 1)
    frame = ring.acquire()
    assert frame is not None
    ring.close()
    ring.close()
    worker.link.close()
    del ring
    planes = frame.planes
    del frame  # releases
    assert memory.state(0) == FREE
    assert not planes.any()


def test_a_producer_that_breaks_the_ring_is_told_off(memory: Memory, worker: Worker) -> None:
    ring = receive_ring(worker, memory)
    memory.publish(1, 1, b"\xff" * 256, 0xFFFFFFFF)
    frame = ring.acquire()
    assert frame is not None
    assert [(r.x, r.y, r.width, r.height) for r in frame.damage] == [(0, 0, WIDTH, HEIGHT)]
    memory.publish(1, 2)  # while it is held
    with pytest.raises(InvalidError):
        ring.acquire()
    memory.map[8:12] = struct.pack("<I", 4)
    with pytest.raises(InvalidError):
        ring.acquire()
    ring.close()


def test_an_eventfd_that_was_made_blocking_does_not_stop_us(memory: Memory, worker: Worker) -> None:
    ring = receive_ring(worker, memory)
    os.set_blocking(memory.event_fd, True)  # the producer shares the fd's flags
    assert ring.acquire() is None
    ring.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((0, 16), (2, 3), (3, 0), (3, 65), (5, 63), (6, 33), (7, 32), (8, 5), (8, 0), (9, 0)),
        *((10, 126), (10, 129), (11, 0), (11, 65), (12, 0), (12, 1), (12, 7), (13, 0), (14, 100), (15, 1)),
    ],
)
def test_rings_that_cannot_be_are_refused(memory: Memory, worker: Worker, field: int, value: int) -> None:
    fields = list(RING)
    fields[field] = value
    worker.send(0x8001, struct.pack(RING_FORMAT, *fields), (memory.fd, memory.event_fd))
    with pytest.raises(LinkError):
        worker.link.receive()


def test_a_ring_without_its_fds_is_refused(memory: Memory, worker: Worker) -> None:
    body = struct.pack(RING_FORMAT, *RING)
    unsealed = memfd(SIZE, 0)
    reader, writer = os.pipe()
    for fds in ((), (memory.fd,), (memory.fd, reader), (unsealed, memory.event_fd), (memory.fd,) * 6):
        worker.send(0x8001, body, fds)
        with pytest.raises(LinkError):
            worker.link.receive()
    for fd in (unsealed, reader, writer):
        os.close(fd)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ((0, 8, 8, 8, 0, 1), 256),  # the hot spot outside
        ((0, 8, 0, 0, 0, 1), 256),
        ((0, 257, 8, 0, 0, 1), 257 * 32),
        ((16, 8, 8, 0, 0, 1), 256),
        ((0, 8, 8, 0, 0, 1), 255),
        ((0, 8, 8, 0, 0, 1), 257),
    ],
)
def test_cursors_that_cannot_be_are_refused(worker: Worker, fields: tuple[int, ...], size: int) -> None:
    fd = memfd(size)
    worker.send(0x8003, struct.pack("<6I", *fields), (fd,))
    os.close(fd)
    with pytest.raises(LinkError):
        worker.link.receive()


def test_a_cursor_in_a_pipe_does_not_stop_us(worker: Worker) -> None:
    reader, writer = os.pipe()
    worker.send(0x8003, struct.pack("<6I", 0, 8, 8, 0, 0, 1), (reader,))
    os.close(reader)
    with pytest.raises(LinkError):
        worker.link.receive()
    os.close(writer)


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        struct.pack("<IHHII", 16, 0x8001, 0, 0, 0),
        struct.pack("<IHHII", 17, 0x8002, 0, 0, 0) + bytes(8),
        struct.pack("<IHHII", 24, 0x8002, 1, 0, 0) + bytes(8),
        struct.pack("<IHHIIII", 24, 0x8002, 0, 0, 0, 99, 0),
        struct.pack("<IHHIIIii", 28, 0x8004, 0, 0, 0, 16, 0, 0),
        struct.pack("<IHHII", 8192, 0x8002, 0, 0, 0) + bytes(8176),
    ],
)
def test_broken_messages_are_refused(worker: Worker, packet: bytes) -> None:
    worker.sock.send(packet)
    with pytest.raises(LinkError):
        worker.link.receive()


def test_unknown_messages_are_passed_over_and_their_fds_closed(worker: Worker) -> None:
    fd = memfd(4096)
    worker.send(0x80FF, b"new", (fd,))
    worker.send(0x8002, bytes(8))
    os.close(fd)
    assert worker.link.receive() == [ScanoutOff(0)]


def test_an_empty_packet_with_fds_ends_the_link_without_a_leak(worker: Worker) -> None:
    fd = memfd(4096)
    socket.send_fds(worker.sock, [b""], [fd])
    os.close(fd)
    with pytest.raises(LinkClosedError):
        worker.link.receive()


def test_a_flood_is_taken_in_parts(worker: Worker) -> None:
    worker.sock.setblocking(False)
    sent = 0
    try:
        while True:
            worker.send(0x8004, struct.pack("<Iii", 0, sent, -sent))
            sent += 1
    except BlockingIOError:
        pass
    events = worker.link.receive()
    assert 0 < len(events) < sent
    assert events[-1] == CursorMove(0, len(events) - 1, 1 - len(events))
    taken = len(events)
    while events := worker.link.receive():
        taken += len(events)
    assert taken == sent


def test_what_came_before_the_end_is_given_first(worker: Worker) -> None:
    worker.send(0x8002, bytes(8))
    worker.sock.close()
    assert worker.link.receive() == [ScanoutOff(0)]
    with pytest.raises(LinkClosedError):
        worker.link.receive()
    with pytest.raises(LinkClosedError):
        worker.link.set_active(0, True)
