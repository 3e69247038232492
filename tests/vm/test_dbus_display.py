# SPDX-License-Identifier: Apache-2.0
"""A machine whose GPU QEMU emulates: its picture, cursor, input, clipboard and sound by QEMU's D-Bus display."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from guest_agent.display_link import run_display_link
from guest_agent.messages import Button, Key, Motion, Relative, ReleaseAll, Text, Touch, Wheel
from guest_agent.vm.dbus_connection import DBusError
from guest_agent.vm.dbus_display import DBusDisplay
from guest_agent.vm.dbus_sound import DBusSound
from guest_agent.vm.dbus_source import DBusSource
from guest_agent.vm.qmp import QemuVersion, Qmp
from tests.support.dbus_machine import seen_machine
from tests.support.streaming import wait_until
from tests.support.vm import GuestJob, VirtualMachine
from tests.support.vm_guest.pattern import CURSOR_SIZE, pattern
from tests.support.worker_bench import WorkerBench, worker_bench

VIRTIO = (
    *("-device", "virtio-gpu-pci,max_outputs=2", "-device", "virtio-multitouch-pci"),
    *("-device", "virtio-tablet-pci", "-device", "virtio-keyboard-pci"),
    *("-device", "virtio-serial-pci,id=agent", "-chardev", "qemu-vdagent,id=vdagent,name=vdagent,clipboard=on"),
    *("-device", "virtserialport,bus=agent.0,chardev=vdagent,name=com.redhat.spice.0"),
    *("-audiodev", "dbus,id=sound,out.frequency=48000", "-machine", "pcspk-audiodev=sound"),
)


@contextlib.contextmanager
def booted(*arguments: str, display: str = "dbus,p2p=yes") -> Iterator[VirtualMachine]:
    with tempfile.TemporaryDirectory(prefix="hg-vm-") as folder:
        with VirtualMachine(Path(folder), *arguments, display=display) as machine:
            machine.boot()
            yield machine


@pytest.fixture(scope="module")
def virtio() -> Iterator[VirtualMachine]:
    with booted(*VIRTIO, display="dbus,p2p=yes,audiodev=sound") as machine:
        yield machine


@pytest.fixture(scope="module")
def std() -> Iterator[VirtualMachine]:
    with booted("-vga", "std") as machine:
        yield machine


@pytest.fixture(scope="module")
def qxl() -> Iterator[VirtualMachine]:
    with booted("-vga", "qxl") as machine:
        yield machine


@contextlib.asynccontextmanager
async def _job(machine: VirtualMachine, command: str) -> AsyncIterator[GuestJob]:
    job = machine.spawn(command)
    try:
        yield job
    finally:
        job.kill()
        await asyncio.to_thread(job.wait)


async def _do(job: GuestJob, line: str) -> str:
    return await asyncio.to_thread(job.do, line)


async def _read_until(job: GuestJob, wanted: str) -> str:
    return await asyncio.to_thread(job.read_until, wanted)


@pytest.mark.parametrize("gpu", ["virtio", "std", "qxl"])
async def test_the_picture_is_exact(gpu: str, request: pytest.FixtureRequest) -> None:
    machine: VirtualMachine = request.getfixturevalue(gpu)
    async with seen_machine(machine.qmp_path) as seen, _job(machine, "kms serve") as kms:
        await seen.worker.until(lambda: bool(seen.worker.flushed))
        await _do(kms, "mode 0 1024x768")
        wanted = pattern(1024, 768)
        await seen.until_picture(wanted)
        await _do(kms, "rect 0 100 200 50 40 123456")
        wanted[200:240, 100:150] = (0x12, 0x34, 0x56)
        await seen.until_picture(wanted)
        # Many flips cost no more flushes than the worker answers, and the last picture is the one that stays.
        await _do(kms, "flip 0 60 0")
        await _do(kms, "pattern 0")
        await seen.until_picture(pattern(1024, 768))
        assert seen.first_frames == 1

        # A worker that was restarted knows nothing.
        connections = seen.worker.connections
        seen.worker.drop()
        await seen.worker.until(lambda: seen.worker.connections > connections)
        await seen.until_picture(pattern(1024, 768))
        assert seen.first_frames == 1


async def test_a_render_worker_shows_it(virtio: VirtualMachine) -> None:
    """The whole way to the frame ring, with the worker's own checks."""
    with tempfile.TemporaryDirectory(prefix="hg-worker-") as folder, worker_bench(Path(folder)) as worker:
        async with await Qmp.connect(str(virtio.qmp_path)) as qmp, _job(virtio, "kms serve") as kms:
            display = await DBusDisplay.open(qmp)
            taken = asyncio.Event()
            source = DBusSource(display, taken.set)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(source.run()),
                    tasks.create_task(run_display_link(str(worker.display_path), source)),
                ]
                async with asyncio.timeout(60):
                    await taken.wait()
                # A narrower screen than its picture's memory is one with a stride.
                await _do(kms, "mode 0 1024x768")
                luma = await asyncio.to_thread(_corners, worker)
                for task in running:
                    task.cancel()
            display.close()
    assert luma == pytest.approx([63, 173, 32, 235], abs=2)  # BT.709, limited range


