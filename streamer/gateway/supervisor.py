# SPDX-License-Identifier: Apache-2.0
"""Keeps the session's processes running, and says when the session is over and why."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from guest_agent.link import LinkError
from guest_agent.messages import Error, Exited, Message, Stop
from streamer.gateway.child import ChildProcess, ChildSpec
from streamer.gateway.errors import ChildStartError
from streamer.gateway.restarts import RestartPolicy

# What a process may take to end by itself: the agent gives the guest's programs 3 s between TERM and KILL.
STOP_PATIENCE_S = 6.0
_LAST_MESSAGES_S = 2.0

_log = logging.getLogger(__name__)


class PartState(StrEnum):
    """What a process of the session is doing."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the session ended.

    Attributes:
        code: our exit code.
        reason: a sentence for the log and the viewers.
        is_error: whether one of our own parts failed.
    """

    code: int
    reason: str
    is_error: bool = False


class Listener(Protocol):
    """What the supervisor tells. Called on the loop thread; must not block."""

    def handle_started(self, child: ChildProcess) -> None:
        """A process has been started; it is not ready yet."""

    def handle_message(self, child: ChildProcess, message: Message) -> None:
        """A process sent a message by its control link (`ready` included)."""

    def handle_down(self, child: ChildProcess) -> None:
        """A process has ended."""


class Supervisor:
    """Starts the processes and starts them again. `run()` owns all of its tasks; loop thread only."""

    def __init__(self, specs: Iterable[ChildSpec], listener: Listener) -> None:
        self._specs = tuple(specs)
        self._listener = listener
        self._children: dict[str, ChildProcess] = {}
        self._states = {spec.name: PartState.STARTING for spec in self._specs}
        self._restarts = dict.fromkeys(self._states, 0)
        self._never_ready = set(self._states)
        self._is_stopping = False
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._all_ready = asyncio.Event()

    @property
    def states(self) -> dict[str, PartState]:
        """Each process's state, by name."""
        return dict(self._states)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process was started again, by name."""
        return dict(self._restarts)

    @property
    def is_ready(self) -> bool:
        return all(state is PartState.READY for state in self._states.values())

    def child(self, name: str) -> ChildProcess | None:
        """Return the process that runs under this name now."""
        return self._children.get(name)

    async def wait_ready(self) -> None:
        """Wait until every process has been ready once. Cancelling is safe."""
        await self._all_ready.wait()

    async def wait_ended(self) -> Outcome:
        """Wait for the end of the session. Cancelling is safe."""
        return await asyncio.shield(self._ended)

    def end(self, outcome: Outcome) -> None:
        """End the session; only the first call counts."""
        if not self._ended.done():
            self._ended.set_result(outcome)

    async def run(self) -> None:
        """Start the processes and keep them until cancelled; then kill what is left of them."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for spec in self._specs:
                    tasks.create_task(self._keep(spec), name=spec.name)
        finally:
            for child in self._children.values():
                child.close()

    async def stop(self) -> None:
        """Ask all processes to end, insist after a while. The agent goes first: what it shows is still taken."""
        self._is_stopping = True
        async with asyncio.TaskGroup() as tasks:
            for spec in self._specs:
                child = self._children.get(spec.name)
                if child is not None and not spec.restarts:
                    child.send(Stop())
                    tasks.create_task(child.end(STOP_PATIENCE_S))
        async with asyncio.TaskGroup() as tasks:
            for spec in self._specs:
                child = self._children.get(spec.name)
                if child is not None and spec.restarts:
                    if spec.takes_stop:
                        child.send(Stop())
                    else:
                        child.link.close()
                    tasks.create_task(child.end(STOP_PATIENCE_S))

    def kill(self) -> None:
        """Kill all processes, without giving them time to clean up."""
        for child in self._children.values():
            child.signal(signal.SIGKILL)

    async def _keep(self, spec: ChildSpec) -> None:
        policy = RestartPolicy()
        clock = asyncio.get_running_loop()
        while True:
            try:
                child = await ChildProcess.start(spec)
            except ChildStartError as error:
                return self.end(Outcome(1, str(error), is_error=True))
            self._children[spec.name] = child
            self._listener.handle_started(child)
            try:
                code = await self._serve(child)
            finally:
                self._states[spec.name] = PartState.DOWN
                self._listener.handle_down(child)
                child.close()
            if self._is_stopping or self._ended.done():
                return None
            outcome = self._judge_end(spec, code)
            if outcome is None:
                delay_s = policy.record_crash(clock.time())
                if delay_s is not None:
                    _log.warning("the %s ended (%s): starting it again", spec.name, describe_code(code))
                    self._restarts[spec.name] += 1
                    await asyncio.sleep(delay_s)
                    if self._is_stopping or self._ended.done():
                        return None
                    self._states[spec.name] = PartState.STARTING
                    continue
                outcome = Outcome(
                    1,
                    f"the {spec.name} ended {policy.max_crashes} times within {policy.window_s:.0f} s "
                    f"(the last time: {describe_code(code)}); its own lines above say why",
                    is_error=True,
                )
            return self.end(outcome)

    def _judge_end(self, spec: ChildSpec, code: int) -> Outcome | None:
        """Return what an unwanted end of a process means for the session; None: start it again."""
        if spec.name in self._never_ready and code <= 128:
            # It said why and left: a second try would say the same.
            return Outcome(
                1,
                f"the {spec.name} could not start ({describe_code(code)}); its own lines above say why, and "
                "`heliograph doctor` says what is missing on this machine",
                is_error=True,
            )
        if not spec.restarts:
            return Outcome(1, f"the {spec.name} ended without warning ({describe_code(code)})", is_error=True)
        return None

    async def _serve(self, child: ChildProcess) -> int:
        """Handle a process's messages until it has ended; return its exit code."""
        async with asyncio.TaskGroup() as tasks:
            messages = tasks.create_task(self._receive(child))
            code = await child.wait()
            # Its last words may still be in the socket.
            await asyncio.wait([messages], timeout=_LAST_MESSAGES_S)
            messages.cancel()
        return code

    async def _receive(self, child: ChildProcess) -> None:
        try:
            while (message := await child.link.receive()) is not None:
                self._handle(child, message)
        except LinkError as error:
            _log.error("the %s broke its control link: %s", child.name, error)
        if not self._is_stopping:
            # Without its control link it cannot be told anything.
            await child.end(STOP_PATIENCE_S)

    def _handle(self, child: ChildProcess, message: Message) -> None:
        if message.type == "ready":
            self._states[child.name] = PartState.READY
            self._never_ready.discard(child.name)
            if not self._never_ready:
                self._all_ready.set()
        elif isinstance(message, Exited):
            self.end(Outcome(message.code, f"the guest's program ended ({describe_code(message.code)})"))
        elif isinstance(message, Error):
            _log.warning("the %s says: %s", child.name, message.message)
        self._listener.handle_message(child, message)


def describe_code(code: int) -> str:
    """Say an exit code in words: `exit code 3`, `signal 9`."""
    return f"signal {code - 128}" if code > 128 else f"exit code {code}"
