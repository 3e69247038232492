# SPDX-License-Identifier: Apache-2.0
"""The test's end of the line to the guest program `observer`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.session import Session, SessionStarter

WAIT_S = 60.0


class ObservedGuest:
    """A session whose guest tells what it gets. `seen` are its messages, oldest first."""

    def __init__(self, directory: Path) -> None:
        self.session: Session
        self.seen: list[dict[str, Any]] = []
        self._directory = directory
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        while line := await reader.readline():
            self.seen.append(json.loads(line))
            self._changed.set()
        writer.close()

    async def wait(self, is_there: Callable[[], Any]) -> None:
        """Wait until something holds of what was seen."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not is_there():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"the guest saw only {self.seen[-40:]}\n{self.session.log[-3000:]}") from None

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.seen if message["is"] == kind]

    async def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for that many messages of a kind since the last `forget()`."""
        await self.wait(lambda: len(self.all(kind)) >= count)
        return self.all(kind)

    async def wait_seen(self, message: dict[str, Any]) -> None:
        """Wait for exactly this message."""
        await self.wait(lambda: message in self.seen)

    def forget(self) -> None:
        self.seen.clear()

    async def ask(self, answer: str, **order: Any) -> dict[str, Any]:
        """Send an order, wait for its answer."""
        assert self._writer is not None
        before = len(self.all(answer))
        self._writer.write(json.dumps(order).encode() + b"\n")
        return (await self.wait_for(answer, before + 1))[before]

    async def run(self, *command: str, text: str = "") -> str:
        """Run a program in the guest; return what it prints."""
        result = await self.ask("ran", do="run", command=command, input=text)
        assert result["code"] == 0, (command, result)
        return str(result["output"])

    async def screenshot(self) -> npt.NDArray[np.uint8]:
        """Return what the guest's X server shows: (height, width, 3), RGB."""
        path = self._directory / "pixels"
        answer = await self.ask("screenshot", do="screenshot", path=str(path))
        pixels = np.frombuffer(path.read_bytes(), np.uint8).reshape(answer["height"], answer["width"], 4)
        return np.ascontiguousarray(pixels[:, :, 2::-1])

    async def pointer(self) -> tuple[int, int]:
        """Return where the guest's pointer is."""
        answer = await self.ask("pointer", do="pointer")
        return answer["x"], answer["y"]


@asynccontextmanager
async def observed_guest(start_session: SessionStarter, *options: str) -> AsyncIterator[ObservedGuest]:
    """Start `heliograph run` with the observer as its guest."""
    with tempfile.TemporaryDirectory(prefix="observer-") as folder:
        guest = ObservedGuest(Path(folder))
        path = str(Path(folder, "socket"))
        server = await asyncio.start_unix_server(guest.serve, path, limit=1 << 24)
        command = (sys.executable, "-m", "tests.support.guest_programs.observer", path)
        try:
            guest.session = await asyncio.to_thread(start_session, "run", *options, "--", *command)
            await guest.wait_for("ready")
            yield guest
        finally:
            server.close()
            await asyncio.to_thread(start_session.close)
