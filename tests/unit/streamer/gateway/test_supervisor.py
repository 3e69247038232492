# SPDX-License-Identifier: Apache-2.0
"""The supervisor with small real processes that speak the control link."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from guest_agent.messages import AGENT_TO_GATEWAY, AgentReady, Message, MessageSet
from streamer.gateway.child import ChildProcess, ChildSpec
from streamer.gateway.supervisor import PartState, Supervisor

_CHILD = """
import json, os, signal, socket, struct, sys
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
def send(**message):
    body = json.dumps(message).encode()
    control.sendall(struct.pack("<I", len(body)) + body)
"""
_READY = _CHILD + "send(type='ready', display=':1')\n"
_WAITS = _READY + "control.recv(100)\n"


def _spec(script: str, *, name: str = "part", restarts: bool = True, **options: object) -> ChildSpec:
    command = (sys.executable, "-c", script)
    return ChildSpec(name=name, command=command, accepts=AGENT_TO_GATEWAY, restarts=restarts, **options)  # type: ignore[arg-type]


class _Listener:
    """Records what the supervisor tells, and wakes who waits for it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.displays: list[str] = []
        self.running: set[str] = set()
        self._changed = asyncio.Event()

    def handle_started(self, child: ChildProcess) -> None:
        assert child.name not in self.running
        self.running.add(child.name)

    def handle_message(self, child: ChildProcess, message: Message) -> None:
        if isinstance(message, AgentReady):
            self.displays.append(message.display)
        self._tell(f"{child.name} {message.type}")

    def handle_down(self, child: ChildProcess) -> None:
        self.running.remove(child.name)
        self._tell(f"{child.name} down")

    def _tell(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def _running(*specs: ChildSpec) -> AsyncIterator[tuple[Supervisor, _Listener]]:
    listener = _Listener()
    supervisor = Supervisor(specs, listener)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(supervisor.run())
        yield supervisor, listener
        running.cancel()


async def test_killed_part_is_started_again() -> None:
    async with _running(_spec(_WAITS)) as (supervisor, listener):
        async with asyncio.timeout(60):
            await supervisor.wait_ready()
        child = supervisor.child("part")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        await listener.wait_for(lambda: listener.events.count("part ready") == 2)
        assert listener.events == ["part ready", "part down", "part ready"]
        assert supervisor.restarts == {"part": 1}
        assert supervisor.states == {"part": PartState.READY}
        await supervisor.stop()


async def test_part_that_keeps_crashing_ends_the_session() -> None:
    crash = _READY + "os.kill(os.getpid(), signal.SIGSEGV)\n"
    async with _running(_spec(crash)) as (supervisor, listener):
        async with asyncio.timeout(60):
            outcome = await supervisor.wait_ended()
        assert outcome.is_error
        assert outcome.code == 1
        assert "5 times" in outcome.reason
        assert "signal 11" in outcome.reason
        assert listener.events.count("part down") == 5


async def test_part_that_cannot_start_ends_the_session_at_once() -> None:
    async with _running(_spec("raise SystemExit(2)")) as (supervisor, listener):
        async with asyncio.timeout(60):
            outcome = await supervisor.wait_ended()
        assert outcome.is_error
        assert "could not start (exit code 2)" in outcome.reason
        assert "heliograph doctor" in outcome.reason
        assert listener.events == ["part down"]


async def test_missing_program_is_named() -> None:
    spec = ChildSpec(name="part", command=("/does/not/exist",), accepts=MessageSet(), death_signal="KILL")
    async with _running(spec) as (supervisor, _listener):
        async with asyncio.timeout(60):
            outcome = await supervisor.wait_ended()
        assert outcome.is_error


async def test_guests_exit_code_is_the_sessions() -> None:
    guest = _READY + "send(type='exited', code=42)\n"
    async with _running(_spec(guest, restarts=False)) as (supervisor, _listener):
        async with asyncio.timeout(60):
            outcome = await supervisor.wait_ended()
        assert (outcome.code, outcome.is_error) == (42, False)


async def test_agent_that_dies_silently_is_an_error() -> None:
    async with _running(_spec(_WAITS, restarts=False)) as (supervisor, listener):
        await listener.wait_for(lambda: bool(listener.events))
        child = supervisor.child("part")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            outcome = await supervisor.wait_ended()
        assert (outcome.code, outcome.is_error) == (1, True)


async def test_stop_asks_and_then_takes_descendants_along() -> None:
    # Ends when asked, and leaves a process of its group behind.
    script = _CHILD + (
        "pid = os.posix_spawn('/bin/sleep', ['sleep', '60'], os.environ)\n"
        "send(type='ready', display=str(pid))\n"
        "assert b'stop' in control.recv(100)\n"
    )
    async with _running(_spec(script, restarts=False)) as (supervisor, listener):
        async with asyncio.timeout(60):
            await supervisor.wait_ready()
        pidfd = os.pidfd_open(int(listener.displays[0]))
        await supervisor.stop()
    try:
        async with asyncio.timeout(60):
            await _readable(pidfd)  # it has ended
    finally:
        os.close(pidfd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)


async def test_stop_insists_with_who_does_not_listen() -> None:
    deaf = _CHILD + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsend(type='ready', display='')\nsignal.pause()\n"
    async with _running(_spec(deaf)) as (supervisor, listener):
        async with asyncio.timeout(60):
            await supervisor.wait_ready()
            child = supervisor.child("part")
            assert child is not None
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(supervisor.stop())
                supervisor.kill()
        assert await child.wait() == 128 + signal.SIGKILL
        assert listener.events[-1] == "part ready" or listener.events[-1] == "part down"


async def test_bad_message_does_not_end_a_part() -> None:
    script = (
        _CHILD + "send(type='nonsense')\nsend(type='ready', display=':1')\ncontrol.recv(1000)\ncontrol.recv(1000)\n"
    )
    async with _running(_spec(script)) as (supervisor, listener):
        async with asyncio.timeout(60):
            await supervisor.wait_ready()
        assert listener.events == ["part ready"]
        assert supervisor.restarts == {"part": 0}
