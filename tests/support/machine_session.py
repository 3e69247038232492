# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as a person starts it, by `heliograph vm`, and a shell in its guest."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tests.support.browser import Client
from tests.support.session import Session, SessionStarter
from tests.support.vm import GuestJob, GuestShell, guest_arguments
from tests.support.vm_guest.pattern import centres, pattern

_T = TypeVar("_T")
KEYBOARD = ("-device", "virtio-keyboard-pci")
# See tests/e2e/test_picture.py.
COLOUR_STEPS = (9, 6, 21)
WAIT_S = 90.0
# QEMU's keyboards drop what comes while their queue is full: 64 events, and a guest under emulation is slow.
TYPING_MS = 40


class MachineSession:
    """A session with a machine whose guest has booted."""

    def __init__(self, session: Session, shell: GuestShell) -> None:
        self.session = session
        self.shell = shell

    async def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call what blocks, and let the browser's connection live meanwhile."""
        return await asyncio.to_thread(function, *arguments)

    async def sh(self, command: str) -> str:
        """Run a command in the guest; return what it says. It must succeed."""
        return await self.call(self.shell.check_sh, command)

    async def wait_sh(self, command: str) -> None:
        """Wait until a command of the guest succeeds."""
        await self.call(self.shell.check_sh, f"until {command}; do sleep 0.1; done", WAIT_S)

    @asynccontextmanager
    async def kms(self) -> AsyncIterator[Kms]:
        """Take the guest's screen from its console, and give it back."""
        job = await self.call(self.shell.spawn, "kms serve")
        try:
            yield Kms(self, job)
            job.write(b"quit\n")
        except BaseException:
            job.kill()
            raise
        finally:
            await self.call(job.wait, WAIT_S)


class Kms:
    """The guest's program `kms`, which drives its screens."""

    def __init__(self, machine: MachineSession, job: GuestJob) -> None:
        self._machine = machine
        self.job = job

    async def do(self, line: str) -> str:
        return await self._machine.call(self.job.do, line, WAIT_S)

    async def wait(self, words: str) -> None:
        """Wait until it says so by itself."""
        await self._machine.call(self.job.read_until, words, WAIT_S)


@contextmanager
def machine_session(
    *options: str, devices: tuple[str, ...] = KEYBOARD, host_root: bool = False, memory_mib: int = 256
) -> Iterator[MachineSession]:
    """Start `heliograph vm` with `options` and the test guest with `devices`, and wait until it has booted.

    `host_root`, `memory_mib`: see `guest_arguments()`.
    """
    starter = SessionStarter()
    with tempfile.TemporaryDirectory(prefix="hg-vm-") as name:
        folder = Path(name)
        try:
            command = ("qemu-system-x86_64", *guest_arguments(folder, host_root=host_root, memory_mib=memory_mib))
            session = starter("vm", *options, "--", *command, *devices)
            shell = GuestShell(folder / "shell.sock")
            try:
                shell.wait_ready()
                yield MachineSession(session, shell)
            except BaseException as error:
                error.add_note(session.log[-4000:])
                error.add_note((folder / "console").read_text(errors="replace")[-2000:])
                raise
            finally:
                shell.close()
        finally:
            starter.close()


async def wait_pattern(viewer: Client, width: int, height: int, output: int = 0) -> None:
    """Wait until the page shows the pattern of the guest's output, exact to what colour conversion leaves."""
    expected = pattern(width, height, output)
    places = np.array(centres(width, height))
    told = expected[places[:, 1], places[:, 0]].astype(int)
    off: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                await viewer.wait_picture()
                picture = await viewer.picture()
                if picture.shape == expected.shape:
                    off = np.abs(picture[places[:, 1], places[:, 0]].astype(int) - told).max(0)
                    if (off <= COLOUR_STEPS).all():
                        return
                else:
                    off = picture.shape
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"the page does not show the pattern of {width}x{height}: off by {off}") from None
