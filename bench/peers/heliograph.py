# SPDX-License-Identifier: Apache-2.0
"""Ours: `heliograph run`, as it is in this tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import report
from bench.peers.product import Running
from bench.visit import running_session


class Heliograph:
    """Its own X server, its defaults but for size, rate, and that the viewer's window does not set the size."""

    name = "heliograph"

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return report.commit()

    @asynccontextmanager
    async def running(self, size: tuple[int, int], fps: int, guest: Sequence[str]) -> AsyncIterator[Running]:
        options = ("--size", f"{size[0]}x{size[1]}", "--fps", str(fps), "--no-resize")
        async with running_session("run", options, guest) as session:
            yield Running(session.url, (session.process.pid,))
