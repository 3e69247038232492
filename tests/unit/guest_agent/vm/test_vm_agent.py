# SPDX-License-Identifier: Apache-2.0
"""The VM agent as its own process, with programs in QEMU's place that end, and its part in a live recovery."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guest_agent.vm.agent import set_up_again
from guest_agent.vm.qmp import Qmp
from tests.support.fake_qemu import FakeQmp


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hg-agent-") as name:
        yield Path(name)


def run_agent(folder: Path, *words: str) -> tuple[str, list[dict[str, Any]], int]:
    """Run the agent to its end; return its log, what it told the gateway, and its exit code."""
    gateway, control = socket.socketpair()
    with gateway, control, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "agent.sock"))
        listener.listen()
        fds = (control.fileno(), listener.fileno())
        agent = subprocess.Popen(
            [
                *(sys.executable, "-m", "guest_agent.vm", "--control-fd", str(fds[0]), "--agent-fd", str(fds[1])),
                *("--display", str(folder / "display"), "--machine", str(folder / "machine.sock")),
                *("--session-dir", str(folder), *words),
            ],
            stderr=subprocess.PIPE,
            pass_fds=fds,
        )
        control.close()
        _, log = agent.communicate(timeout=100)
        gateway.settimeout(60)
        told = b""
        while data := gateway.recv(65536):
            told += data
    return log.decode(), list(_messages(told)), agent.returncode


def _messages(data: bytes) -> Iterator[dict[str, Any]]:
    while data:
        length = int.from_bytes(data[:4], "little")
        yield json.loads(data[4 : 4 + length])
        data = data[4 + length :]


@pytest.mark.parametrize("display", [(), ("-vga", "std")], ids=["vhost-user", "dbus"])
def test_qemu_that_refuses_says_why_and_its_code_is_the_sessions(folder: Path, display: tuple[str, ...]) -> None:
    log, told, code = run_agent(folder, "--", "sh", "-c", "echo no such disk >&2; exit 3", *display)
    assert [(message["type"], message["code"]) for message in told] == [("exited", 3)]
    assert code == 0
    assert "no such disk\n" in log
    assert log.count("QEMU ended with code 3") == 1
    assert "Traceback" not in log
    assert not (folder / "machine").exists()


def test_no_qemu_says_how_to_get_one(folder: Path) -> None:
    log, told, code = run_agent(folder, "--", "qemu-that-is-not-there")
    assert (told, code) == ([], 1)
    assert "qemu-that-is-not-there: no such program" in log
    assert "./setup.sh qemu" in log


def test_nobody_to_attach_to(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "qmp"))
    log, told, code = run_agent(folder, "--attach", str(folder / "qmp"))
    assert (told, code) == ([], 1)
    assert "no QEMU listens there" in log


@pytest.mark.parametrize(("status", "commands"), [(True, ["stop", "cont"]), (False, [])])
async def test_paused_machine_stays_paused_and_another_goes_on_for_certain(status: bool, commands: list[str]) -> None:
    ours, theirs = socket.socketpair()
    server = FakeQmp(theirs)
    async with asyncio.TaskGroup() as tasks:
        greeting = tasks.create_task(server.greet())
        async with await Qmp.open(ours) as qmp:
            await greeting
            setting_up = tasks.create_task(set_up_again(qmp))
            await server.answer(await server.receive(), {"running": status})
            # All are sent before any is answered: a pause cannot last because we were not there to end it.
            received = [await server.receive() for _ in commands]
            assert [command["execute"] for command in received] == commands
            for command in received:
                await server.answer(command)
            await setting_up
    server.close()


@pytest.mark.slow
def test_end_of_the_gateway_ends_the_machine(folder: Path) -> None:
    gateway, control = socket.socketpair()
    pid_file = folder / "pid"
    with gateway, control, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "agent.sock"))
        listener.listen()
        fds = (control.fileno(), listener.fileno())
        # A QEMU that hangs at its start, and does not hear SIGTERM.
        hangs = f"trap '' TERM; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; while :; do sleep 1; done"
        agent = subprocess.Popen(
            [
                *(sys.executable, "-m", "guest_agent.vm", "--control-fd", str(fds[0]), "--agent-fd", str(fds[1])),
                *("--display", "/none", "--machine", "/none", "--session-dir", str(folder)),
                *("--", "sh", "-c", hangs, "-vga", "std"),
            ],
            pass_fds=fds,
        )
        control.close()
        while not pid_file.exists():
            assert agent.poll() is None
        qemu = int(pid_file.read_text())
    agent.wait(60)
    with pytest.raises(ProcessLookupError):
        os.kill(qemu, 0)
