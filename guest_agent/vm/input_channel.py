# SPDX-License-Identifier: Apache-2.0
"""The streamer's input messages, in their order, to a machine's keyboard, mouse and touch screen.

What carries them is chosen in one place, `open_input()`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from guest_agent.messages import Button, Key, Message, Motion, Relative, ReleaseAll, Text, Touch, Wheel
from guest_agent.vm import keycodes
from guest_agent.vm.dbus_display import KEYBOARD, MOUSE, DBusDisplay
from guest_agent.vm.dbus_input import DBusInput, DBusTouch
from guest_agent.vm.keycodes import SHIFT_LEFT, SHIFTS, Stroke
from guest_agent.vm.pointer_device import (
    EXTRA,
    LEFT,
    MIDDLE,
    RIGHT,
    SIDE,
    WHEEL_DOWN,
    WHEEL_LEFT,
    WHEEL_RIGHT,
    WHEEL_UP,
    Sizes,
)
from guest_agent.vm.qmp import Qmp, QmpError
from guest_agent.vm.qmp_input import QmpInput

MAX_HELD_KEYS = 64
MAX_NOTCHES_AT_ONCE = 100
# A PC keyboard's buffer has 16 bytes, virtio's queue 64 events.
TYPING_PAUSE_S = 0.004
# A PS/2 keyboard repeats its keys itself, QEMU's does not; others ignore what is pressed already.
REPEAT_DELAY_S, REPEAT_S = 0.5, 1 / 30

_BUTTONS = {1: LEFT, 2: MIDDLE, 3: RIGHT, 8: SIDE, 9: EXTRA}
_UNREPEATED = SHIFTS | {
    qnum
    for code in ("ControlLeft", "ControlRight", "AltLeft", "AltRight", "MetaLeft", "MetaRight", "CapsLock", "NumLock")
    if (qnum := keycodes.from_code(code)) is not None
}
_log = logging.getLogger(__name__)


class KeyboardDevice(Protocol):
    """A keyboard. Nothing here waits; errors are logged."""

    def key(self, qnum: int, *, down: bool) -> None:
        """Press or release a key."""

    async def settle(self) -> None:
        """Wait until QEMU has taken all of it in; not for ever."""

    async def wait_for_room(self) -> bool:
        """Wait while QEMU has much to answer; False when it does not answer: then input is to be dropped."""


class PointerDevice(KeyboardDevice, Protocol):
    """A mouse too."""

    def move_to(self, scanout: int, x: float, y: float) -> None:
        """Go to a place in pixels of a screen."""

    def move_by(self, dx: float, dy: float) -> None:
        """Move by pixels."""

    def for_movement(self) -> PointerDevice:
        """Return what takes movements by pixels at the moment; buttons then belong there too."""

    def button(self, button: int, *, down: bool) -> None:
        """Press or release a button; a wheel's notch is one."""


