# SPDX-License-Identifier: Apache-2.0
"""A real X server with guest programs on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guest_agent.children import Child, Children
from guest_agent.display_server import XorgServer
from guest_agent.screen import Screen
from guest_agent.x_connection import XConnection
from tests.support.fifo import Fifo


@dataclass
class Guest:
    """An X server with the agent's connection to it, and what guest programs need."""

    directory: Path
    children: Children
    server: XorgServer
    x: XConnection
    screen: Screen
    resized: list[tuple[int, int]]
    environment: dict[str, str]

    def start(self, *command: str) -> Child:
        return self.children.start(command[0], command, environment=self.environment)

    async def run(self, *command: str) -> None:
        """Run a program to its end."""
        assert await self.start(*command).ended == 0

    def start_terminal(self, command: str, arguments: Sequence[str] = ()) -> Fifo:
        """Start xterm at the screen's left upper corner; what `command` prints is to be read."""
        fifo = Fifo(self.directory / "terminal")
        shell = f"{{ {command}; }} > {shlex.quote(str(fifo.path))}"
        self.start("xterm", "-u8", "-geometry", "60x10+0+0", *arguments, "-e", "sh", "-c", shell)
        return fifo
