# SPDX-License-Identifier: Apache-2.0
"""TigerVNC's Xvnc behind noVNC, from Debian's packages."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.peers.product import (
    Running,
    debian_version,
    folder,
    free_port,
    guest_on,
    process,
    wait_line,
    wait_port,
)

PAGES = Path("/usr/share/novnc")
INSTALL = (("apt-get", "install", "-y", "tigervnc-standalone-server", "novnc", "websockify"),)


class NoVnc:
    """An X server of its own; vnc.html with its defaults (quality 6, compression 2), its picture not scaled."""

    name = "tigervnc + novnc"

    def missing(self) -> str | None:
        is_there = shutil.which("Xvnc") and shutil.which("websockify") and (PAGES / "vnc.html").exists()
        return None if is_there else " ".join(INSTALL[0])

    def version(self) -> str:
        return f"{debian_version('tigervnc-standalone-server')}, novnc {debian_version('novnc')}"

    @asynccontextmanager
    async def running(self, size: tuple[int, int], fps: int, guest: Sequence[str]) -> AsyncIterator[Running]:
        vnc_port, port = free_port(), free_port()
        with folder() as place:
            log, output = place / "xvnc.log", place / "websockify.log"
            command = ["Xvnc", "-displayfd", "1", "-geometry", f"{size[0]}x{size[1]}", "-depth", "24"]
            command += ["-rfbport", str(vnc_port), "-localhost", "-SecurityTypes", "None", "-FrameRate", str(fps)]
            with process(["sh", "-c", 'exec "$@" >"$0"', str(place / "display"), *command], log) as server:
                display = f":{await wait_line(place / 'display', server, log)}"
                await wait_port(vnc_port, server, log)
                bridge = ["websockify", "--web", str(PAGES), str(port), f"127.0.0.1:{vnc_port}"]
                with process(bridge, output) as websockify:
                    await wait_port(port, websockify, output)
                    async with guest_on({"DISPLAY": display}, guest, place / "guest.log"):
                        url = f"http://localhost:{port}/vnc.html?autoconnect=1&resize=off"
                        yield Running(url, (server.pid, websockify.pid))
