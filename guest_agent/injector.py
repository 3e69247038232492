# SPDX-License-Identifier: Apache-2.0
"""Input messages of the streamer, in their order, to the guest's keyboard and mouse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from guest_agent import keysyms
from guest_agent.keyboard import Keyboard
from guest_agent.messages import Button, Key, Message, Motion, Relative, ReleaseAll, Text, Wheel
from guest_agent.pointer import PointerDevice
from guest_agent.x_connection import XError

# More than anybody types ahead; a full queue makes the streamer's link wait.
MAX_WAITING = 256

_log = logging.getLogger(__name__)


class Injector:
    """Puts input into the guest. Messages are taken in order; loop thread only.

    Keys and mouse events take different ways into the server, so the way is waited out when it changes: a click with
    Ctrl must not overtake the key.
    """

    def __init__(self, keyboard: Keyboard, pointer: PointerDevice, size: Callable[[], tuple[int, int]]) -> None:
        self._keyboard = keyboard
        self._pointer = pointer
        self._size = size
        self._buttons: set[int] = set()
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(MAX_WAITING)
        self._is_busy = False
        self._last: Keyboard | PointerDevice | None = None

    async def put(self, message: Message) -> None:
        """Take a message; waits only when very many are waiting. Cancelling is safe."""
        # Nearly always nothing waits: then the event is in the server when this returns.
        if self._is_busy or not self._waiting.empty() or not self._try(message):
            await self._waiting.put(message)

    async def run(self) -> None:
        """Serve what could not be done at once, for ever."""
        while True:
            message = await self._waiting.get()
            self._is_busy = True
            try:
                await self._inject_slowly(message)
            except XError as error:
                _log.debug("input is lost: %r", error)
            finally:
                self._is_busy = False

    def _try(self, message: Message) -> bool:
        if isinstance(message, Text):
            return False
        if isinstance(message, Key) and message.down and self._keyboard.wait_seconds(message.keysym) > 0:
            return False
        try:
            self._inject(message)
        except XError as error:
            _log.debug("input is lost: %r", error)
        return True

    async def _inject_slowly(self, message: Message) -> None:
        if isinstance(message, Text):
            for character in message.text.replace("\r\n", "\n"):
                keysym = keysyms.from_character(character)
                if keysym:
                    await self._wait_for_key(keysym)
                    self._inject(Key(keysym, True))
                    self._inject(Key(keysym, False))
                    # The viewer's other input is not held up by a long text.
                    await asyncio.sleep(0)
            return
        if isinstance(message, Key) and message.down:
            await self._wait_for_key(message.keysym)
        self._inject(message)

    async def _wait_for_key(self, keysym: int) -> None:
        seconds = self._keyboard.wait_seconds(keysym)
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _inject(self, message: Message) -> None:
        match message:
            case Key(keysym, down):
                # By the keysym alone: an X server's layout is its own, so the key's place says nothing.
                self._use(self._keyboard)
                if down:
                    self._keyboard.press(keysym)
                else:
                    self._keyboard.release(keysym)
            case Motion(x, y):
                width, height = self._size()
                self._pointer.move_to(min(max(x, 0), width - 1), min(max(y, 0), height - 1))
            case Relative(dx, dy):
                self._pointer.move_by(dx, dy)
            case Button(button, down):
                self._use(self._pointer)
                self._button(button, down)
            case Wheel(dx, dy):
                self._use(self._pointer)
                self._pointer.wheel(dx, dy)
            case ReleaseAll():
                self.release_all()

    def _use(self, device: Keyboard | PointerDevice) -> None:
        if self._last is not device:
            if self._last is not None:
                self._last.sync()
            self._last = device

    def _button(self, number: int, down: bool) -> None:
        if down == (number in self._buttons):
            return
        if down:
            self._buttons.add(number)
        else:
            self._buttons.discard(number)
        self._pointer.button(number, down=down)

    def release_all(self) -> None:
        """Release everything that is held."""
        try:
            self._keyboard.release_all()
            for number in sorted(self._buttons):
                self._button(number, False)
        except XError as error:
            _log.debug("input is lost: %r", error)

    def reset(self) -> None:
        """The viewers are gone: forget what waits, release what is held."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self.release_all()
