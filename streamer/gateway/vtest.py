# SPDX-License-Identifier: Apache-2.0
"""Serves Venus clients on one socket: a render worker of its own for each, the next one always waiting.

All workers share the listening socket. One of them, the spare, waits in accept(); when it has taken a client, it says
so on its guard link, and the next spare is started. Clients that come faster wait in the socket's backlog.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from guest_agent.link import LinkError
from guest_agent.messages import Error, WorkerReady
from streamer.config import VtestSettings, vulkan_environment
from streamer.gateway.child import ChildProcess, ChildSpec
from streamer.gateway.commands import vtest_worker_spec
from streamer.gateway.errors import ChildStartError, GatewayError
from streamer.gateway.public_socket import PublicSocket
from streamer.gateway.restarts import RestartPolicy
from streamer.gateway.supervisor import describe_code

# What a worker may take to end its client: it waits for the GPU first.
_STOP_PATIENCE_S = 8.0
_BACKLOG = 128
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logging.getLogger(__name__)


class VtestError(GatewayError):
    """No clients can be served; the text says why."""


async def serve(settings: VtestSettings, announce: Callable[[str], None]) -> int:
    """Serve clients until a signal comes.

    Args:
        announce: called once, with the socket's path, when a worker waits for a client.

    Returns:
        The exit code, 0.

    Raises:
        GatewayError: the socket cannot be had, or workers cannot be run.
    """
    with PublicSocket.listen(settings.socket, settings.socket_mode, _BACKLOG) as public:
        server = _Server(settings, public.listener)
        return await server.run(lambda: announce(os.fspath(settings.socket)))


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker and what it is doing."""

    child: ChildProcess
    number: int
    has_client: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class _Server:
    """Keeps a spare worker. Loop thread only; `run()` owns all tasks."""

    def __init__(self, settings: VtestSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._spec: ChildSpec = vtest_worker_spec(settings, listener.fileno(), vulkan_environment())
        self._workers: set[_Worker] = set()
        self._last_number = 0
        self._policy = RestartPolicy()
        self._was_ready = False
        self._is_stopping = False
        self._changed = asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._announce: Callable[[], None] = lambda: None

    async def run(self, announce: Callable[[], None]) -> int:
        """Serve until a signal comes; return 0.

        Raises:
            GatewayError: workers cannot be run.
        """
        self._announce = announce
        loop = asyncio.get_running_loop()
        for number in _END_SIGNALS:
            loop.add_signal_handler(number, self._handle_signal, number)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep_spare(tasks))
                try:
                    await asyncio.shield(self._over)
                finally:
                    keeping.cancel()
                    await self._stop()
        except* GatewayError as group:
            raise group.exceptions[0] from None
        finally:
            for number in _END_SIGNALS:
                loop.remove_signal_handler(number)
        return 0

    def _handle_signal(self, number: signal.Signals) -> None:
        if self._over.done():
            for worker in self._workers:
                worker.child.signal(signal.SIGKILL)  # whoever asks twice does not want to wait
            return
        _log.info("%s was received: ending", number.name)
        self._over.set_result(None)

    async def _keep_spare(self, tasks: asyncio.TaskGroup) -> None:
        """Start a worker whenever none waits for a client, and one more may be."""
        delay_s = 0.0
        while True:
            self._changed.clear()
            if any(not worker.has_client for worker in self._workers) or self._is_full():
                await self._changed.wait()
                continue
            await asyncio.sleep(delay_s)
            worker = await self._start()
            tasks.create_task(self._watch(worker))
            await self._wait_for_client_or_end(worker)
            delay_s = 0.0
            if not worker.has_client:
                found = self._policy.record_crash(asyncio.get_running_loop().time())
                if found is None or not self._was_ready:
                    raise VtestError(
                        "render workers end before they serve a client; their own lines above say why, and `heliograph "
                        "doctor` says what is missing on this machine"
                    )
                delay_s = found

    def _is_full(self) -> bool:
        return len(self._workers) >= self._settings.max_clients

    async def _wait_for_client_or_end(self, worker: _Worker) -> None:
        while not worker.has_client and not worker.ended.is_set():
            self._changed.clear()
            await self._changed.wait()

    async def _start(self) -> _Worker:
        self._last_number += 1
        clients: list[_Worker] = []

        def handle_client() -> None:
            for worker in clients:
                self._handle_client(worker)

        worker = _Worker(await ChildProcess.start(self._spec, handle_client), self._last_number)
        clients.append(worker)
        self._workers.add(worker)
        return worker

    def _handle_client(self, worker: _Worker) -> None:
        worker.has_client = True
        serving = sum(other.has_client for other in self._workers)
        _log.info("render worker %d (process %d) has a client; %d served", worker.number, worker.child.pid, serving)
        if serving >= self._settings.max_clients:
            _log.warning("no more than %d clients are served at once: others wait", self._settings.max_clients)
        self._changed.set()

    async def _watch(self, worker: _Worker) -> None:
        """Follow a worker to its end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                messages = tasks.create_task(self._receive(worker))
                code = await worker.child.wait()
                messages.cancel()
            if not self._is_stopping:
                level = logging.INFO if code == 0 else logging.WARNING
                _log.log(level, "render worker %d ended (%s)", worker.number, describe_code(code))
        finally:
            worker.child.close()
            worker.ended.set()
            self._workers.discard(worker)
            self._changed.set()

    async def _receive(self, worker: _Worker) -> None:
        try:
            while (message := await worker.child.link.receive()) is not None:
                if isinstance(message, WorkerReady):
                    self._handle_ready(message)
                elif isinstance(message, Error):
                    _log.warning("render worker %d says: %s", worker.number, message.message)
        except LinkError as error:
            _log.error("render worker %d broke its control link: %s", worker.number, error)
            worker.child.signal(signal.SIGKILL)

    def _handle_ready(self, message: WorkerReady) -> None:
        if not self._was_ready:
            self._was_ready = True
            _log.info("clients are served on %s (%s)", message.device, message.kind)
            self._announce()

    async def _stop(self) -> None:
        """Ask all workers to end: they mark their clients' rings, and then close the sockets."""
        self._is_stopping = True
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                worker.child.link.close()
                tasks.create_task(self._end(worker))

    async def _end(self, worker: _Worker) -> None:
        await worker.child.end(_STOP_PATIENCE_S)
        worker.child.close()  # even one that cannot be killed is not waited for


def run(settings: VtestSettings, announce: Callable[[str], None]) -> int:
    """Serve on a loop of its own, as `serve()` does; errors go to the log, exit code 1."""
    try:
        return asyncio.run(serve(settings, announce))
    except (GatewayError, ChildStartError) as error:
        _log.error("%s", error)
        return 1
