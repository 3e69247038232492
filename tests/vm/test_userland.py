# SPDX-License-Identifier: Apache-2.0
"""A guest with this machine's userland: the default desktop on the guest's own GPU, and the agent inside it on a
virtio-serial port."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest_agent.vm.port import AgentPort, qemu_arguments
from tests.support.vm import GuestJob, VirtualMachine
from tests.support.vm_desktop import python_in_guest, start_desktop


@dataclass
class AgentInGuest:
    """A machine with X and the agent's port; the agent is started by the tests."""

    machine: VirtualMachine
    display: str
    socket: Path
    agent: GuestJob | None = None

    async def run_agent(self) -> None:
        """Start the agent, unless it runs."""
        if self.agent is None:
            self.agent = self.machine.spawn(python_in_guest("guest_agent.in_vm", "--display", self.display))
            await asyncio.to_thread(self.agent.read_until, "serving the X server")

    async def kill_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            await asyncio.to_thread(self.agent.wait)
            self.agent = None

    async def sh(self, command: str) -> str:
        """Run a command in the guest, as X client."""
        # By `until` they wait as long as it takes.
        return await asyncio.to_thread(self.machine.check_sh, f"export DISPLAY={self.display}; {command}", 100)


@pytest.fixture(scope="module")
def guest(machine_folder: Path) -> Iterator[AgentInGuest]:
    socket = machine_folder / "agent.sock"
    devices = ("-device", "virtio-gpu-pci", *qemu_arguments(socket))
    with VirtualMachine(machine_folder, *devices, host_root=True, memory_mib=1024) as machine:
        machine.boot()
        desktop = start_desktop(machine.shell)
        yield AgentInGuest(machine, desktop.display, socket)


@dataclass
class Host:
    port: AgentPort
    texts: asyncio.Queue[str]

    async def wait_present(self) -> None:
        async with asyncio.timeout(60):
            while not self.port.is_present:  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving(guest: AgentInGuest) -> AsyncIterator[Host]:
    texts: asyncio.Queue[str] = asyncio.Queue()
    port = AgentPort(guest.socket, texts.put_nowait)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(port.run())
        yield Host(port, texts)
        running.cancel()


async def test_the_default_desktop_runs(guest: AgentInGuest) -> None:
    # Its window manager makes itself known. It does not follow sizes: that is left to the agent.
    await guest.sh("until xprop -root _NET_SUPPORTING_WM_CHECK | grep -q 0x; do sleep 0.2; done")
    assert "1280x800" in await guest.sh("xrandr")


async def test_clipboard_size_and_clock(guest: AgentInGuest) -> None:
    async with serving(guest) as host:
        host.port.set_text("from the viewer")
        await guest.run_agent()
        await host.wait_present()
        await guest.sh("until xclip -out -selection clipboard 2>/dev/null | grep -q viewer; do sleep 0.2; done")
        await guest.sh("printf 'from the guest' | xclip -in -selection clipboard >/dev/null 2>&1")
        assert await asyncio.wait_for(host.texts.get(), 60) == "from the guest"

        for width, height in ((1024, 768), (1234, 566)):  # a mode of the EDID, and one that nobody has
            host.port.send_size(0, width, height)
            await guest.sh(f"until xrandr | grep -q 'current {width} x {height},'; do sleep 0.2; done")

        await guest.sh("date -s 2001-01-01")
        host.port.send_time()
        await guest.sh("until [ $(date +%Y) -gt 2001 ]; do sleep 0.1; done")
        ahead_s = int(await guest.sh("date +%s")) - time.time()
        assert abs(ahead_s) < 60  # of 24 years


async def test_agents_and_hosts_come_and_go(guest: AgentInGuest) -> None:
    await guest.run_agent()
    for number in range(2):
        # A host that was started after the agent, and its successor.
        async with serving(guest) as host:
            host.port.set_text(f"host {number}")
            await host.wait_present()
            await guest.sh(
                f"until xclip -out -selection clipboard 2>/dev/null | grep -q 'host {number}'; do sleep 0.2; done"
            )
    async with serving(guest) as host:
        await host.wait_present()
        await guest.kill_agent()
        await guest.run_agent()
        await guest.sh("printf 'from the second' | xclip -in -selection clipboard >/dev/null 2>&1")
        assert await asyncio.wait_for(host.texts.get(), 60) == "from the second"
