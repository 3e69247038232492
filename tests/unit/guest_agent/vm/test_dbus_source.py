# SPDX-License-Identifier: Apache-2.0
"""From a fake QEMU's listener calls to a fake worker's scanouts: what QEMU says is shown, or refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from guest_agent.display_link import DisplayConnection, run_display_link
from guest_agent.virtio_gpu import Rect
from guest_agent.vm.dbus_display import Console, DBusDisplay
from guest_agent.vm.dbus_listener import Listener
from guest_agent.vm.dbus_source import ConsoleView, DBusSource
from tests.support.fake_qemu import LISTENER, LISTENER_MAP, FakePeer, fake_peer, picture_bytes
from tests.support.fake_worker import FakeWorker

X8R8G8B8, R5G6B5 = 0x20020888, 0x10020565


class OneView:
    """A display of one console."""

    def __init__(self, view: ConsoleView) -> None:
        self._view = view

    def handle_connected(self, connection: DisplayConnection) -> None:
        self._view.connect(connection)

    def handle_disconnected(self) -> None:
        self._view.disconnect()

    def handle_display_event(self) -> None:
        pass


class FixedDisplay:
    """A display whose only console takes no sizes."""

    def __init__(self) -> None:
        self.asked = 0
        self.graphic_consoles = [
            Console(0, "Graphic", "VGA", 0, 640, 480, frozenset(), "pci/0000/01.0", is_absolute=True, max_touches=0)
        ]

    async def set_ui_info(self, console: Console, width: int, height: int) -> bool:
        self.asked += 1
        return False

    async def register_listener(self, console: Console, listener: Listener) -> QuietConnection:
        return QuietConnection()


class QuietConnection:
    """A listener's connection on which nothing is said."""

    name = "console 0"

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    def close(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> str:
        await self._closed.wait()
        return "closed"


@dataclass
class Bench:
    qemu: FakePeer
    worker: FakeWorker
    view: ConsoleView

    async def says(self, member: str, signature: str, *body: Any, interface: str = LISTENER) -> str:
        """Call the listener; return the error's text, "" for none."""
        answer = await self.qemu.call(interface, member, signature, body)
        return answer.body[0] if answer.error_name else ""

    async def scanout(self, width: int, height: int, value: int, stride: int = 0) -> str:
        data = picture_bytes((stride or width * 4) // 4, height, value)
        return await self.says("Scanout", "uuuuay", width, height, stride or width * 4, X8R8G8B8, data)


@contextlib.asynccontextmanager
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = str(tmp_path / "display.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(4)
        worker = FakeWorker(listener)
        view = ConsoleView(0, "console 0", 8, lambda: None)
        async with fake_peer(view.listener.exports) as (_, qemu), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(worker.run()), tasks.create_task(run_display_link(path, OneView(view)))]
            await worker.until(lambda: worker.connections > 0)
            yield Bench(qemu, worker, view)
            for task in running:
                task.cancel()
        view.close()


async def test_pictures_and_their_parts_are_shown(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert not await b.scanout(8, 4, 0x112233)
        await b.worker.until_shown((8, 4))
        assert b.worker.pixel(7, 3) == 0x112233
        part = picture_bytes(2, 1, 0x445566)
        assert not await b.says("Update", "iiiiuuay", 3, 2, 2, 1, 8, X8R8G8B8, part)
        await b.worker.until(lambda: Rect(3, 2, 2, 1) in b.worker.flushed)
        assert [b.worker.pixel(x, 2) for x in range(2, 6)] == [0x112233, 0x445566, 0x445566, 0x112233]

        # A wider stride, another size; then nothing.
        assert not await b.scanout(5, 6, 0x778899, stride=32)
        await b.worker.until_shown((5, 6))
        assert b.worker.scanouts[0].stride_bytes == 32 and b.view.listener.size == (5, 6)
        assert not await b.says("Disable", "")
        await b.worker.until(lambda: b.worker.scanout is None)
        await b.worker.until(lambda: not b.worker.resources and len(b.worker.regions) == 1)  # the cursor's


async def test_memory_of_qemus_is_copied_at_the_workers_pace(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        fd = os.memfd_create("picture")
        os.write(fd, picture_bytes(8, 4, 0x010203))
        shown = (fd, 0, 8, 4, 32, X8R8G8B8)
        assert not await b.says("ScanoutMap", "huuuuu", *shown, interface=LISTENER_MAP)
        await b.worker.until_shown((8, 4))
        b.worker.holds_answers = True
        os.pwrite(fd, picture_bytes(8, 1, 0x0A0B0C), 32)
        assert not await b.says("UpdateMap", "iiii", 0, 1, 8, 1, interface=LISTENER_MAP)
        await b.worker.until(lambda: b.worker.flushed[-1] == Rect(0, 1, 8, 1))
        assert (b.worker.pixel(0, 1), b.worker.pixel(0, 2)) == (0x0A0B0C, 0x010203)
        # The worker reads: nothing of ours may change, whatever the guest does. Many flips become one.
        flushed = len(b.worker.flushed)
        for _ in range(200):
            os.pwrite(fd, picture_bytes(8, 4, 0x0F0E0D), 0)
            assert not await b.says("ScanoutMap", "huuuuu", *shown, interface=LISTENER_MAP)
        assert len(b.worker.flushed) == flushed and b.worker.pixel(0, 1) == 0x0A0B0C
        b.worker.holds_answers = False
        b.worker.release()
        await b.worker.until(lambda: len(b.worker.flushed) == flushed + 1)
        assert b.worker.pixel(7, 3) == 0x0F0E0D and len(b.worker.resources) == 1
        os.close(fd)


async def test_sixteen_bits(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert not await b.says("Scanout", "uuuuay", 4, 2, 8, R5G6B5, struct.pack("<H", 0xF800) * 8)
        await b.worker.until_shown((4, 2))
        assert b.worker.pixel(3, 1) == 0xFF0000


async def test_the_cursor(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        image = picture_bytes(3, 2, 0xFF0000FF)
        assert not await b.says("CursorDefine", "iiiiay", 3, 2, 1, 9, image)
        assert not await b.says("MouseSet", "iii", 10, -5, 1)
        await b.worker.until(lambda: b.worker.cursor is not None and b.worker.cursor.image is not None)
        cursor = b.worker.cursor
        assert cursor is not None and cursor.image is not None
        assert (cursor.x, cursor.y, cursor.hot_x, cursor.hot_y, cursor.size) == (10, -5, 1, 1, (3, 2))
        assert cursor.image.pixels == image
        # The same again is nothing new: it only moves.
        first = cursor.image
        assert not await b.says("CursorDefine", "iiiiay", 3, 2, 1, 9, image)
        assert not await b.says("MouseSet", "iii", 11, 0, 1)
        await b.worker.until(lambda: b.worker.cursor is not None and b.worker.cursor.x == 11)
        assert b.worker.cursor is not None and b.worker.cursor.image is first
        assert not await b.says("MouseSet", "iii", 11, 0, 0)
        await b.worker.until(lambda: b.worker.cursor is not None and b.worker.cursor.image is None)
        for width, height, data in ((0, 1, b""), (-1, -1, b"abcd"), (1, 1, b""), (2**31 - 1, 2**31 - 1, b"abcd")):
            assert "is no cursor" in await b.says("CursorDefine", "iiiiay", width, height, 0, 0, data)
        assert not await b.says("CursorDefine", "iiiiay", 300, 300, -7, 2**31 - 1, picture_bytes(300, 300, 2**32 - 1))


async def test_what_makes_no_picture_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert not await b.scanout(8, 4, 0x112233)
        await b.worker.until_shown((8, 4))
        rect = (0, 0, 8, 4)
        refused = "Update", "iiiiuuay"
        assert "bytes came" in await b.says(*refused, *rect, 32, X8R8G8B8, b"")
        assert "is not inside" in await b.says(*refused, 7, 3, 2, 2, 8, X8R8G8B8, picture_bytes(2, 2))
        assert "the size" in await b.says(*refused, 0, 0, -1, 2**31 - 1, 8, X8R8G8B8, b"")
        assert "no picture" in await b.says("UpdateMap", "iiii", *rect, interface=LISTENER_MAP)
        assert "the size" in await b.says("Scanout", "uuuuay", 2**32 - 1, 2**32 - 1, 4, X8R8G8B8, b"")
        await b.worker.until(lambda: b.worker.scanout is None)
        assert "no picture" in await b.says(*refused, *rect, 32, X8R8G8B8, picture_bytes(8, 4))

        read_fd, write_fd = os.pipe()
        answer = await b.says("ScanoutMap", "huuuuu", read_fd, 0, 8, 4, 32, X8R8G8B8, interface=LISTENER_MAP)
        assert "no memfd" in answer
        memory = os.memfd_create("small")
        os.truncate(memory, 127)
        answer = await b.says("ScanoutMap", "huuuuu", memory, 0, 8, 4, 32, X8R8G8B8, interface=LISTENER_MAP)
        assert "not inside" in answer
        # No dma-buf: we did not say that we take them.
        answer = await b.says("ScanoutDMABUF", "huuuutb", memory, 8, 4, 32, 0, 0, False)
        assert answer == "there is no such method"
        for fd in (read_fd, write_fd, memory):
            os.close(fd)
        # After all that it goes on.
        assert not await b.scanout(8, 4, 0x445566)
        await b.worker.until(lambda: b.worker.scanout is not None)
        assert b.worker.pixel(0, 0) == 0x445566


async def test_memory_that_shrinks_shows_nothing_new(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        fd = os.memfd_create("picture")
        os.write(fd, picture_bytes(8, 4, 0x010203))
        assert not await b.says("ScanoutMap", "huuuuu", fd, 0, 8, 4, 32, X8R8G8B8, interface=LISTENER_MAP)
        await b.worker.until_shown((8, 4))
        os.truncate(fd, 0)
        assert not await b.says("UpdateMap", "iiii", 0, 0, 8, 4, interface=LISTENER_MAP)
        assert not await b.scanout(2, 2, 0x112233)
        await b.worker.until_shown((2, 2))
        os.close(fd)


async def test_a_page_flip_is_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asyncio.Event()
    fd = os.memfd_create("picture")
    os.write(fd, picture_bytes(8, 4, 0x010203))

    async def says(member: str, signature: str, *body: int) -> None:
        assert not (await qemu.call(LISTENER_MAP, member, signature, body)).error_name

    def take() -> list[Rect]:
        told.clear()
        listener.acknowledge()
        change = listener.take()
        assert change is not None and change.is_other and listener.take() is None
        return change.damage

    listener = Listener("console", told.set)
    flip = ("ScanoutMap", "huuuuu", fd, 0, 8, 4, 32, X8R8G8B8)
    async with fake_peer(listener.exports) as (_, qemu):
        await says(*flip)
        await told.wait()
        assert take() == [Rect(0, 0, 8, 4)]
        # However late the second call comes: the first alone is not told of.
        monkeypatch.setattr("guest_agent.vm.dbus_listener.FLIP_S", 3600.0)
        await says(*flip)
        assert not told.is_set()
        await says("UpdateMap", "iiii", 0, 0, 8, 4)
        async with asyncio.timeout(60):
            await told.wait()
        assert take() == [Rect(0, 0, 8, 4)]
    listener.close()
    # One that never comes is not waited for.
    listener = Listener("console", told.set)
    monkeypatch.setattr("guest_agent.vm.dbus_listener.FLIP_S", 0.0)
    async with fake_peer(listener.exports) as (_, qemu):
        for _ in range(2):
            await says(*flip)
            async with asyncio.timeout(60):
                await told.wait()
            assert take() == [Rect(0, 0, 8, 4)]
    listener.close()
    os.close(fd)


async def test_a_flood_waits_in_no_queue(tmp_path: Path) -> None:
    changes: list[None] = []
    listener = Listener("console", lambda: changes.append(None))
    async with fake_peer(listener.exports) as (_, qemu):
        assert not (await qemu.call(LISTENER, "Scanout", "uuuuay", (64, 64, 256, X8R8G8B8, bytes(16384)))).error_name
        for index in range(400):
            body = (index % 60, index * 7 % 60, 2, 2, 8, X8R8G8B8, bytes(16))
            assert not (await qemu.call(LISTENER, "Update", "iiiiuuay", body)).error_name
            assert not (await qemu.call(LISTENER, "MouseSet", "iii", (index, index, 1))).error_name
        assert len(changes) == 1
        change = listener.take()
        assert change is not None and change.is_other and change.damage == [Rect(0, 0, 64, 64)]
        assert listener.take() is None
    listener.close()


@pytest.mark.parametrize("member", ["Scanout", "Update", "CursorDefine", "ScanoutMap", "Disable", "MouseSet"])
async def test_other_signatures_are_refused(member: str, tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for signature, body in (("v", (("u", 1),)), ("a{sv}", ({"x": ("s", "y")},)), ("ssssss", ("",) * 6)):
            answer = await b.says(member, signature, *body, interface=LISTENER_MAP if "Map" in member else LISTENER)
            assert "has the signature" in answer


async def test_sizes_that_the_device_does_not_take_are_told_on(tmp_path: Path) -> None:
    path = str(tmp_path / "display.sock")
    display = FixedDisplay()
    told: asyncio.Queue[tuple[int, int, int]] = asyncio.Queue()
    source = DBusSource(cast("DBusDisplay", display), lambda: None, lambda *wanted: told.put_nowait(wanted))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(4)
        worker = FakeWorker(listener)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in (worker.run(), source.run(), run_display_link(path, source))]
            await worker.until(lambda: worker.connections > 0)
            for width in (800, 900, 1000):
                worker.want(width, 600)
                assert await asyncio.wait_for(told.get(), 60) == (0, width, 600)
            for task in running:
                task.cancel()
    # QEMU is asked once: an agent in the guest may do what its device cannot.
    assert display.asked == 1
