# SPDX-License-Identifier: Apache-2.0
"""Keyboard and mouse by QMP's `input-send-event`, which works with every machine and any number of screens."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from guest_agent.vm.flow import Flow
from guest_agent.vm.pointer_device import BUTTON_NAMES, Sizes, Steering, WholePixels, on_tablet
from guest_agent.vm.qmp import Qmp, QmpError

MAX_AXIS = 0x7FFF
# Whether the pointer is absolute changes when a driver starts or ends.
REFRESH_S = 2.0

_log = logging.getLogger(__name__)


class QmpInput:
    """A keyboard and a mouse; loop thread only. Call refresh() once before use."""

    def __init__(self, qmp: Qmp, sizes: Sizes) -> None:
        self._qmp = qmp
        self._sizes = sizes
        self._flow = Flow()
        self._pixels = WholePixels()
        self._steering = Steering()
        self._is_absolute = True
        self._has_relative = False
        self._refreshed_s = 0.0

    @property
    def has_relative(self) -> bool:
        """Whether the machine has a mouse that moves by pixels, beside a tablet or without one."""
        return self._has_relative

    async def refresh(self) -> None:
        """Ask which pointers there are.

        Raises:
            QmpError: QEMU does not answer.
        """
        self._note_mice(await self._qmp.execute("query-mice"))

    def refresh_soon(self) -> None:
        """Ask which pointers there are, unless that was a moment ago."""
        now_s = time.monotonic()
        if now_s - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = now_s
        try:
            self._qmp.post("query-mice").add_done_callback(self._handle_mice)
        except QmpError as error:
            _log.debug("the pointers are not known: %s", error)

    def _handle_mice(self, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._note_mice(answer.result())

    def _note_mice(self, mice: Any) -> None:
        self._refreshed_s = time.monotonic()
        known = [mouse for mouse in mice if isinstance(mouse, dict)] if isinstance(mice, list) else []
        self._has_relative = any(mouse.get("absolute") is False for mouse in known)
        is_absolute = any(mouse.get("absolute") is True and mouse.get("current") is True for mouse in known)
        if is_absolute != self._is_absolute:
            self._is_absolute = is_absolute
            self._steering.reset()

    async def settle(self) -> None:
        await self._flow.settle()

    async def wait_for_room(self) -> bool:
        return await self._flow.wait_for_room()

    def for_movement(self) -> QmpInput:
        return self

    def key(self, qnum: int, *, down: bool) -> None:
        self._send(_event("key", down=down, key={"type": "number", "data": qnum}))

    def button(self, button: int, *, down: bool) -> None:
        self._send(_event("btn", down=down, button=BUTTON_NAMES[button]))

    def move_to(self, scanout: int, x: float, y: float) -> None:
        self.refresh_soon()
        if not self._is_absolute:
            self.move_by(*self._steering.move_to(x, y))
            return
        place = on_tablet(self._sizes(), scanout, x, y)
        if place is not None:
            axes = zip("xy", place, strict=True)
            self._send(*(_event("abs", axis=axis, value=int(part * (MAX_AXIS + 1))) for axis, part in axes))

    def move_by(self, dx: float, dy: float) -> None:
        """Without a relative mouse QEMU drops it."""
        moved = self._pixels.add(dx, dy)
        if any(moved):
            self._send(
                *(_event("rel", axis=axis, value=value) for axis, value in zip("xy", moved, strict=True) if value)
            )

    def _send(self, *events: dict[str, Any]) -> None:
        try:
            self._flow.add(self._qmp.post("input-send-event", {"events": list(events)}))
        except QmpError as error:
            _log.debug("input is lost: %s", error)


def _event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}
