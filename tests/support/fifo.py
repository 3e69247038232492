# SPDX-License-Identifier: Apache-2.0
"""Reads what a guest program writes, as it comes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class Fifo:
    """A FIFO in the file system that stays open for reading. Lines wait until they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Open for writing too: so there is no end of file between two writers.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._data = b""

    async def read_line(self) -> str:
        async with asyncio.timeout(60):
            while b"\n" not in self._data:
                readable = asyncio.Event()
                loop = asyncio.get_running_loop()
                loop.add_reader(self._fd, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(self._fd)
                self._data += os.read(self._fd, 65536)
        line, self._data = self._data.split(b"\n", 1)
        return line.decode()

    def close(self) -> None:
        os.close(self._fd)
