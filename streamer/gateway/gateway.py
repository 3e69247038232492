# SPDX-License-Identifier: Apache-2.0
"""One session from its start to its end: wires HTTP, access, viewers and the three processes together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Mapping

from guest_agent.messages import AgentReady, Graphics, Message, Metrics, MetricsRequest, StreamerReady, WorkerReady
from streamer.config import Settings, runtime_directory, vulkan_environment
from streamer.gateway.access import Access, Role
from streamer.gateway.child import ChildProcess
from streamer.gateway.commands import agent_spec, streamer_spec, vm_agent_spec, worker_spec
from streamer.gateway.errors import GatewayError
from streamer.gateway.orphans import Orphanage
from streamer.gateway.server import Server
from streamer.gateway.session_dir import SessionDir, sweep
from streamer.gateway.supervisor import Outcome, PartState, Supervisor
from streamer.gateway.viewers import Viewers

START_TIMEOUT_S = 60.0
_METRICS_TIMEOUT_S = 5.0
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logging.getLogger(__name__)


async def serve(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve one session until its guest ends, a signal comes, or it cannot go on.

    Args:
        announce: called once, with the control link, when a client can connect.

    Returns:
        The exit code: the guest's, 128 + n for a signal to us, 1 when a part of ours failed.

    Raises:
        GatewayError: the session could not begin.
    """
    orphanage = Orphanage()
    base = runtime_directory()
    sweep(base)
    try:
        with SessionDir.create(base) as session_dir:
            return await _Gateway(settings, session_dir).run(announce)
    finally:
        orphanage.kill_all()


class _Gateway:
    """The parts of a session. Is the supervisor's Listener and the server's Health."""

    def __init__(self, settings: Settings, session_dir: SessionDir) -> None:
        display = session_dir.listen("display.sock", socket.SOCK_SEQPACKET)
        frames = session_dir.listen("frames.sock", socket.SOCK_SEQPACKET)
        agent = session_dir.listen("agent.sock", socket.SOCK_STREAM)
        sound = session_dir.listen("sound.sock", socket.SOCK_STREAM) if settings.has_audio else None
        sound_fd = sound.fileno() if sound is not None else None
        path = session_dir.path
        display_path = path / "display.sock"
        if settings.mode == "vm":
            guest = session_dir.listen("machine.sock", socket.SOCK_SEQPACKET)
            guest_agent = vm_agent_spec(settings, agent.fileno(), display_path, path / "machine.sock", path, sound_fd)
        else:
            # Each program that draws connects here: those that come while a worker restarts wait.
            guest = session_dir.listen("venus.sock", socket.SOCK_STREAM, backlog=128)
            guest_agent = agent_spec(settings, agent.fileno(), display_path, path / "venus.sock", path, sound_fd)
        worker = worker_spec(settings, display.fileno(), frames.fileno(), guest.fileno(), vulkan_environment())
        sound_path = path / "sound.sock" if sound is not None else None
        streamer = streamer_spec(settings, path / "frames.sock", path / "agent.sock", sound_path)
        self._streamer_name = streamer.name
        self._agent_name = guest_agent.name
        self._settings = settings
        self._viewers = Viewers()
        self._access = Access(session_dir.session_id)
        self._supervisor = Supervisor((worker, streamer, guest_agent), self)
        self._server = Server(settings, self._access, self._viewers, self)
        self._graphics: Graphics | None = None
        self._metrics: asyncio.Future[Mapping[str, float]] | None = None
        self._is_ending = False

    async def run(self, announce: Callable[[str], None]) -> int:
        loop = asyncio.get_running_loop()
        for number in _END_SIGNALS:
            loop.add_signal_handler(number, self._handle_signal, number)
        try:
            await self._server.listen()
            return await self._run_session(announce)
        finally:
            await self._server.close()
            for number in _END_SIGNALS:
                loop.remove_signal_handler(number)

    async def _run_session(self, announce: Callable[[str], None]) -> int:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._supervisor.run())
            starting = tasks.create_task(self._announce(announce))
            outcome = await self._supervisor.wait_ended()
            starting.cancel()
            _log.log(logging.ERROR if outcome.is_error else logging.INFO, "the session ends: %s", outcome.reason)
            self._viewers.end_session(outcome.reason)
            await self._supervisor.stop()
            running.cancel()
        return outcome.code

    async def _announce(self, announce: Callable[[str], None]) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._supervisor.wait_ready()
        except TimeoutError:
            waiting = ", ".join(name for name, state in self.parts().items() if state != PartState.READY)
            reason = f"not ready within {START_TIMEOUT_S:.0f} s: {waiting}; `heliograph doctor` looks for the cause"
            return self._supervisor.end(Outcome(1, reason, is_error=True))
        if self._settings.exposed and not self._settings.secure:
            _log.warning(
                "other machines can reach this session, and the connection is not encrypted: who can listen in can "
                "take it over; browsers withhold the clipboard and keyboard lock from such pages"
            )
        announce(self._server.url(Role.CONTROL))

    def _handle_signal(self, number: signal.Signals) -> None:
        if self._is_ending:
            self._supervisor.kill()  # whoever asks twice does not want to wait
        self._is_ending = True
        self._supervisor.end(Outcome(128 + number, f"{number.name} was received"))

    # Listener

    def handle_started(self, child: ChildProcess) -> None:
        if child.name == self._agent_name and self._graphics is not None:
            child.send(self._graphics)

    def handle_message(self, child: ChildProcess, message: Message) -> None:
        if isinstance(message, StreamerReady):
            _log.info("the streamer is ready (encoder %s)", message.encoder)
            self._viewers.attach_streamer(child.send, child.link.drain)
        elif isinstance(message, WorkerReady):
            self._handle_worker_ready(message)
        elif isinstance(message, AgentReady):
            _log.info("the guest is ready (display %s)", message.display)
        elif isinstance(message, Metrics):
            if self._metrics is not None and not self._metrics.done():
                self._metrics.set_result(message.values)
        else:
            self._viewers.handle_streamer_message(message)

    def _handle_worker_ready(self, message: WorkerReady) -> None:
        venus = "" if message.venus else ", no Venus"
        _log.info(
            "the render worker is ready (%s: %s, convert %s%s)", message.kind, message.device, message.convert, venus
        )
        self._graphics = Graphics(message.kind, message.venus)
        agent = self._supervisor.child(self._agent_name)
        if agent is not None:
            agent.send(self._graphics)

    def handle_down(self, child: ChildProcess) -> None:
        if child.name == self._streamer_name:
            self._viewers.detach_streamer()
            if self._metrics is not None and not self._metrics.done():
                self._metrics.set_result({})

    # Health

    def parts(self) -> Mapping[str, str]:
        return {name.replace(" ", "_"): str(state) for name, state in self._supervisor.states.items()}

    async def metrics(self) -> Mapping[str, float]:
        streamer = self._supervisor.child(self._streamer_name)
        values: Mapping[str, float] = {}
        if streamer is not None and self._supervisor.states[self._streamer_name] is PartState.READY:
            if self._metrics is None or self._metrics.done():
                self._metrics = asyncio.get_running_loop().create_future()
                streamer.send(MetricsRequest())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_METRICS_TIMEOUT_S):
                    values = await asyncio.shield(self._metrics)
        restarts = {f"{name.replace(' ', '_')}_restarts": count for name, count in self._supervisor.restarts.items()}
        return {**values, **restarts}


def run(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve one session on a loop of its own, as `serve()` does; errors go to the log, exit code 1."""
    try:
        return asyncio.run(serve(settings, announce))
    except GatewayError as error:
        _log.error("%s", error)
        return 1
