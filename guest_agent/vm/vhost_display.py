# SPDX-License-Identifier: Apache-2.0
"""Keeps QEMU's vhost-user-gpu device served, by whatever render worker there is (`docs/protocol/machine-link.md`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from guest_agent.vm.dbus_display import UI_INFO_S
from guest_agent.vm.machine_link import Journal, MachineLink, MachineLinkError, State, WantedDisplay
from guest_agent.vm.qemu_process import QemuError, QemuProcess

_log = logging.getLogger(__name__)

_RETRY_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)
# How often QEMU is asked to set its device up for a worker that takes over, and how long each has time.
MAX_RESUMES = 3
RESUME_S = 4.0


class _Resuming:
    """Asks QEMU to set its device up until the worker says that it runs.

    Whether QEMU has accepted the worker's connection by then cannot be seen, and what it does before that goes nowhere.
    A guest that has no driver at the moment is paused for nothing, a few times.
    """

    def __init__(self, resume: Callable[[], Awaitable[bool]]) -> None:
        self._resume = resume
        self._tries_left = 0

    async def begin(self) -> None:
        self._tries_left = MAX_RESUMES
        await self._try()

    async def _try(self) -> None:
        # A machine that is paused sets its device up when it goes on.
        self._tries_left = self._tries_left - 1 if await self._resume() else 0

    async def next_state(self, link: MachineLink) -> State | None:
        """Return the worker's next word, None at the link's end."""
        while True:
            try:
                async with asyncio.timeout(RESUME_S if self._tries_left else None):
                    state = await link.next_state()
            except TimeoutError:
                await self._try()
                continue
            if state is State.RUNNING:
                self._tries_left = 0
            return state


class VhostDisplay:
    """Loop thread only.

    Args:
        machine_path: where render workers listen for the machine link.
        gpu_path: where QEMU listens for its device's other end.
        resume: lets QEMU set the device up again, for a worker that takes over; false when the machine is paused.
        set_size: lets QEMU tell the guest that an output (by number) has another width and height.
    """

    def __init__(
        self,
        qemu: QemuProcess,
        *,
        machine_path: str,
        gpu_path: Path,
        resume: Callable[[], Awaitable[bool]],
        set_size: Callable[[int, int, int], Awaitable[None]],
    ) -> None:
        self._qemu = qemu
        self._machine_path = machine_path
        self._gpu_path = gpu_path
        self._resume = resume
        self._set_size = set_size
        self._wanted: dict[int, WantedDisplay] = {}
        self._has_wanted = asyncio.Event()
        self.is_attached = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled, or until QEMU has ended (QemuError)."""
        journal = Journal()
        failures = 0
        recover = False
        with contextlib.closing(journal):
            while True:
                try:
                    reason = await self._serve(journal, recover=recover)
                    failures = 0 if self.is_attached.is_set() else failures + 1
                    recover = recover or self.is_attached.is_set()
                except (MachineLinkError, OSError) as error:
                    failures += 1
                    reason = str(error)
                # A QEMU that ends closes the device too.
                delay_s = _RETRY_DELAYS_S[min(failures, len(_RETRY_DELAYS_S) - 1)]
                await asyncio.wait((self._qemu.ended,), timeout=delay_s)
                if self._qemu.ended.done():
                    raise QemuError("QEMU has closed its display device")
                _log.warning("the machine's display has lost its render worker: %s", reason)

    async def tell_sizes(self) -> None:
        """Hand wanted sizes to the guest, the newest of each output, until cancelled."""
        while True:
            await self._has_wanted.wait()
            self._has_wanted.clear()
            while self._wanted:
                _, wanted = self._wanted.popitem()
                await self._set_size(wanted.scanout_id, wanted.width, wanted.height)
                await asyncio.sleep(UI_INFO_S)

    async def _serve(self, journal: Journal, *, recover: bool) -> str:
        """Serve one worker; return why that has ended."""
        link = await MachineLink.connect(self._machine_path, self._handle_display)
        with contextlib.closing(link):
            with await self._qemu.connect(self._gpu_path) as device:
                link.attach(device.fileno(), journal, recover=recover)
            resuming = _Resuming(self._resume)
            while (state := await resuming.next_state(link)) is not None:
                _log.debug("the render worker says of the machine's display: %s", state.name)
                match state:
                    case State.ATTACHED:
                        self.is_attached.set()
                        if recover:
                            _log.info("a new render worker takes the machine's display over")
                            await resuming.begin()
                    case State.INCOMPLETE:
                        _log.warning("some of the guest's screen could not be taken over: if it stays dark, reset it")
                    case State.LOST:
                        return "QEMU has closed the device"
            return link.reason

    def _handle_display(self, wanted: WantedDisplay) -> None:
        self._wanted[wanted.scanout_id] = wanted
        self._has_wanted.set()
