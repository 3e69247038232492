# SPDX-License-Identifier: Apache-2.0
"""The test guest itself: it boots, runs commands, and its KMS program shows the pattern that tests expect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.vm import GuestError, GuestShell, VirtualMachine
from tests.support.vm_guest.pattern import pattern


@pytest.fixture(scope="module")
def machine(machine_folder: Path) -> Iterator[VirtualMachine]:
    gpu = ("-device", "virtio-gpu-pci,max_outputs=2", "-device", "virtio-keyboard-pci")
    with VirtualMachine(machine_folder, *gpu) as machine:
        machine.boot()
        yield machine


def test_commands_run_and_tell_how_they_ended(machine: VirtualMachine) -> None:
    assert machine.sh("echo one; echo two >&2; exit 7") == ("one\ntwo\n", 7)
    assert machine.sh("kill -TERM $$") == ("", 128 + 15)
    assert "virtio_gpu" in machine.check_sh("cat /proc/modules")
    with pytest.raises(GuestError, match="ended with 1"):
        machine.check_sh("ls /nowhere")


def test_files_and_jobs(machine: VirtualMachine) -> None:
    data = bytes(range(256)) * 1000
    machine.put("/tmp/data", data)
    counted = machine.spawn("wc -c </tmp/data; cat")
    counted.read_until(f"{len(data)}\n")
    counted.write(b"a line\n")
    assert counted.read_until("line\n") == "a line\n"
    # Another command meanwhile.
    assert machine.sh("cmp /tmp/data /tmp/data") == ("", 0)
    counted.kill()
    assert counted.wait() == ("", 128 + 9)


def test_qmp_and_console(machine: VirtualMachine) -> None:
    assert machine.qmp("query-status")["status"] == "running"
    with pytest.raises(GuestError, match="nonsense"):
        machine.qmp("nonsense")
    assert "GUEST-READY" in machine.console()


def test_the_kms_program_shows_the_pattern(machine: VirtualMachine, machine_folder: Path) -> None:
    kms = machine.spawn("kms serve")
    assert "output 0 connected" in kms.do("modes")
    assert kms.do("mode 0 1024x768").startswith("mode 0 1024x768\n")
    shown = _dump(machine, machine_folder / "screen.ppm")
    assert np.array_equal(shown, pattern(1024, 768))

    kms.do("rect 0 100 200 50 40 123456")
    assert tuple(_dump(machine, machine_folder / "screen.ppm")[239, 149]) == (0x12, 0x34, 0x56)
    assert "shown 5 in" in kms.do("flip 0 5 0")
    kms.do("cursor-image 0 ffff00 1 2")
    kms.do("cursor 0 100 50")
    with pytest.raises(GuestError, match="no such mode"):
        kms.do("mode 0 1x1")
    kms.write(b"quit\n")
    assert kms.wait()[1] == 0


def test_input_arrives(machine: VirtualMachine) -> None:
    events = machine.spawn("evdump")
    assert "device QEMU Virtio Keyboard" in events.read_until("^READY\n")
    key = {"type": "key", "data": {"down": True, "key": {"type": "qcode", "data": "a"}}}
    machine.qmp("input-send-event", {"events": [key]})
    events.read_until("^QEMU Virtio Keyboard: 1 30 1\n")
    events.kill()


def test_a_shell_may_leave_and_come_back(machine: VirtualMachine, machine_folder: Path) -> None:
    machine.shell.close()
    again = GuestShell(machine_folder / "shell.sock")
    try:
        assert again.sh("echo there") == ("there\n", 0)
    finally:
        again.close()


def _dump(machine: VirtualMachine, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """What the first output shows, as QEMU sees it."""
    machine.qmp("screendump", {"filename": str(path)})
    magic, size, depth, pixels = path.read_bytes().split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
