# SPDX-License-Identifier: Apache-2.0
"""KeyboardEvents become keysyms; the expected values are X11's keysymdef.h, written by name."""

from __future__ import annotations

import pytest

from streamer.input import keysyms
from streamer.input.keymap import LEFT, NUMERIC, RIGHT, character_keysym, keysym_of

CONTROL, SHIFT, SUPER = 0xFFE3, 0xFFE1, 0xFFEB


@pytest.mark.parametrize(
    ("key", "code", "location", "keysym"),
    [
        ("a", "KeyA", 0, 0x61),
        ("A", "KeyA", 0, 0x41),
        (" ", "Space", 0, 0x20),
        ("~", "Backquote", 0, 0x7E),
        ("ä", "Quote", 0, 0xE4),
        ("ÿ", "", 0, 0xFF),
        ("€", "KeyE", 0, 0x010020AC),
        ("П", "KeyG", 0, 0x0100041F),
        ("Ł", "KeyL", 0, 0x01000141),
        ("你", "", 0, 0x01004F60),
        ("😀", "", 0, 0x0101F600),
        ("Enter", "Enter", 0, 0xFF0D),
        ("Enter", "NumpadEnter", NUMERIC, 0xFF8D),
        ("5", "Numpad5", NUMERIC, 0xFFB5),
        ("5", "Digit5", 0, 0x35),
        ("Home", "Numpad7", NUMERIC, 0xFF95),
        ("Home", "Home", 0, 0xFF50),
        (",", "NumpadDecimal", NUMERIC, 0xFFAC),
        ("Clear", "Numpad5", NUMERIC, 0xFF9D),
        ("Shift", "ShiftLeft", LEFT, 0xFFE1),
        ("Shift", "ShiftRight", RIGHT, 0xFFE2),
        ("Control", "ControlRight", RIGHT, 0xFFE4),
        ("Alt", "AltLeft", LEFT, 0xFFE9),
        ("AltGraph", "AltRight", RIGHT, 0xFE03),
        ("Meta", "MetaLeft", LEFT, 0xFFEB),
        ("F1", "F1", 0, 0xFFBE),
        ("F24", "F24", 0, 0xFFD5),
        ("Escape", "Escape", 0, 0xFF1B),
        ("Delete", "Delete", 0, 0xFFFF),
        ("ContextMenu", "ContextMenu", 0, 0xFF67),
        ("PrintScreen", "PrintScreen", 0, 0xFF61),
        ("AudioVolumeUp", "AudioVolumeUp", 0, 0x1008FF13),
        ("Dead", "Quote", 0, 0xFE51),
        ("Dead", "Backquote", 0, 0xFE50),
        ("Unidentified", "KanaMode", 0, 0xFF2D),
        ("Unidentified", "F99", 0, None),
        ("Dead", "KeyQ", 0, None),
        ("", "", 0, None),
        ("\n", "", 0, None),
        ("e\u0301", "", 0, None),
    ],
)
def test_keys(key: str, code: str, location: int, keysym: int | None) -> None:
    assert keysym_of(key, code, location) == keysym


def test_a_shortcut_on_a_non_latin_layout_means_the_latin_letter() -> None:
    assert keysym_of("с", "KeyC", 0, frozenset({CONTROL})) == ord("c")
    assert keysym_of("С", "KeyC", 0, frozenset({CONTROL, SHIFT})) == ord("C")
    assert keysym_of("я", "KeyZ", 0, frozenset({SUPER})) == ord("z")
    # Without a modifier it is text; a Latin layout's own letters stay, wherever they are.
    assert keysym_of("с", "KeyC", 0, frozenset({SHIFT})) == 0x01000441
    assert keysym_of("z", "KeyY", 0, frozenset({CONTROL})) == ord("z")
    assert keysym_of("é", "KeyE", 0, frozenset({CONTROL})) == 0xE9
    assert keysym_of("с", "Digit1", 0, frozenset({CONTROL})) == 0x01000441


def test_dead_keys_follow_shift() -> None:
    assert keysym_of("Dead", "Quote", 0, frozenset({SHIFT})) == 0xFE57
    assert keysym_of("Dead", "Backquote", 0, frozenset({0xFFE2})) == 0xFE53


def test_every_character_has_a_keysym_that_the_agent_takes() -> None:
    for value in (*range(0x20, 0x7F), *range(0xA0, 0x2000), 0x200D, 0xFFFD, 0x1F600, 0x10FFFD):
        keysym = character_keysym(chr(value))
        assert keysym is None or 1 <= keysym <= 0x1FFFFFFF
    for value in (0, 0x1F, 0x7F, 0x9F, 0xD800, 0x10FFFF):
        assert character_keysym(chr(value)) is None


def test_tables_hold_keysyms() -> None:
    values = [*keysyms.NAMED.values(), *keysyms.NUMPAD.values(), *keysyms.BY_CODE.values()]
    values += [keysym for pair in (*keysyms.SIDED.values(), *keysyms.DEAD_BY_CODE.values()) for keysym in pair]
    assert all(0x20 <= value <= 0x1FFFFFFF for value in values)
