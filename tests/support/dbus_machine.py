# SPDX-License-Identifier: Apache-2.0
"""A virtual machine seen through QEMU's D-Bus display, with a fake render worker at the end of the display link."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guest_agent.display_link import run_display_link
from guest_agent.vm.dbus_clipboard import DBusClipboard
from guest_agent.vm.dbus_display import DBusDisplay
from guest_agent.vm.dbus_source import DBusSource
from guest_agent.vm.input_channel import MachineInput, open_input
from guest_agent.vm.qmp import Qmp
from tests.support.fake_worker import FakeWorker


@dataclass
class SeenMachine:
    """What a test has in its hands. `texts`: what the guest has copied; `wishes`: sizes for an agent in it."""

    qmp: Qmp
    display: DBusDisplay
    source: DBusSource
    worker: FakeWorker
    input: MachineInput
    clipboard: DBusClipboard
    texts: list[str] = field(default_factory=list)
    wishes: asyncio.Queue[tuple[int, int, int]] = field(default_factory=asyncio.Queue)
    first_frames: int = 0

    def picture(self, scanout_id: int = 0) -> NDArray[np.uint8]:
        """What the worker sees, RGB (height, width, 3)."""
        shown = self.worker.scanouts[scanout_id]
        pixels = np.frombuffer(self.worker.picture(scanout_id), np.uint8).reshape(shown.height, shown.width, 4)
        return pixels[..., 2::-1]

    async def until_picture(self, wanted: NDArray[np.uint8], scanout_id: int = 0) -> None:
        """Wait until the worker sees just this picture."""

        def is_seen() -> bool:
            shown = self.worker.scanouts.get(scanout_id)
            return shown is not None and (shown.height, shown.width) == wanted.shape[:2] and (
                np.array_equal(self.picture(scanout_id), wanted)
            )  # fmt: skip

        await self.worker.until(is_seen)


@contextlib.asynccontextmanager
async def seen_machine(
    qmp_path: Path, *, wanted: tuple[int, int] = (1024, 768), max_scanouts: int = 2
) -> AsyncIterator[SeenMachine]:
    """Connect to a QEMU that runs, and show it."""
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hg-seen-") as folder, contextlib.ExitStack() as stack:
        path = f"{folder}/display.sock"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(path)
        listener.listen(4)
        worker = FakeWorker(listener, wanted=wanted, max_scanouts=max_scanouts)
        async with await Qmp.connect(str(qmp_path)) as qmp:
            clipboard = DBusClipboard(texts.append)
            display = await DBusDisplay.open(qmp, clipboard.exports)
            source = DBusSource(display, lambda: _count(seen), lambda *wish: seen.wishes.put_nowait(wish))
            channel = await open_input(qmp, display, source.sizes)
            seen = SeenMachine(qmp, display, source, worker, channel, clipboard, texts)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(worker.run()),
                    tasks.create_task(source.run()),
                    tasks.create_task(run_display_link(path, source)),
                ]
                try:
                    await worker.until(lambda: worker.connections > 0)
                    yield seen
                finally:
                    for task in running:
                        task.cancel()
            display.close()
            assert not worker.errors


def _count(seen: SeenMachine) -> None:
    seen.first_frames += 1
