# SPDX-License-Identifier: Apache-2.0
"""How a machine's session ends, whoever ends first."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.machine_session import KEYBOARD, machine_session
from tests.support.session import SessionStarter
from tests.support.vm import VirtualMachine


def _qemu_of(agent: int) -> int:
    """The pid of the QEMU that a VM agent has started."""
    for task in Path(f"/proc/{agent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "qemu" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    raise AssertionError("there is no QEMU")


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_power_off_ends_the_session_with_qemus_code() -> None:
    with machine_session() as machine:
        machine.shell.spawn("poweroff -f")  # there may be no answer any more
        assert machine.session.wait() == 0
        assert list(machine.session.runtime.iterdir()) == []


def test_killed_qemu_ends_the_session() -> None:
    with machine_session() as machine:
        os.kill(_qemu_of(machine.session.children()["guest_agent.vm"]), signal.SIGKILL)
        assert machine.session.wait() == 128 + signal.SIGKILL
        assert list(machine.session.runtime.iterdir()) == []


def test_killed_agent_takes_its_machine_along() -> None:
    with machine_session(devices=(*KEYBOARD, "-vga", "std")) as machine:
        agent = machine.session.children()["guest_agent.vm"]
        qemu = _qemu_of(agent)
        os.kill(agent, signal.SIGKILL)
        assert machine.session.wait() == 1
        wait_until(lambda: not _is_there(qemu))
        assert "the VM agent ended without warning" in machine.session.log


def test_machine_that_runs_already_goes_on() -> None:
    starter = SessionStarter()
    with tempfile.TemporaryDirectory(prefix="hg-vm-") as name:
        folder = Path(name)
        with VirtualMachine(folder, "-device", "virtio-gpu-pci", *KEYBOARD, display="dbus,p2p=yes") as machine:
            try:
                machine.boot()
                first = starter("vm", "--attach", str(machine.qmp_path))
                agent = first.children()["guest_agent.vm"]
                os.kill(agent, signal.SIGKILL)
                # Another one comes in its place, and the session lives.
                wait_until(lambda: first.children().get("guest_agent.vm", agent) != agent)
                wait_until(lambda: first.log.count("the guest is ready") == 2)
                assert first.stop() == 128 + signal.SIGTERM
                assert machine.sh("echo alive") == ("alive\n", 0)
                second = starter("vm", "--attach", str(machine.qmp_path))
                machine.stop()
                assert second.wait() == 0
            finally:
                starter.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
