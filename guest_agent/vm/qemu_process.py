# SPDX-License-Identifier: Apache-2.0
"""A QEMU that we start: its sockets, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

from guest_agent.children import Child, Children
from guest_agent.vm.qemu_command import QemuCommand

_log = logging.getLogger(__name__)

# Between two looks for a socket that QEMU has yet to make; there is no event for it.
_LOOK_S = 0.02


class QemuError(Exception):
    """QEMU did not start, or has ended."""


class QemuProcess:
    """Loop thread only. The process ends with this one.

    Attributes:
        command: what runs.
        ended: becomes the exit code, 128 + n for a signal.
    """

    def __init__(self, children: Children, command: QemuCommand) -> None:
        """Start it.

        Raises:
            ChildError: it cannot be run.
        """
        self.command = command
        _log.debug("starting %s", " ".join(command.words))
        self._child: Child = children.start(
            "QEMU", command.words, environment=dict(os.environ), death_signal=signal.SIGKILL
        )
        self.ended = self._child.ended

    @property
    def pid(self) -> int:
        return self._child.pid

    async def connect(self, path: Path) -> socket.socket:
        """Connect to a socket that QEMU makes while it starts. Cancelling is safe.

        Raises:
            QemuError: it has ended instead; its own lines say why.
        """
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                await asyncio.get_running_loop().sock_connect(sock, os.fspath(path))
                return sock
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                sock.close()
            except BaseException:
                sock.close()
                raise
            if self.ended.done():
                raise QemuError(f"QEMU ended with code {self.ended.result()}; its own lines above say why")
            await asyncio.wait((self.ended,), timeout=_LOOK_S)
