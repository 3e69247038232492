# SPDX-License-Identifier: Apache-2.0
"""Selkies, from its Python package, in both of its modes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.peers.product import (
    PEERS,
    Running,
    folder,
    free_port,
    guest_on,
    process,
    wait_line,
    wait_port,
)

_VENV = PEERS / "selkies"
INSTALL = (
    ("python3", "-m", "venv", str(_VENV)),
    (str(_VENV / "bin/pip"), "install", "--quiet", "selkies"),
)


class Selkies:
    """On an X server as our sessions have it; its defaults (h264enc, by x264 without a GPU) without login and sound."""

    def __init__(self, mode: str) -> None:
        """`mode`: websockets or webrtc."""
        self._mode = mode
        self.name = f"selkies {mode}"

    def missing(self) -> str | None:
        return None if (_VENV / "bin/selkies").exists() else "make bench-peers"

    def version(self) -> str:
        command = "from importlib.metadata import version; print(version('selkies'), 'pixelflux', version('pixelflux'))"
        found = subprocess.run([_VENV / "bin/python", "-c", command], capture_output=True, text=True, check=False)
        return found.stdout.strip() or "unknown"

    @asynccontextmanager
    async def running(self, size: tuple[int, int], fps: int, guest: Sequence[str]) -> AsyncIterator[Running]:
        width, height = str(size[0]), str(size[1])
        port = free_port()
        command = [str(_VENV / "bin/selkies"), "--mode", self._mode, "--port", str(port), "--enable-basic-auth=false"]
        command += ["--audio-enabled=false", "--manual-resolution=true", f"--manual-width={width}"]
        command += [f"--manual-height={height}", f"--framerate={fps}"]
        with folder() as place:
            log, output = place / "selkies.log", place / "display.log"
            server_command = [sys.executable, "-m", "bench.peers.display", str(place), width, height]
            with process(server_command, output) as server:
                display, authority = (await wait_line(place / "display", server, output)).split()
                environment = {"DISPLAY": display, "XAUTHORITY": authority, "HOME": str(place)}
                with process(command, log, environment) as selkies:
                    await wait_port(port, selkies, log)
                    async with guest_on(environment, guest, place / "guest.log"):
                        yield Running(f"http://localhost:{port}/", (server.pid, selkies.pid))