def _corners(worker: WorkerBench) -> list[int]:
    """Wait for the pattern; return its corners' luma: red, green, blue, white."""
    with worker.streamer() as streamer:
        streamer.link.set_active(0, True)
        ring = streamer.ring(1024)
        while True:
            frame = streamer.frame(ring)
            luma = [int(frame.planes[y, x]) for y in (5, 760) for x in (5, 1018)]
            frame.release()
            if luma[3] > 200 and luma[0] < 100 < luma[1]:
                ring.close()
                return luma


async def test_a_viewers_size_reaches_the_guest(virtio: VirtualMachine) -> None:
    async with seen_machine(virtio.qmp_path, wanted=(1152, 864)) as seen, _job(virtio, "kms serve") as kms:
        await _do(kms, "follow")
        await seen.until_picture(pattern(1152, 864))
        seen.worker.want(800, 600)
        await seen.until_picture(pattern(800, 600))
        # The second screen was off until it was wanted.
        await seen.until_picture(pattern(800, 600, 1), scanout_id=1)
        assert seen.source.sizes() == [(800, 600), (800, 600)]


async def test_devices_that_take_no_wishes_say_so(std: VirtualMachine) -> None:
    async with seen_machine(std.qmp_path) as seen:
        assert not await seen.display.set_ui_info(seen.display.graphic_consoles[0], 800, 600)


async def test_what_a_device_does_not_take_is_left_to_the_guests_agent(std: VirtualMachine) -> None:
    async with seen_machine(std.qmp_path, wanted=(1024, 768)) as seen, asyncio.timeout(60):
        assert await seen.wishes.get() == (0, 1024, 768)
        for size in ((800, 600), (640, 480)):
            seen.worker.want(*size)
            assert await seen.wishes.get() == (0, *size)


@pytest.mark.parametrize("gpu", ["virtio", "qxl"])
async def test_the_cursor_moves_without_frames(gpu: str, request: pytest.FixtureRequest) -> None:
    machine: VirtualMachine = request.getfixturevalue(gpu)
    async with seen_machine(machine.qmp_path) as seen, _job(machine, "kms serve") as kms:
        await _do(kms, "mode 0 1024x768")
        await seen.until_picture(pattern(1024, 768))
        await _do(kms, "cursor-image 0 ffff00 1 2")
        await _do(kms, "cursor 0 100 50")
        worker = seen.worker
        await worker.until(lambda: worker.cursor is not None and worker.cursor.image is not None)
        await worker.until(lambda: worker.cursor is not None and worker.cursor.x in (100, 101))
        cursor = worker.cursor
        assert cursor is not None and cursor.image is not None
        assert (cursor.hot_x, cursor.hot_y) == (1, 2)
        pixels = np.frombuffer(cursor.image.pixels, np.uint8).reshape(cursor.image.height, cursor.image.width, 4)
        assert tuple(pixels[CURSOR_SIZE - 2, 1]) == (0, 255, 255, 255)
        assert not pixels[:, CURSOR_SIZE:].any()

        # The picture's last flushes may come late; none come of the cursor.
        async with asyncio.timeout(60):
            flushed = -1
            while flushed != (flushed := len(worker.flushed)):
                for x in range(200, 400, 20):
                    await _do(kms, f"cursor 0 {x} 60")
                await worker.until(lambda: worker.cursor is not None and worker.cursor.x in (380, 381))
                await _do(kms, "cursor 0 100 50")
                await worker.until(lambda: worker.cursor is not None and worker.cursor.x in (100, 101))
        if gpu == "qxl":
            return  # QEMU's QXL does not say that it is hidden
        await _do(kms, "cursor-image 0 none")
        await worker.until(lambda: worker.cursor is not None and worker.cursor.image is None)


@contextlib.asynccontextmanager
async def _events(machine: VirtualMachine) -> AsyncIterator[GuestJob]:
    """The guest's input events, once it has found its mouse, which takes a PS/2 mouse's driver a while."""
    async with asyncio.timeout(60):
        while True:
            async with _job(machine, "evdump") as events:
                if "Mouse" in await _read_until(events, "^READY\n"):
                    break
    async with _job(machine, "evdump") as events:
        await _read_until(events, "^READY\n")
        yield events


