# SPDX-License-Identifier: Apache-2.0
"""What is pressed is what is released, and nothing stays held."""

from __future__ import annotations

import random

from guest_agent.messages import Button, Key, Text
from streamer.input.held import MAX_HELD, HeldInput
from streamer.input.messages import KeyInput


def key(name: str, code: str, down: bool, location: int = 0) -> KeyInput:
    return KeyInput(name, code, location, down)


def test_a_key_is_released_as_what_it_was_pressed_as() -> None:
    held = HeldInput()
    assert held.key(key("Shift", "ShiftLeft", True, 1)) == [Key(0xFFE1, True, "ShiftLeft")]
    assert held.key(key("A", "KeyA", True)) == [Key(0x41, True, "KeyA")]
    assert held.key(key("Shift", "ShiftLeft", False, 1)) == [Key(0xFFE1, False, "ShiftLeft")]
    assert held.key(key("a", "KeyA", False)) == [Key(0x41, False, "KeyA")]
    assert held.keysyms == frozenset()


def test_repeats_and_unknown_releases_are_dropped() -> None:
    held = HeldInput()
    assert held.key(key("a", "KeyA", True)) == [Key(0x61, True, "KeyA")]
    assert held.key(key("a", "KeyA", True)) == []
    assert held.key(key("b", "KeyB", False)) == []
    assert held.key(key("á", "KeyA", True)) == [Key(0x61, False, "KeyA"), Key(0xE1, True, "KeyA")]


def test_everything_is_released_once_modifiers_last() -> None:
    held = HeldInput()
    held.key(key("Control", "ControlLeft", True, 1))
    held.key(key("c", "KeyC", True))
    held.button(1, down=True)
    assert held.release_all() == [Button(1, False), Key(0x63, False, "KeyC"), Key(0xFFE3, False, "ControlLeft")]
    assert held.release_all() == []


def test_buttons_do_not_repeat() -> None:
    held = HeldInput()
    assert held.button(3, down=False) == []
    assert held.button(3, down=True) == [Button(3, True)]
    assert held.button(3, down=True) == []
    assert held.button(3, down=False) == [Button(3, False)]


def test_windows_altgr_is_not_control() -> None:
    held = HeldInput()
    held.key(key("Control", "ControlLeft", True, 1))
    assert held.key(key("AltGraph", "AltRight", True, 2)) == [
        Key(0xFFE3, False, "ControlLeft"),
        Key(0xFE03, True, "AltRight"),
    ]
    assert held.key(key("@", "KeyQ", True)) == [Key(0x40, True, "KeyQ")]
    assert held.key(key("Control", "ControlLeft", False, 1)) == []


def test_a_key_that_makes_several_characters_is_text() -> None:
    held = HeldInput()
    assert held.key(key("ลา", "KeyX", True)) == [Text("ลา")]
    assert held.key(key("ลา", "KeyX", False)) == []
    assert held.key(key("Unidentified", "", True)) == []


def test_any_order_of_events_leaves_the_guest_as_it_was() -> None:
    rng = random.Random(9)
    names = ["a", "A", "Shift", "Control", "AltGraph", "Dead", "5", "Enter", "é", "Unidentified", "Meta"]
    codes = ["KeyA", "ShiftLeft", "ControlLeft", "AltRight", "Quote", "Numpad5", ""]
    held = HeldInput()
    down: dict[int, int] = {}
    for _ in range(5000):
        event = key(rng.choice(names), rng.choice(codes), rng.random() < 0.6, rng.randrange(4))
        messages = held.key(event) if rng.random() > 0.02 else held.release_all()
        for message in messages:
            if isinstance(message, Key):
                down[message.keysym] = down.get(message.keysym, 0) + (1 if message.down else -1)
                assert down[message.keysym] >= 0
        assert len(held.keysyms) <= MAX_HELD
    for message in held.release_all():
        assert isinstance(message, Key)
        down[message.keysym] -= 1
    assert not any(down.values())
