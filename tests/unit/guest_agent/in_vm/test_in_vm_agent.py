# SPDX-License-Identifier: Apache-2.0
"""The agent of a virtual machine on a real X server, with a socket in the port's place."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from guest_agent.in_vm import agent as agent_module
from guest_agent.in_vm import clock
from guest_agent.in_vm.agent import InVmAgent
from guest_agent.in_vm.port_device import PortDevice, PortError, find_port
from guest_agent.link import encode_message
from guest_agent.port_framing import MARK, PortFramer
from tests.support.fifo import Fifo
from tests.support.guest import Guest


class Host:
    """The host's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._framer = PortFramer()
        self._found: list[dict[str, Any] | None] = []

    async def say(self, **fields: Any) -> None:
        await asyncio.get_running_loop().sock_sendall(self._end, encode_message(fields))

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._end, data)

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                while self._found:
                    message = self._found.pop(0)
                    if message is not None and message["type"] == kind:
                        return message
                data = await asyncio.get_running_loop().sock_recv(self._end, 65536)
                assert data, "the agent has closed the port"
                self._found += self._framer.feed(data)

    async def greet(self) -> None:
        await self.hear("hello")
        await self.send(MARK)
        await self.say(type="hello", version=1, reply=True)


@pytest.fixture
async def host(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(agent_module, "GRACE_SECONDS", 0.0)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    agent = InVmAgent(PortDevice(theirs.detach()), guest.server.display)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(agent.run())
        yield Host(ours)
        running.cancel()
    ours.close()


async def test_clipboard_goes_both_ways(guest: Guest, host: Host) -> None:
    await host.greet()
    await host.say(type="clipboard", text="Grüße 你好 from the viewer")
    fifo = Fifo(guest.directory / "pasted")
    try:
        paste = "until xclip -out -selection clipboard 2>/dev/null | grep -q viewer; do sleep 0.1; done"
        guest.start("sh", "-c", f"{paste}; xclip -out -selection clipboard >{fifo.path}; echo >>{fifo.path}")
        assert "Grüße 你好 from the viewer" in await fifo.read_line()
    finally:
        fifo.close()
    copied = guest.directory / "copied"
    copied.write_text("from the guest")
    await guest.run("xclip", "-in", "-selection", "clipboard", str(copied))
    assert (await host.hear("clipboard"))["text"] == "from the guest"


async def test_a_size_that_no_desktop_sets_is_set(guest: Guest, host: Host) -> None:
    await host.greet()
    for width, height in ((1000, 700), (640, 480), (1000, 700)):
        await host.say(type="size", scanout=0, width=width, height=height)
        wanted = f"xrandr | grep -q 'current {width} x {height},'"
        async with asyncio.timeout(60):
            await guest.run("sh", "-c", f"until {wanted}; do sleep 0.1; done")
    # Neither a screen that is not there, nor the last one switched off, nor one too large changes anything.
    await host.say(type="size", scanout=7, width=800, height=600)
    await host.say(type="size", scanout=0, width=0, height=0)
    await host.say(type="size", scanout=0, width=16384, height=16384)
    await host.say(type="nonsense")
    await host.hear("error")
    await guest.run("sh", "-c", wanted)


async def test_the_clock_is_compared(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(time, "clock_settime_ns", lambda _clock, ns: set_to.append(ns))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(clock, "STEP_NS", 600 * 10**9)  # however long a message takes
    await host.greet()
    await host.say(type="time", unix_ns=time.time_ns())
    assert (await host.hear("clock"))["was_set"] is False
    ahead = time.time_ns() + 3600 * 10**9
    await host.say(type="time", unix_ns=ahead)
    found = await host.hear("clock")
    assert found["was_set"] is True
    assert found["behind_ms"] > 3_000_000
    assert set_to == [ahead]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    await host.say(type="time", unix_ns=ahead)
    assert (await host.hear("clock"))["was_set"] is False


async def test_it_greets_each_host_that_begins(host: Host) -> None:
    await host.greet()
    for _ in range(3):
        # A host that died in the middle of a message, and its successor.
        await host.send(encode_message({"type": "clipboard", "text": "x" * 500})[:100])
        await host.send(MARK)
        await host.say(type="hello", version=1, reply=False)
        assert (await host.hear("hello"))["reply"] is True


async def test_what_a_host_may_not_say_is_named(host: Host) -> None:
    await host.greet()
    await host.say(type="size", scanout=99, width=1, height=1)
    assert (await host.hear("error"))["message"].startswith("size.scanout")


def test_ports_are_found_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(("other", "org.heliograph.agent.0")):
        (tmp_path / f"vport0p{number}").mkdir()
        (tmp_path / f"vport0p{number}" / "name").write_text(f"{name}\n")
    assert find_port("org.heliograph.agent.0", tmp_path) == Path("/dev/vport0p1")
    with pytest.raises(PortError, match="no virtio-serial port nothing"):
        find_port("nothing", tmp_path)


async def test_a_host_that_does_not_read_costs_a_bounded_amount() -> None:
    ours, theirs = socket.socketpair()
    port = PortDevice(theirs.detach())
    sent = 0
    while port.write(bytes(1 << 20)):
        sent += 1
        assert sent < 64
    port.close()
    ours.close()
