# SPDX-License-Identifier: Apache-2.0
"""A terminal in a session that writes down, byte by byte, what is typed into it."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.session import Session, SessionStarter

WAIT_S = 60.0
_POLL_S = 0.02


class Terminal:
    """`xterm` as a session's guest, in raw mode: control characters are written down too."""

    def __init__(self, start_session: SessionStarter, directory: Path, repeats: bool) -> None:
        self._path = directory / "typed"
        command = f"xset r {'on' if repeats else 'off'}; stty raw -echo; exec cat >> {shlex.quote(str(self._path))}"
        self.session: Session = start_session.run("xterm", "-u8", "-geometry", "80x24+0+0", "-e", "sh", "-c", command)

    @classmethod
    async def start(cls, start_session: SessionStarter, directory: Path, *, repeats: bool = False) -> Terminal:
        """Start it, and wait until it takes text. `repeats`: held keys, which a busy machine holds for long."""
        terminal = await asyncio.to_thread(cls, start_session, directory, repeats)
        await terminal._wait(terminal._path.exists)
        return terminal

    @property
    def text(self) -> str:
        return self._path.read_bytes().decode(errors="replace")

    async def _wait(self, is_there: Callable[[], bool]) -> bool:
        deadline_s = time.monotonic() + WAIT_S
        while not is_there():
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def expect(self, text: str) -> None:
        """Wait for exactly this text, and begin anew."""
        await self._wait(lambda: len(self.text) >= len(text))
        assert self.text == text
        self.forget()

    async def wait_longer(self, count: int) -> None:
        """Wait until there are more characters than that."""
        assert await self._wait(lambda: len(self.text) > count)

    async def wait_for(self, text: str) -> None:
        """Wait until this is what came last."""
        assert await self._wait(lambda: self.text.endswith(text)), self.text

    def forget(self) -> None:
        with self._path.open("r+b") as file:
            file.truncate(0)
