# SPDX-License-Identifier: Apache-2.0
"""A stock driver, a real vhost-user-gpu device of QEMU, and the worker behind it: pictures in the frame ring."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from render_core import CursorImage, CursorMove, Device, Frame, FrameLink, Ring
from tests.support.machine_agent import (
    ATTACH,
    ATTACHED,
    JOURNAL_BYTES,
    RUNNING,
    STOPPED,
    WAIT_S,
    MachineAgent,
    sealed,
)
from tests.support.vm import GuestJob, VirtualMachine
from tests.support.vm_guest.pattern import pattern
from tests.support.worker_bench import Streamer, WorkerBench, worker_bench

KILLS = int(os.environ.get("KILLS", "5"))  # more, to look for what is rare
WIDTH, HEIGHT = 640, 480  # the worker's, so the guest's
GPU = (
    *("-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-machine", "memory-backend=mem"),
    *("-device", "vhost-user-gpu-pci,chardev=gpu"),
)


class Served:
    """A machine, and the worker that serves it now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.journal = sealed("journal", JOURNAL_BYTES)
        self.workers = 0
        self.bench: WorkerBench
        self.agent: MachineAgent
        self.streamer: Streamer
        self.machine: VirtualMachine
        self.kms: GuestJob

    def start_worker(self) -> None:
        folder = self.folder / str(self.workers)
        self.workers += 1
        folder.mkdir()
        self.bench = self.stack.enter_context(worker_bench(folder))
        self.agent = MachineAgent(self.bench.machine_path)
        self.stack.callback(self.agent.sock.close)
        self.agent.greet()
        self.streamer = self.stack.enter_context(self.bench.streamer())
        assert isinstance(self.streamer.next(Device), Device)
        self.streamer.link.set_active(0, True)

    def attach(self, recover: int) -> None:
        with socket.socket(socket.AF_UNIX) as device:
            device.connect(str(self.folder / "gpu.sock"))
            self.agent.send(ATTACH, recover, 0, fds=(device.fileno(), self.journal))
        self.agent.wait_state(ATTACHED)
        if recover:
            # QEMU takes the connection when its main loop comes to it: `cont` may overtake that, and do nothing.
            self.machine.qmp("query-status")
            self.machine.qmp("query-status")

    def wait_picture(self, expected: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        """Wait for a frame that is this RGB picture, in luma."""
        luma = 16 + (expected @ np.array([0.2126, 0.7152, 0.0722])) * 219 / 255
        ring = self.streamer.ring(expected.shape[1])
        while True:
            frame, ring = self._next_frame(ring)
            off = np.abs(frame.planes[:HEIGHT, :WIDTH].astype(float) - luma).max()
            frame.release()
            if off < 1.5:
                self.streamer.events.insert(0, ring)  # for the next who waits
                return

    def _next_frame(self, ring: Ring) -> tuple[Frame, Ring]:
        """The next frame of this ring, or of a newer one of its width: a screen that was dark has a new ring."""
        while True:
            sources: list[Ring | FrameLink] = [ring, self.streamer.link]
            readable = select.select(sources, [], [], WAIT_S)[0]
            assert readable, "nothing came"
            if self.streamer.link in readable:
                self.streamer.events += self.streamer.link.receive()
            newer = [event for event in self.streamer.events if isinstance(event, Ring) and event.width == ring.width]
            if newer:
                ring.close()
                self.streamer.events = [event for event in self.streamer.events if event not in newer]
                ring = newer[-1]
            if (frame := ring.acquire()) is not None:
                return frame, ring


@pytest.fixture(scope="module")
def served(machine_folder: Path) -> Iterator[Served]:
    served = Served(machine_folder)
    with served.stack:
        served.start_worker()
        socket_argument = f"socket,id=gpu,path={machine_folder / 'gpu.sock'},server=on,wait=on"
        # QEMU does not go on before somebody has connected.
        listening = threading.Thread(target=_connect_when_there, args=(served,), daemon=True)
        listening.start()
        served.machine = VirtualMachine(machine_folder, "-chardev", socket_argument, *GPU)
        served.stack.enter_context(served.machine)
        served.machine.boot()
        listening.join()
        served.kms = served.machine.spawn("kms serve")
        yield served
    os.close(served.journal)


def _connect_when_there(served: Served) -> None:
    path = served.folder / "gpu.sock"
    stopper = threading.Event()
    while not path.exists():
        stopper.wait(0.02)
    while True:
        try:
            served.attach(0)
        except ConnectionRefusedError:
            stopper.wait(0.02)
        else:
            return


def test_the_guest_takes_the_size_and_its_picture_arrives(served: Served) -> None:
    served.agent.wait_state(RUNNING)
    assert f"{WIDTH}x{HEIGHT}" in served.kms.do("modes")
    served.kms.do(f"mode 0 {WIDTH}x{HEIGHT}")
    expected = pattern(WIDTH, HEIGHT)
    served.wait_picture(expected)
    served.kms.do("rect 0 100 200 50 40 123456")
    expected[200:240, 100:150] = (0x12, 0x34, 0x56)
    served.wait_picture(expected)


def test_the_cursor_is_no_part_of_the_picture(served: Served) -> None:
    served.kms.do("cursor-image 0 ffff00 1 2")
    served.kms.do("cursor 0 100 50")
    image = served.streamer.next(CursorImage)
    while isinstance(image, CursorImage) and image.pixels is None:
        image = served.streamer.next(CursorImage)
    assert isinstance(image, CursorImage)
    assert (image.hot_x, image.hot_y) == (1, 2)
    while served.streamer.next(CursorMove) != CursorMove(0, 100, 50):
        pass


def test_flips_are_paced_by_the_frame_rate(served: Served) -> None:
    said = served.kms.do("flip 0 300 0")
    shown = re.search(r"shown (\d+) in (\d+) ms", said)
    assert shown is not None
    # 1400/s otherwise. The queue takes 21 of them before it is full.
    assert int(shown[1]) * 1000 / int(shown[2]) < 80


def test_a_paused_machine_goes_on(served: Served) -> None:
    served.machine.qmp("stop")
    served.agent.wait_state(STOPPED)
    served.machine.qmp("cont")
    served.agent.wait_state(RUNNING)
    served.kms.do("pattern 0")
    served.wait_picture(pattern(WIDTH, HEIGHT))


@pytest.mark.parametrize("stop_first", [False, True])
def test_a_machine_survives_its_worker(served: Served, stop_first: bool) -> None:
    served.kms.do("pattern 0")
    served.wait_picture(pattern(WIDTH, HEIGHT))
    served.kms.write(b"flip 0 180 0\n")  # the worker dies in the midst of it
    ring = served.streamer.ring(WIDTH)
    for _ in range(3):
        served.streamer.frame(ring).release()
    served.bench.process.send_signal(signal.SIGKILL)
    served.bench.process.wait()
    served.start_worker()
    if stop_first:
        served.machine.qmp("stop")
    served.attach(1)
    if not stop_first:
        served.machine.qmp("stop")
    served.machine.qmp("cont")
    served.agent.wait_state(RUNNING)
    assert "shown 180" in served.kms.read_until("^done flip 0 180 0\n")
    served.kms.do("pattern 0")
    served.wait_picture(pattern(WIDTH, HEIGHT))
    assert isinstance(served.streamer.next(CursorImage), CursorImage)


def _size_of(pid: int) -> tuple[int, int]:
    """How many fds a process has, and how many KiB are in its memory that are its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    anonymous = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert anonymous is not None
    return len(os.listdir(f"/proc/{pid}/fd")), int(anonymous[1])


def test_many_workers_die(served: Served) -> None:
    served.kms.do("mode 0 preferred")
    served.kms.do("cursor-image 0 00ffff 1 2")
    qemu = served.machine.process.pid
    warnings = served.machine.check_sh("dmesg -r | grep '^<[0-4]>' || true")
    steps = [f"flip 0 4 0\ncursor 0 {step} {step}\nrect 0 {step} 8 8 8 ffffff\n" for step in range(10 * KILLS)]
    served.kms.write("".join(steps).encode())
    sizes = []
    chance = random.Random(7)
    for _ in range(KILLS):
        # At any moment: also while the next worker replays.
        threading.Event().wait(chance.uniform(0, 0.4))
        served.bench.process.send_signal(signal.SIGKILL)
        served.bench.process.wait()
        served.start_worker()
        served.attach(1)
        served.machine.qmp("stop")
        served.machine.qmp("cont")
        served.agent.wait_state(RUNNING)
        sizes.append(_size_of(qemu))
    last = 10 * KILLS - 1
    served.kms.read_until(f"^done rect 0 {last} 8 8 8 ffffff\n")
    served.kms.do("pattern 0")
    served.wait_picture(pattern(WIDTH, HEIGHT))
    assert isinstance(served.streamer.next(CursorImage), CursorImage)
    while served.streamer.next(CursorMove) != CursorMove(0, last, last):
        pass
    assert served.machine.check_sh("dmesg -r | grep '^<[0-4]>' || true") == warnings
    fds, memory_kib = zip(*sizes, strict=True)
    assert max(fds[1:]) == fds[1]
    assert memory_kib[-1] < memory_kib[0] + 8192, sizes


def test_a_pause_of_seconds_with_flips_in_flight(served: Served) -> None:
    served.kms.write(b"flip 0 60 0\n")
    served.machine.qmp("stop")
    served.agent.wait_state(STOPPED)
    threading.Event().wait(2)
    served.machine.qmp("cont")
    served.agent.wait_state(RUNNING)
    assert "shown 60" in served.kms.read_until("^done flip 0 60 0\n")
    served.kms.do("pattern 0")
    served.wait_picture(pattern(WIDTH, HEIGHT))


def test_the_driver_is_taken_away_and_given_back(served: Served) -> None:
    served.kms.write(b"quit\n")
    served.kms.wait()
    driver = "/sys/bus/virtio/drivers/virtio_gpu"
    device = served.machine.check_sh(f"basename {driver}/virtio*").strip()
    for _ in range(2):
        served.machine.check_sh("for c in /sys/class/vtconsole/*; do echo 0 >$c/bind; done; true")
        served.machine.check_sh(f"echo {device} >{driver}/unbind")
        served.agent.wait_state(STOPPED)
        served.machine.check_sh(f"echo {device} >{driver}/bind")
        served.agent.wait_state(RUNNING)
    served.kms = served.machine.spawn("kms serve")
    served.kms.do("mode 0 preferred")
    served.wait_picture(pattern(WIDTH, HEIGHT))


def test_a_reset_begins_anew(served: Served) -> None:
    served.machine.qmp("system_reset")
    served.agent.wait_state(STOPPED)
    served.agent.wait_state(RUNNING)