async def test_keys_pointer_wheel_and_touch_arrive(virtio: VirtualMachine) -> None:
    async with seen_machine(virtio.qmp_path) as seen, _events(virtio) as events:
        assert (seen.input.name, seen.input.takes_touch) == ("QMP", True)  # two screens
        messages = (
            *(Key(0x61, True, "KeyA"), Key(0x61, False, "KeyA"), Key(0x41, True), Key(0x41, False)),
            *(Motion(0, 0), Motion(639, 399), Button(1, True), Button(1, False), Button(8, True), Button(8, False)),
            *(Wheel(0, 0.5), Wheel(0, 0.5), Wheel(0, -1)),
            *(Relative(3.5, -2), Relative(0.5, 0), Button(3, True), ReleaseAll()),
            *(Touch(7, "down", 10, 20), Touch(7, "move", 30, 20), Touch(7, "up", 30, 20)),
            *(Text("a!é"), Key(0xFF1B, True, "Escape"), ReleaseAll(), Key(0xFFBF, True, "F2")),
        )
        for message in messages:
            await seen.input.put(message)
        # Each device's events come in their order, those of two in any.
        said = ""
        for last in ("Keyboard: 1 60 1", "Tablet: 1 275 0", "Mouse: 2 0 1", "1 273 0", "MultiTouch: 3 57 -1"):
            if f"{last}\n" not in said:
                said += await _read_until(events, f"{last}\n")
        seen.input.reset()
        keyboard = [line.split(": ")[1] for line in said.splitlines() if line.startswith("QEMU Virtio Keyboard")]
        assert keyboard == [
            *("1 30 1", "1 30 0", "1 42 1", "1 30 1", "1 42 0", "1 30 0"),
            *("1 30 1", "1 30 0", "1 42 1", "1 2 1", "1 2 0", "1 42 0", "1 1 1", "1 1 0", "1 60 1"),
        ]
        tablet = [line.split(": ")[1] for line in said.splitlines() if line.startswith("QEMU Virtio Tablet")]
        buttons = [line for line in tablet if not line.startswith("3 ") and " 330 " not in line]
        assert buttons == ["1 272 1", "1 272 0", "1 275 1", "1 275 0", "2 8 -1", "2 8 1", "1 273 1", "1 273 0"]
        places = [int(line.split()[2]) for line in tablet if line.startswith("3 0 ")]
        width = seen.source.sizes()[0][0]
        wide = sum(size[0] for size in seen.source.sizes())
        assert places[-1] * wide // 32768 == 639 and width > 639
        moved = [line for line in said.splitlines() if ": 2 0 " in line or ": 2 1 " in line]
        assert [line.split(": ")[1] for line in moved] == ["2 0 3", "2 1 -2", "2 0 1"]
        touched = [line.split(": ")[1] for line in said.splitlines() if line.startswith("QEMU Virtio MultiTouch")]
        assert touched[0] == "3 57 0" and touched[-1] == "3 57 -1"


async def test_a_mouse_without_a_tablet_goes_where_the_pointer_goes(std: VirtualMachine) -> None:
    async with seen_machine(std.qmp_path) as seen, _events(std) as events:
        assert (seen.input.name, seen.input.takes_touch) == ("QEMU's D-Bus display", False)
        await seen.input.put(Motion(100, 100))
        # A PS/2 mouse sums up what its guest has not read yet.
        for message, wanted in (
            (Motion(110, 95.5), ["2 0 10", "2 1 -4"]),
            (Motion(112, 95), ["2 0 2", "2 1 -1"]),
            (Wheel(0, 1), ["2 8 -1"]),
        ):
            await seen.input.put(message)
            said = await _read_until(events, f"Mouse: {wanted[-1]}\n")
            assert [line.rpartition(": ")[2] for line in said.splitlines() if "Mouse: 2 " in line] == wanted
        # A PS/2 keyboard's keys are repeated by the keyboard.
        await seen.input.put(Key(0x61, True, "KeyA"))
        await _read_until(events, "^AT Translated Set 2 keyboard: 1 30 2\n")
        await seen.input.put(Key(0x61, False, "KeyA"))
        await _read_until(events, "^AT Translated Set 2 keyboard: 1 30 0\n")


async def test_text_is_typed_into_the_guests_console(std: VirtualMachine) -> None:
    async with seen_machine(std.qmp_path) as seen:
        await seen.input.put(Text("\necho 'Typed: {~} \"1+1=2\"' >/tmp/typed\n"))
        await asyncio.to_thread(std.check_sh, "while ! [ -s /tmp/typed ]; do sleep 0.1; done")
        assert std.check_sh("cat /tmp/typed") == 'Typed: {~} "1+1=2"\n'


async def test_the_control_connection_may_be_replaced(std: VirtualMachine) -> None:
    async with seen_machine(std.qmp_path) as seen, _job(std, "kms serve") as kms:
        await seen.worker.until(lambda: bool(seen.worker.flushed))
        await seen.display.reopen()
        assert [console.kind for console in seen.display.graphic_consoles] == ["Graphic"]
        await _do(kms, "mode 0 800x600")
        await seen.until_picture(pattern(800, 600))


