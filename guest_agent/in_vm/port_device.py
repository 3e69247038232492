# SPDX-License-Identifier: Apache-2.0
"""The guest's end of a virtio-serial port: a character device that nobody may listen to on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

PORTS = Path("/sys/class/virtio-ports")
# Two texts of the largest size, escaped.
MAX_UNSENT_BYTES = 8 << 20

_READ_BYTES = 65536
_RETRY_SECONDS = 0.5


class PortError(Exception):
    """The port cannot be used; the text says why."""


def find_port(name: str, ports: Path = PORTS) -> Path:
    """Return the device of the port with this name.

    Raises:
        PortError: the machine has none.
    """
    for folder in sorted(ports.glob("*")):
        with contextlib.suppress(OSError):
            if (folder / "name").read_text(encoding="utf-8").strip() == name:
                return Path("/dev") / folder.name
    raise PortError(f"this machine has no virtio-serial port {name}")


class PortDevice:
    """A port, or anything else that can be read and written as one (a socket); loop thread only."""

    def __init__(self, fd: int) -> None:
        """Take the file descriptor over."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._is_waiting = False

    @classmethod
    def open(cls, path: Path) -> PortDevice:
        """Open a port's device.

        Raises:
            PortError: another agent has it, or we may not.
        """
        try:
            return cls(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            raise PortError(f"{path}: {error.strerror}") from error

    async def read(self) -> bytes:
        """Wait for bytes from the host, however long it takes until somebody is there. Cancelling is safe.

        Raises:
            PortError: the port is gone.
        """
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                await self._wait_readable()
                continue
            except OSError as error:
                raise PortError(f"the port is gone: {error.strerror}") from error
            if data:
                return data
            # Nobody is at the host's end: the device is readable all the time then.
            await asyncio.sleep(_RETRY_SECONDS)

    async def _wait_readable(self) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(self._fd, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._fd)

    def write(self, data: bytes) -> bool:
        """Queue bytes; False when the host does not read: nothing of them is sent then."""
        if len(self._unsent) + len(data) > MAX_UNSENT_BYTES:
            return False
        self._unsent += data
        self._flush()
        return True

    def _flush(self) -> None:
        while self._unsent:
            try:
                sent = os.write(self._fd, self._unsent[:_READ_BYTES])
            except BlockingIOError:
                break
            except OSError:
                # Reading tells.
                self._unsent.clear()
                break
            del self._unsent[:sent]
        if bool(self._unsent) != self._is_waiting:
            self._is_waiting = not self._is_waiting
            if self._is_waiting:
                self._loop.add_writer(self._fd, self._flush)
            else:
                self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Close the port. May be called twice."""
        if self._fd >= 0:
            if self._is_waiting:
                self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
