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
from guest_agent.sound_socket import serve_newest, wait_gone_or

# What the recorder hands on at a time, and what the sound server mixes ahead while it records.
FRAGMENT_MS = 10

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
        await serve_newest(self._fd, self._serve)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.setblocking(False)
            recorder = self._start(sock)
            if recorder is None:
                return
            try:
                await wait_gone_or(sock, _wait_ended(recorder))
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


async def _wait_ended(recorder: Child) -> None:
    code = await asyncio.shield(recorder.ended)
    _log.info("the sound recorder ended with code %d", code)