AGENT_PORT = "$(for p in /sys/class/virtio-ports/*; do grep -q spice $p/name && echo /dev/${p##*/}; done)"
_ANNOUNCE, _CLIPBOARD, _GRAB, _REQUEST = 6, 4, 7, 8


def _agent_message(kind: int, body: bytes) -> bytes:
    """A message of the vdagent's protocol: a chunk for the client's port with one message."""
    message = struct.pack("<IIQI", 1, kind, 0, len(body)) + body
    return struct.pack("<II", 1, len(message)) + message


async def test_the_clipboard_goes_both_ways(virtio: VirtualMachine) -> None:
    """The guest's side is spoken by hand, as spice-vdagent does: by demand, with a selection, grabs with serials."""
    async with seen_machine(virtio.qmp_path) as seen, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(seen.clipboard.run(seen.display.connection))
        async with _job(virtio, f"exec 3<>{AGENT_PORT}; cat <&3 & cat >&3") as agent:
            announce = struct.pack("<II", 0, 1 << 5 | 1 << 6 | 1 << 17)
            agent.write(_agent_message(_ANNOUNCE, announce))
            agent.write(_agent_message(_GRAB, struct.pack("<B3xII", 0, 0, 1)))
            wanted = _agent_message(_REQUEST, struct.pack("<B3xI", 0, 1))
            await _read_bytes(agent, wanted)
            agent.write(_agent_message(_CLIPBOARD, struct.pack("<B3xI", 0, 1) + "Grüße".encode()))
            await wait_until(lambda: seen.texts == ["Grüße"])

            seen.clipboard.set_text("from the viewer: ü")
            await _read_bytes(agent, struct.pack("<B3xII", 0, 1, 1))
            agent.write(_agent_message(_REQUEST, struct.pack("<B3xI", 0, 1)))
            await _read_bytes(agent, struct.pack("<B3xI", 0, 1) + "from the viewer: ü".encode())
            assert seen.texts == ["Grüße"]
        serving.cancel()


async def _read_bytes(job: GuestJob, wanted: bytes) -> None:
    """Wait until these bytes have come, with a regular expression that is text."""
    await _read_until(job, "".join(f"\\x{byte:02x}" for byte in wanted))


async def test_what_the_machine_plays_is_heard_while_somebody_listens(virtio: VirtualMachine, tmp_path: Path) -> None:
    path = str(tmp_path / "sound.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    async with seen_machine(virtio.qmp_path) as seen, asyncio.TaskGroup() as tasks:
        sound = DBusSound(seen.display, await seen.qmp.version(), listener.detach())
        assert sound.is_available
        assert not DBusSound(seen.display, QemuVersion(7, 2, 0), -1).is_available
        serving = tasks.create_task(sound.run())
        for _ in range(2):  # who leaves may come again
            reader, writer = await asyncio.open_unix_connection(path)
            # The PC's speaker: a tone of 1193182 / 0x0a98 = 440 Hz, played by its timer.
            ports = ((0x43, 0xB6), (0x42, 0x98), (0x42, 0x0A), (0x61, 3))
            beep = "; ".join(
                f"printf '\\{value:03o}' | dd of=/dev/port bs=1 seek={port} 2>/dev/null" for port, value in ports
            )
            await asyncio.to_thread(virtio.check_sh, f"[ -c /dev/port ] || mknod /dev/port c 1 4; {beep}")
            async with asyncio.timeout(60):
                heard = np.zeros(0, np.int16)
                while np.count_nonzero(heard) < 24000:
                    heard = np.concatenate((heard, np.frombuffer(await reader.readexactly(4 * 480), "<i2")))
            left, right = heard[::2], heard[1::2]
            assert np.array_equal(left, right)
            await asyncio.to_thread(virtio.check_sh, "printf '\\000' | dd of=/dev/port bs=1 seek=97 2>/dev/null")
            writer.close()
        # Most half waves are 54.5 samples long; a machine that is busy may have left gaps.
        crossings = np.flatnonzero(np.diff(np.signbit(left)))
        assert 45 <= np.median(np.diff(crossings)) <= 68
        serving.cancel()


async def test_qemus_end_is_noticed() -> None:
    with booted("-vga", "std") as machine:
        with pytest.raises(ExceptionGroup) as raised:
            async with seen_machine(machine.qmp_path) as seen:
                await seen.worker.until(lambda: bool(seen.worker.flushed))
                os.kill(machine.process.pid, signal.SIGKILL)
                async with asyncio.timeout(60):
                    await seen.qmp.wait_closed()
                    await seen.display.wait_closed()
                    await asyncio.sleep(60)
        assert raised.group_contains(DBusError, match="has ended")
