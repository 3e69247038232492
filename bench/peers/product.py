# SPDX-License-Identifier: Apache-2.0
"""What a product under measurement does for the benchmark, and what they share to do it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PEERS = Path("build/peers")
_START_S = 60.0
_STOP_S = 10.0


class ProductError(Exception):
    """A product did not start; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Running:
    """A product that serves a screen with the guest program on it.

    Attributes:
        url: what a person would open.
        roots: processes whose trees are the server's side; the guest program may be among them.
    """

    url: str
    roots: tuple[int, ...]


class Product(Protocol):
    """One product in one mode."""

    name: str

    def missing(self) -> str | None:
        """Return the command that installs what is missing, None when all is there."""

    def version(self) -> str:
        """Return its version; only when nothing is missing."""

    def running(self, size: tuple[int, int], fps: int, guest: Sequence[str]) -> AbstractAsyncContextManager[Running]:
        """Start it with a screen of this size and `guest` on it; end both.

        Raises:
            ProductError: it did not start.
        """


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for what a product writes; its path is short, sockets are made in it."""
    with tempfile.TemporaryDirectory(prefix="hg-peer-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] = {}
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program below this one, its output in `log`; end it, by force if need be. It ends when this one does."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


async def wait_port(port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a program takes connections.

    Raises:
        ProductError: it ended, or took too long.
    """
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and started.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.05)
    raise ProductError(f"{started.args!r} does not listen: {tail(log)}")


async def wait_line(path: Path, started: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the first whole line in a file that a program writes.

    Raises:
        ProductError: it ended, or took too long.
    """
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and started.poll() is None:
        if (line := _first_line(path)) is not None:
            return line
        await asyncio.sleep(0.05)
    raise ProductError(f"{started.args!r} did not start: {tail(log)}")


def _first_line(path: Path) -> str | None:
    text = path.read_text() if path.exists() else ""
    return text.splitlines()[0] if text.endswith("\n") else None


def tail(log: Path) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-600:] if log.exists() else "no log"


def free_port() -> int:
    """Return a TCP port that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def debian_version(package: str) -> str:
    """Return an installed package's version."""
    if shutil.which("dpkg-query") is None:
        return "unknown"
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


@asynccontextmanager
async def guest_on(display: Mapping[str, str], command: Sequence[str], log: Path) -> AsyncIterator[None]:
    """Run a guest program on a display.

    Raises:
        ProductError: it ended at once.
    """
    with process(command, log, display) as started:
        await asyncio.sleep(0.3)
        if started.poll() is not None:
            raise ProductError(f"the guest program ended: {tail(log)}")
        yield
