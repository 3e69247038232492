# SPDX-License-Identifier: Apache-2.0
"""A QEMU that we start: its sockets, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from pathlib import Path

from guest_agent.children import Child, ChildError, Children
from guest_agent.vm.qemu_command import QemuCommand
from guest_agent.vm.qemu_output import QemuOutput

_log = logging.getLogger(__name__)

# Between two looks for a socket that QEMU has yet to make; there is no event for it.
_LOOK_S = 0.02
# QEMU's sockets close before its end is known, and its last words may come after that.
_END_S = 2.0


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
            QemuError: it cannot be run.
        """
        self.command = command
        self._output = QemuOutput()
        _log.debug("starting %s", " ".join(command.words))
        try:
            # Its stdout may be a serial port's: not cut into lines.
            self._child: Child = children.start(
                *("QEMU", command.words),
                environment=dict(os.environ),
                death_signal=signal.SIGKILL,
                output_fd=self._output.fd,
                stdout_fd=2,
            )
        except ChildError as error:
            self._output.close()
            raise QemuError(
                f"{error}: apt-get install qemu-system-x86, or in Heliograph's tree ./setup.sh qemu"
            ) from error
        self._output.start()
        self.ended = self._child.ended

    @property
    def pid(self) -> int:
        return self._child.pid

    async def has_ended(self) -> bool:
        """Whether QEMU has ended, or does so within a moment. Cancelling is safe."""
        await asyncio.wait((self.ended,), timeout=_END_S)
        return self.ended.done()

    async def tell_end(self) -> str:
        """Say in words how it has ended, and what to do about it, once all that it said itself is passed on."""
        code = self.ended.result()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._output.wait_ended()
        how = f"code {code}" if code <= 128 else f"signal {code - 128}"
        return f"QEMU ended with {how}" + (f": {self._output.advice}" if code and self._output.advice else "")

    def close(self) -> None:
        """Hear no more of it; it goes on until its parent ends it."""
        self._output.close()

    async def connect(self, path: Path) -> socket.socket:
        """Connect to a socket that QEMU makes while it starts. Cancelling is safe.

        Raises:
            QemuError: it has ended instead.
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
                raise QemuError(f"QEMU ended with code {self.ended.result()}")
            await asyncio.wait((self.ended,), timeout=_LOOK_S)
