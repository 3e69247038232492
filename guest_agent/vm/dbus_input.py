# SPDX-License-Identifier: Apache-2.0
"""Keyboard, mouse and touch screen by QEMU's D-Bus display."""

from __future__ import annotations

import logging
from typing import Any

from guest_agent.vm.dbus_connection import DBusError
from guest_agent.vm.dbus_display import KEYBOARD, MOUSE, MULTI_TOUCH, Console, DBusDisplay
from guest_agent.vm.flow import Flow
from guest_agent.vm.pointer_device import Sizes, Steering, WholePixels, clamped
from guest_agent.vm.qmp_input import QmpInput

# QEMU's InputMultiTouchType.
_TOUCH_KINDS = {"down": 0, "move": 1, "up": 2, "cancel": 3}
_MAX_PIXELS = 2**31 - 1

_log = logging.getLogger(__name__)


class DBusInput:
    """A keyboard and a mouse of a machine with one screen; loop thread only.

    The pointer is absolute or relative as the guest's driver wants it. Movements for an absolute one have to go to the
    machine's relative mouse by QMP, since the D-Bus interface refuses them; without one they move the pointer.
    """

    def __init__(self, display: DBusDisplay, by_qmp: QmpInput) -> None:
        self._display = display
        self._by_qmp = by_qmp
        self._flow = Flow()
        self._pixels = WholePixels()
        self._steering = Steering()
        self._place = (0.0, 0.0)

    @property
    def _console(self) -> Console | None:
        consoles = self._display.graphic_consoles
        return consoles[0] if consoles else None

    async def settle(self) -> None:
        await self._flow.settle()

    async def wait_for_room(self) -> bool:
        return await self._flow.wait_for_room()

    def for_movement(self) -> DBusInput | QmpInput:
        console = self._console
        if console is None or not console.is_absolute:
            return self
        self._by_qmp.refresh_soon()
        return self._by_qmp if self._by_qmp.has_relative else self

    def key(self, qnum: int, *, down: bool) -> None:
        self._call(KEYBOARD, "Press" if down else "Release", "u", qnum)

    def button(self, button: int, *, down: bool) -> None:
        self._call(MOUSE, "Press" if down else "Release", "u", button)

    def move_to(self, scanout: int, x: float, y: float) -> None:
        console = self._console
        if console is None or scanout:
            return
        if console.is_absolute:
            self._steering.reset()
            self._place = (x, y)
            self._call(MOUSE, "SetAbsPosition", "uu", *clamped(x, y, (console.width, console.height)))
        else:
            self.move_by(*self._steering.move_to(x, y))

    def move_by(self, dx: float, dy: float) -> None:
        console = self._console
        if console is None:
            return
        if not console.is_absolute:
            moved = self._pixels.add(dx, dy)
            if any(moved):
                self._call(MOUSE, "RelMotion", "ii", *moved)
        else:
            self.move_to(0, *clamped(self._place[0] + dx, self._place[1] + dy, (console.width, console.height)))

    def _call(self, interface: str, member: str, signature: str, *body: Any) -> None:
        console = self._console
        if console is None:
            return
        try:
            self._flow.add(self._display.connection.post(console.path, interface, member, signature, body))
        except DBusError as error:
            _log.debug("input is lost: %s", error)


class DBusTouch:
    """The machine's touch screen; loop thread only. Fingers are QEMU's slots, as many as it has."""

    def __init__(self, display: DBusDisplay, sizes: Sizes) -> None:
        self._display = display
        self._sizes = sizes
        self._flow = Flow()
        self._slots: dict[int, int] = {}

    async def settle(self) -> None:
        await self._flow.settle()

    async def wait_for_room(self) -> bool:
        return await self._flow.wait_for_room()

    def touch(self, phase: str, finger: int, scanout: int, x: float, y: float) -> None:
        consoles, sizes = self._display.graphic_consoles, self._sizes()
        if scanout >= len(consoles) or scanout >= len(sizes) or not all(sizes[scanout]):
            return
        console = consoles[scanout]
        slot = self._slots.get(finger)
        if slot is None:
            free = set(range(max(console.max_touches, 0))).difference(self._slots.values())
            if not free or phase != "down":
                return
            slot = self._slots[finger] = min(free)
        if phase in ("up", "cancel"):
            del self._slots[finger]
        # QEMU takes pixels of the size that it believes in, which is not the guest's with a vhost-user display.
        pixel_x, pixel_y = clamped(x, y, sizes[scanout])
        given_x = pixel_x / sizes[scanout][0] * console.width
        given_y = pixel_y / sizes[scanout][1] * console.height
        try:
            body = (_TOUCH_KINDS[phase], slot, given_x, given_y)
            self._flow.add(self._display.connection.post(console.path, MULTI_TOUCH, "SendEvent", "utdd", body))
        except DBusError as error:
            _log.debug("input is lost: %s", error)
