# SPDX-License-Identifier: Apache-2.0
"""What one viewer holds down, so that it can be released when the viewer cannot do it any more. No I/O."""

from __future__ import annotations

from guest_agent.messages import Button, Key, Message, Text
from streamer.input.keymap import CONTROL_LEFT, ISO_LEVEL3_SHIFT, keysym_of
from streamer.input.messages import KeyInput

# More keys than hands have; what is pressed beyond that is not taken.
MAX_HELD = 64


class HeldInput:
    """Turns key and button events into the agent's messages. A key is released as what it was pressed as, whatever
    the modifiers have made of it since; what is not held is not released."""

    __slots__ = ("_buttons", "_keys")

    def __init__(self) -> None:
        # By the key's place (or its name, when the browser does not say the place): what was pressed.
        self._keys: dict[str, Key] = {}
        self._buttons: set[int] = set()

    @property
    def keysyms(self) -> frozenset[int]:
        """The keysyms that are held."""
        return frozenset(key.keysym for key in self._keys.values())

    def key(self, event: KeyInput) -> list[Message]:
        """Return what the agent is to be told of a key event."""
        place = event.code or event.key
        if not event.down:
            held = self._keys.pop(place, None)
            return [] if held is None else [_released(held)]
        keysym = keysym_of(event.key, event.code, event.location, self.keysyms)
        if keysym is None:
            # A key that makes several characters at once, as some layouts have.
            is_text = 1 < len(event.key) <= 4 and not event.key.isascii()
            return [Text(event.key)] if is_text else []
        messages: list[Message] = []
        pressed = Key(keysym, down=True, code=event.code)
        before = self._keys.get(place)
        if before == pressed or (before is None and len(self._keys) >= MAX_HELD):
            return []  # the guest repeats keys by itself
        if before is not None:
            del self._keys[place]
            messages.append(_released(before))
        control = self._keys.get("ControlLeft")
        if keysym == ISO_LEVEL3_SHIFT and control is not None and control.keysym == CONTROL_LEFT:
            # Windows presses Control before AltGr; the guest would take the text for a shortcut.
            del self._keys["ControlLeft"]
            messages.append(_released(control))
        self._keys[place] = pressed
        messages.append(pressed)
        return messages

    def button(self, button: int, down: bool) -> list[Message]:
        """Return what the agent is to be told of a button event."""
        if down == (button in self._buttons):
            return []
        if down:
            self._buttons.add(button)
        else:
            self._buttons.discard(button)
        return [Button(button, down)]

    def release_all(self) -> list[Message]:
        """Return what releases everything, last pressed first; nothing is held after it."""
        messages: list[Message] = [Button(button, down=False) for button in sorted(self._buttons)]
        messages += [_released(key) for key in reversed(self._keys.values())]
        self._buttons.clear()
        self._keys.clear()
        return messages


def _released(key: Key) -> Key:
    return Key(key.keysym, down=False, code=key.code)