class TouchDevice(Protocol):
    """A touch screen."""

    def touch(self, phase: str, finger: int, scanout: int, x: float, y: float) -> None:
        """Pass a finger on."""

    async def settle(self) -> None: ...

    async def wait_for_room(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Devices:
    """What input goes to."""

    keyboard: KeyboardDevice
    pointer: PointerDevice
    touch: TouchDevice | None
    name: str


class MachineInput:
    """Puts input into a machine. Loop thread only; one caller at a time, whose order is kept.

    Devices may have ways of their own into QEMU, so a way is waited out when it changes: a click with Ctrl must not
    overtake the key. A QEMU that does not answer makes put() wait a moment, then input is dropped.
    """

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._pointer = devices.pointer
        self._loop = asyncio.get_running_loop()
        self._held: dict[tuple[str, int], int] = {}  # what the message said -> qnum
        self._buttons: set[int] = set()
        self._fingers: dict[int, Touch] = {}
        self._turned_x = self._turned_y = 0.0
        self._last: KeyboardDevice | TouchDevice | None = None
        self._repeated: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_dropping = False

    @property
    def takes_touch(self) -> bool:
        return self._devices.touch is not None

    @property
    def name(self) -> str:
        """What carries the input, for the log."""
        return self._devices.name

    async def put(self, message: Message) -> None:
        """Take a message of the agent link; others are ignored. After cancelling, part of a text may be typed."""
        device: KeyboardDevice | TouchDevice
        match message:
            case Key() | Text():
                device = self._devices.keyboard
            case Motion():
                device = self._pointer = self._devices.pointer
            case Relative():
                device = self._pointer = self._devices.pointer.for_movement()
            case Button() | Wheel():
                device = self._pointer
            case Touch():
                if self._devices.touch is None:
                    return
                device = self._devices.touch
            case ReleaseAll():
                self.release_all()
                return
            case _:
                return
        if not await self._use(device):
            return
        match message:
            case Key():
                self._key(message)
            case Text(text):
                await self._type(text)
            case Motion(x, y, scanout):
                self._pointer.move_to(scanout, x, y)
            case Relative(dx, dy):
                self._pointer.move_by(dx, dy)
            case Button(button, down):
                self._button(_BUTTONS[button], down)
            case Wheel(dx, dy):
                self._turned_x = self._turn(self._turned_x + dx, WHEEL_LEFT, WHEEL_RIGHT)
                self._turned_y = self._turn(self._turned_y + dy, WHEEL_UP, WHEEL_DOWN)
            case Touch():
                self._touch(message)

    async def _use(self, device: KeyboardDevice | TouchDevice) -> bool:
        if self._last is not None and self._last is not device:
            await self._last.settle()
        self._last = device
        has_room = await device.wait_for_room()
        if has_room == self._is_dropping:
            self._is_dropping = not has_room
            _log.warning("QEMU does not answer: input is lost" if self._is_dropping else "QEMU answers again")
        return has_room

    def _key(self, message: Key) -> None:
        qnum = keycodes.from_code(message.code)
        place = (message.code, 0) if qnum is not None else ("", message.keysym)
        if not message.down:
            self._release(place)
            return
        self._release(place)
        stroke = self._find_stroke(qnum, message.keysym)
        if stroke is None:
            _log.info("no key for the keysym %#x: without its place it is looked for on a US keyboard", message.keysym)
            return
        if len(self._held) >= MAX_HELD_KEYS:
            _log.warning("too many keys are held: a press is ignored")
            return
        with_shift = self._shifting(stroke)
        for shift, down in with_shift:
            self._devices.keyboard.key(shift, down=down)
        self._devices.keyboard.key(stroke.qnum, down=True)
        for shift, down in reversed(with_shift):
            self._devices.keyboard.key(shift, down=not down)
        self._held[place] = stroke.qnum
        self._repeat(None if with_shift or stroke.qnum in _UNREPEATED else stroke.qnum)

    def _find_stroke(self, qnum: int | None, keysym: int) -> Stroke | None:
        on_us = keycodes.from_keysym(keysym)
        if qnum is None:
            return on_us
        # Keyboards on a screen, and programs that type, say ">" and no Shift. Letters are left alone: with Caps Lock
        # they come without Shift from any keyboard.
        is_shift_missing = on_us is not None and on_us.qnum == qnum and on_us.shift is True and not self._holds_shift
        return on_us if is_shift_missing and not _is_letter(keysym) else Stroke(qnum, None)

    @property
    def _holds_shift(self) -> bool:
        return not SHIFTS.isdisjoint(self._held.values())

    def _release(self, place: tuple[str, int]) -> None:
        qnum = self._held.pop(place, None)
        if qnum is None:
            return
        if self._repeated == qnum:
            self._repeat(None)
        if qnum not in self._held.values():
            self._devices.keyboard.key(qnum, down=False)

    def _shifting(self, stroke: Stroke) -> list[tuple[int, bool]]:
        """Return the Shift keys to press (True) or release before a stroke, and the other way round after it."""
        if stroke.shift is None:
            return []
        held = sorted(SHIFTS.intersection(self._held.values()))
        if stroke.shift:
            return [] if held else [(SHIFT_LEFT, True)]
        return [(qnum, False) for qnum in held]

    async def _type(self, text: str) -> None:
        self._repeat(None)
        missing: dict[str, None] = {}
        for character in text.replace("\r\n", "\n"):
            stroke = keycodes.from_character(character)
            if stroke is None:
                missing[character] = None
                continue
            if not await self._devices.keyboard.wait_for_room():
                return
            with_shift = self._shifting(stroke)
            for shift, down in with_shift:
                self._devices.keyboard.key(shift, down=down)
            for down in (True, False):
                self._devices.keyboard.key(stroke.qnum, down=down)
            for shift, down in reversed(with_shift):
                self._devices.keyboard.key(shift, down=not down)
            await asyncio.sleep(TYPING_PAUSE_S)
        if missing:
            some = "".join(list(missing)[:32])
            _log.info("a US keyboard has no keys for %r: copy and paste is the way for these", some)

    def _repeat(self, qnum: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._repeated = qnum
        if qnum is not None:
            self._timer = self._loop.call_later(REPEAT_DELAY_S, self._press_again)

    def _press_again(self) -> None:
        if self._repeated is not None:
            self._devices.keyboard.key(self._repeated, down=True)
            self._timer = self._loop.call_later(REPEAT_S, self._press_again)

    def _button(self, button: int, down: bool) -> None:
        if down == (button in self._buttons):
            return
        if down:
            self._buttons.add(button)
        else:
            self._buttons.discard(button)
        self._pointer.button(button, down=down)

    def _turn(self, notches: float, negative: int, positive: int) -> float:
        whole = int(notches)
        button = positive if whole > 0 else negative
        for _ in range(min(abs(whole), MAX_NOTCHES_AT_ONCE)):
            self._pointer.button(button, down=True)
            self._pointer.button(button, down=False)
        return notches - whole

    def _touch(self, message: Touch) -> None:
        if self._devices.touch is None:
            return
        is_down = message.id in self._fingers
        if message.phase == "down":
            if is_down:
                self._lift(message.id)
            self._fingers[message.id] = message
        elif not is_down:
            return
        elif message.phase == "move":
            self._fingers[message.id] = message
        else:
            del self._fingers[message.id]
        self._devices.touch.touch(message.phase, message.id, message.scanout, message.x, message.y)

    def _lift(self, finger: int) -> None:
        last = self._fingers.pop(finger)
        if self._devices.touch is not None:
            self._devices.touch.touch("cancel", finger, last.scanout, last.x, last.y)

    def release_all(self) -> None:
        """Release everything that is held, last pressed first."""
        self._repeat(None)
        for button in sorted(self._buttons):
            self._button(button, False)
        for finger in list(self._fingers):
            self._lift(finger)
        for place in reversed(list(self._held)):
            self._release(place)
        self._turned_x = self._turned_y = 0.0

    def reset(self) -> None:
        """The viewers are gone: release what is held."""
        self.release_all()


def _is_letter(keysym: int) -> bool:
    return keysym < 0x80 and chr(keysym).isalpha()


def console_sizes(display: DBusDisplay) -> Sizes:
    """Return what tells the sizes of the D-Bus display's screens, each a scanout."""
    return lambda: [(console.width, console.height) for console in display.graphic_consoles]


async def open_input(
    qmp: Qmp, display: DBusDisplay | None, sizes: Sizes | None = None, *, qemu_knows_sizes: bool = True
) -> MachineInput:
    """Choose the best channel into a machine.

    The D-Bus display where it knows the screen: one graphic console, whose size is the guest's. QMP else: its absolute
    positions are parts of the whole tablet, which spans all screens and does not depend on what size QEMU believes a
    vhost-user display to have. Touches go by the D-Bus display wherever the machine has a touch screen.

    Args:
        sizes: what the scanouts show at the moment; without, QEMU is believed.
        qemu_knows_sizes: false with a vhost-user display, of which QEMU sees nothing.

    Raises:
        QmpError: QEMU does not answer.
    """
    if sizes is None:
        sizes = console_sizes(display) if display is not None else lambda: []
    by_qmp = QmpInput(qmp, sizes)
    await by_qmp.refresh()
    touch = None
    if display is not None and display.graphic_consoles and await has_device(qmp, "virtio-multitouch"):
        touch = DBusTouch(display, sizes)
    consoles = display.graphic_consoles if display is not None else []
    if display is not None and len(consoles) == 1 and qemu_knows_sizes and {KEYBOARD, MOUSE} <= consoles[0].interfaces:
        by_dbus = DBusInput(display, by_qmp)
        return MachineInput(Devices(by_dbus, by_dbus, touch, "QEMU's D-Bus display"))
    return MachineInput(Devices(by_qmp, by_qmp, touch, "QMP"))


async def has_device(qmp: Qmp, prefix: str) -> bool:
    """Whether the machine was given a device whose type begins so."""
    for path in ("/machine/peripheral", "/machine/peripheral-anon"):
        try:
            children = await qmp.execute("qom-list", {"path": path})
        except QmpError as error:
            _log.debug("no devices of %s: %s", path, error)
            continue
        if isinstance(children, list) and any(
            isinstance(child, dict) and str(child.get("type", "")).startswith(f"child<{prefix}") for child in children
        ):
            return True
    return False
