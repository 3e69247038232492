# SPDX-License-Identifier: Apache-2.0
"""What the session plays, for who connects to the sound socket (`docs/protocol/sound-link.md`).

A recorder writes straight into the connection: no sample passes through the agent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping

from guest_agent.children import Child, ChildError, Children
from guest_agent.sound import CHANNELS, RATE_HZ, SINK, SoundPrograms

# What the recorder hands on at a time, and what the sound server mixes ahead while it records.
FRAGMENT_MS = 10
# Also how long a client that comes again and again has to wait.
_PAUSE_S = 0.1

_log = logging.getLogger(__name__)


class SoundTap:
    """Serves the listening socket `fd`, which it takes over. One connection at a time; a new one replaces the old.

    Args:
        programs: None where the session has no sound: connections are closed at once.
        environment: what leads the recorder to the sound server.
    """

    def __init__(
        self, children: Children, programs: SoundPrograms | None, environment: Mapping[str, str], fd: int
    ) -> None:
        self._children = children
        self._programs = programs
        self._environment = environment
        self._fd = fd

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        with socket.socket(fileno=self._fd) as listener:
            listener.setblocking(False)
            async with asyncio.TaskGroup() as tasks:
                serving: asyncio.Task[None] | None = None
                while True:
                    sock, _ = await loop.sock_accept(listener)
                    if serving is not None and not serving.done():
                        serving.cancel()
                        await asyncio.wait([serving])
                    serving = tasks.create_task(self._serve(sock))
                    await asyncio.sleep(_PAUSE_S)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.setblocking(False)
            recorder = self._start(sock)
            if recorder is None:
                return
            try:
                async with asyncio.TaskGroup() as tasks:
                    gone = tasks.create_task(_wait_gone(sock))
                    ended = tasks.create_task(_wait_ended(recorder))
                    await asyncio.wait((gone, ended), return_when=asyncio.FIRST_COMPLETED)
                    gone.cancel()
                    ended.cancel()
            finally:
                # It has nothing to save, and must end even where the guest has stopped it.
                recorder.signal(signal.SIGKILL)

    def _start(self, sock: socket.socket) -> Child | None:
        if self._programs is None:
            return None
        command = (
            *(self._programs.recorder, "--raw", "--format=s16le", f"--rate={RATE_HZ}", f"--channels={CHANNELS}"),
            *(f"--latency-msec={FRAGMENT_MS}", f"--process-time-msec={FRAGMENT_MS}"),
            *("--client-name=Heliograph", "-d", f"{SINK}.monitor"),
        )
        try:
            # It complains when the other end has gone; that is how it is told to stop.
            with open(os.devnull, "wb") as nowhere:
                return self._children.start(
                    "sound recorder",
                    command,
                    environment=self._environment,
                    output_fd=nowhere.fileno(),
                    stdout_fd=sock.fileno(),
                )
        except ChildError as error:
            _log.error("the sound cannot be recorded: %s", error)
            return None


async def _wait_gone(sock: socket.socket) -> None:
    """Wait until the other end has closed; what it sends is thrown away."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(sock, 4096):
            pass
    except OSError:
        pass


async def _wait_ended(recorder: Child) -> None:
    code = await asyncio.shield(recorder.ended)
    _log.info("the sound recorder ended with code %d", code)
