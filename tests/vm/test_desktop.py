# SPDX-License-Identifier: Apache-2.0
"""A guest with this machine's userland: Xorg and the default desktop on the guest's own GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.vm import VirtualMachine
from tests.support.vm_desktop import start_desktop


@pytest.fixture(scope="module")
def machine(machine_folder: Path) -> Iterator[VirtualMachine]:
    devices = ("-device", "virtio-gpu-pci", "-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci")
    with VirtualMachine(machine_folder, *devices, host_root=True, memory_mib=1024) as machine:
        machine.boot()
        yield machine


def test_the_default_desktop_runs(machine: VirtualMachine) -> None:
    desktop = start_desktop(machine.shell)
    # The window manager has made itself known.
    known = "xprop -root _NET_SUPPORTING_WM_CHECK | grep -q 0x"
    machine.check_sh(f"export DISPLAY={desktop.display}; until {known}; do sleep 0.2; done", 90)
    assert "1280x800" in machine.check_sh(f"DISPLAY={desktop.display} xrandr")
    desktop.job.kill()
