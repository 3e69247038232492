# SPDX-License-Identifier: Apache-2.0
"""A machine's display device is served by one worker after the other, until QEMU has ended; fakes at both ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from guest_agent.vm import vhost_display
from guest_agent.vm.machine_link import State
from guest_agent.vm.qemu_process import QemuError, QemuProcess
from guest_agent.vm.vhost_display import VhostDisplay

_HELLO_REPLY, _STATE, _DISPLAY = 0x8001, 0x8002, 0x8003


class FakeQemu:
    """A QEMU whose device anybody may connect to."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connect(self, path: Path) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours


class Worker:
    """A render worker's end of the machine link, greeted and given a device."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, kind: int, *fields: int) -> None:
        self.sock.send(struct.pack(f"<IHHII{len(fields)}I", 16 + 4 * len(fields), kind, 0, 0, 0, *fields))


@dataclass
class Bench:
    listener: socket.socket
    qemu: FakeQemu
    display: VhostDisplay
    resumed: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    sizes: asyncio.Queue[tuple[int, int, int]] = field(default_factory=asyncio.Queue)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_running: bool = True

    @contextlib.asynccontextmanager
    async def worker(self, *, recover: bool) -> AsyncIterator[Worker]:
        """Serve as a render worker does; its end is the block's."""
        async with asyncio.timeout(60):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.listener)
            with sock:
                worker = Worker(sock)
                await self._receive(sock)
                worker.say(_HELLO_REPLY, 1, 16)
                assert await self._receive(sock) == (2, int(recover))
                worker.say(_STATE, State.ATTACHED, 0)
                yield worker

    async def _receive(self, sock: socket.socket) -> tuple[int, int]:
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(sock, readable.set)
        await readable.wait()
        asyncio.get_running_loop().remove_reader(sock)
        data, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        for fd in fds:
            os.close(fd)
        return struct.unpack_from("<H", data, 4)[0], struct.unpack_from("<I", data, 16)[0]


@contextlib.asynccontextmanager
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "machine"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        listener.setblocking(False)
        qemu = FakeQemu()

        async def resume() -> bool:
            made.resumed.put_nowait(None)
            return made.is_running

        async def set_size(scanout_id: int, width: int, height: int) -> None:
            made.sizes.put_nowait((scanout_id, width, height))

        display = VhostDisplay(
            cast("QemuProcess", qemu),
            machine_path=os.fspath(path),
            gpu_path=tmp_path / "gpu",
            resume=resume,
            set_size=set_size,
        )
        made = Bench(listener, qemu, display)

        async def run() -> None:
            try:
                await display.run()
            except QemuError:
                made.has_ended.set()

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run()), tasks.create_task(display.tell_sizes())]
            yield made
            for task in running:
                task.cancel()


async def test_next_worker_takes_over_and_the_guest_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        async with b.worker(recover=False) as worker:
            worker.say(_DISPLAY, 1, 1024, 768, 0)
            assert await b.sizes.get() == (1, 1024, 768)
            await b.display.is_attached.wait()
        for _ in range(2):
            async with b.worker(recover=True):
                await b.resumed.get()
        assert not b.has_ended.is_set()


async def test_what_goes_nowhere_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU may not have accepted the worker's connection when it is asked."""
    monkeypatch.setattr(vhost_display, "RESUME_S", 0.05)
    async with bench(tmp_path) as b:
        async with b.worker(recover=False):
            await b.display.is_attached.wait()
        async with b.worker(recover=True) as worker:
            for _ in range(2):
                await b.resumed.get()
            worker.say(_STATE, State.RUNNING, 0)
            await asyncio.sleep(0.3)
        tries = 2 + b.resumed.qsize()
        assert tries <= vhost_display.MAX_RESUMES
        # Not for ever, and a machine that is paused not at all.
        b.resumed = asyncio.Queue()
        async with b.worker(recover=True):
            for _ in range(vhost_display.MAX_RESUMES):
                await b.resumed.get()
            await asyncio.sleep(0.3)
            assert b.resumed.empty()
        b.is_running = False
        async with b.worker(recover=True):
            await b.resumed.get()
            await asyncio.sleep(0.3)
            assert b.resumed.empty()


async def test_closed_device_is_a_loss_unless_qemu_has_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with bench(tmp_path) as b:
        async with b.worker(recover=False) as worker:
            worker.say(_STATE, State.LOST, 0)
        async with b.worker(recover=True) as worker:
            assert "QEMU has closed the device" in caplog.text
            caplog.clear()
            await b.resumed.get()
            b.qemu.ended.set_result(0)
            worker.say(_STATE, State.LOST, 0)
            await b.has_ended.wait()
        assert not caplog.text
