# SPDX-License-Identifier: Apache-2.0
"""The machine link of a sandboxed worker: what an agent says and hears, and a front-end behind it."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from render_core import Device
from tests.support.machine_agent import (
    ATTACH,
    ATTACHED,
    DISPLAY,
    HELLO,
    LOST,
    RUNNING,
    STATE,
    STOPPED,
    MachineAgent,
    sealed,
)
from tests.support.worker_bench import WAIT_S, WorkerBench, wait_readable, worker_bench

RAM_BYTES = 1 << 20
USER = 0x7F0000000000


class FrontEnd:
    """QEMU's end of a vhost-user socket."""

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(WAIT_S)

    def ask(self, request: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> bytes:
        socket.send_fds(self.sock, [struct.pack("<III", request, 9, len(payload)) + payload], fds)
        number, flags, size = struct.unpack("<III", self.sock.recv(12, socket.MSG_WAITALL))
        assert (number, flags) == (request, 5)
        return self.sock.recv(size, socket.MSG_WAITALL)

    def set(self, request: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        assert self.ask(request, payload, fds) == bytes(8)

    def close(self) -> None:
        self.sock.close()
        self.theirs.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    with worker_bench(tmp_path_factory.mktemp("machine")) as bench:
        yield bench
        assert bench.process.poll() is None, "the worker has died"


@contextmanager
def agent(bench: WorkerBench) -> Iterator[MachineAgent]:
    agent = MachineAgent(bench.machine_path)
    try:
        agent.greet()
        yield agent
    finally:
        agent.sock.close()


def start_queue(front: FrontEnd, ram: int, events: tuple[int, int]) -> None:
    """Set the control queue up, as QEMU does, with empty rings."""
    front.set(2, struct.pack("<Q", 1 << 32 | 1 << 30))
    front.set(5, struct.pack("<II4Q", 1, 0, 0, RAM_BYTES, USER, 0), (ram,))
    front.set(8, struct.pack("<II", 0, 64))
    front.set(10, struct.pack("<II", 0, 0))
    front.set(9, struct.pack("<II4Q", 0, 0, USER, USER + 0x2000, USER + 0x1000, 0))
    front.set(12, bytes(8), events[:1])
    front.set(13, bytes(8), events[1:])
    front.set(18, struct.pack("<II", 0, 1))


def test_a_machine_comes_and_goes(bench: WorkerBench) -> None:
    front = FrontEnd()
    ram, journal = sealed("ram", RAM_BYTES), sealed("journal", 1 << 20)
    events = (os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK))
    with agent(bench) as speaker:
        assert speaker.next() == (DISPLAY, 0, 640, 480, 60000)
        speaker.send(ATTACH, 0, 0, fds=(front.theirs.fileno(), journal))
        assert speaker.next() == (STATE, ATTACHED, 0)
        start_queue(front, ram, events)
        assert speaker.next() == (STATE, RUNNING, 0)
    # The device stays while its agent is away.
    os.pwrite(ram, struct.pack("<QIHHQIHH", 0x4000, 24, 1, 1, 0x5000, 1024, 2, 0), 0)
    os.pwrite(ram, struct.pack("<II", 0x100, 0), 0x4000)
    os.pwrite(ram, struct.pack("<HHH", 0, 1, 0), 0x1000)
    assert select.select([events[1]], [], [], WAIT_S)[0], "the start raised no interrupt"
    os.eventfd_read(events[1])
    os.eventfd_write(events[0], 1)
    assert select.select([events[1]], [], [], WAIT_S)[0], "no interrupt came"
    assert os.pread(ram, 4, 0x2000) == struct.pack("<HH", 0, 1)
    assert struct.unpack("<I", os.pread(ram, 4, 0x5000)) == (0x1101,)
    assert struct.unpack("<5I", os.pread(ram, 20, 0x5000 + 24)) == (0, 0, 640, 480, 1)
    with agent(bench) as speaker:
        assert speaker.next() == (DISPLAY, 0, 640, 480, 60000)
        assert speaker.next() == (STATE, RUNNING, 0)
        front.ask(11, bytes(8))
        assert speaker.next() == (STATE, STOPPED, 0)
        front.close()
        assert speaker.next() == (STATE, LOST, 0)
    for fd in (ram, journal, *events):
        os.close(fd)


def test_what_viewers_want_is_told(bench: WorkerBench) -> None:
    with agent(bench) as speaker, bench.streamer() as streamer:
        assert speaker.next() == (DISPLAY, 0, 640, 480, 60000)
        assert isinstance(streamer.next(Device), Device)
        streamer.link.set_display(0, 800, 600)
        assert speaker.next() == (DISPLAY, 0, 800, 600, 60000)
        streamer.link.set_display(3, 1024, 768)
        assert speaker.next() == (DISPLAY, 3, 1024, 768, 60000)
        streamer.link.set_display(3, 0, 0)
        assert speaker.next() == (DISPLAY, 3, 0, 0, 60000)  # unplugged
        streamer.link.set_display(0, 640, 480)
        assert speaker.next() == (DISPLAY, 0, 640, 480, 60000)


def test_a_new_agent_replaces_the_old_one(bench: WorkerBench) -> None:
    with agent(bench) as first:
        while first.next()[0] != DISPLAY:
            pass
        with agent(bench) as second:
            wait_readable(first.sock)
            while first.next():
                pass
            assert second.next()[0] == DISPLAY


@pytest.mark.parametrize(
    ("kind", "fields", "fd_count"),
    [
        (HELLO, (1, 0), 0),
        (ATTACH, (0, 0), 0),
        (ATTACH, (0, 0), 1),
        (ATTACH, (0, 0), 2),
        (ATTACH, (2, 0), 2),
        (ATTACH, (0, 1), 2),
        (ATTACH, (0,), 2),
        (3, (0, 0), 0),
    ],
)
def test_wrong_messages_end_the_connection(
    bench: WorkerBench, kind: int, fields: tuple[int, ...], fd_count: int
) -> None:
    with agent(bench) as speaker:
        speaker.send(kind, *fields, fds=(0, 1)[:fd_count])  # fds that are no memfd
        while speaker.next():
            pass


def test_hello_comes_first_and_in_this_version(bench: WorkerBench) -> None:
    for kind, version in ((ATTACH, 0), (HELLO, 2)):
        stranger = MachineAgent(bench.machine_path)
        stranger.send(kind, version, 0)
        assert stranger.next() == ()
        stranger.sock.close()
