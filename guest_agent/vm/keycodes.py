# SPDX-License-Identifier: Apache-2.0
"""A machine's keyboard: keys by their place (KeyboardEvent.code) as QEMU numbers them, and by a US layout.

QEMU's "qnum" is the scan code of a PC keyboard's first set; keys that came later (prefix 0xE0) have bit 7 set. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guest_agent import keysyms

_E0 = 0x80

# https://www.w3.org/TR/uievents-code/ -> scan code of set 1.
QNUM_BY_CODE = {
    "Escape": 0x01,
    **{f"Digit{digit}": 0x02 + index for index, digit in enumerate("1234567890")},
    "Minus": 0x0C,
    "Equal": 0x0D,
    "Backspace": 0x0E,
    "Tab": 0x0F,
    **{f"Key{letter}": 0x10 + index for index, letter in enumerate("QWERTYUIOP")},
    "BracketLeft": 0x1A,
    "BracketRight": 0x1B,
    "Enter": 0x1C,
    "ControlLeft": 0x1D,
    **{f"Key{letter}": 0x1E + index for index, letter in enumerate("ASDFGHJKL")},
    "Semicolon": 0x27,
    "Quote": 0x28,
    "Backquote": 0x29,
    "ShiftLeft": 0x2A,
    "Backslash": 0x2B,
    "IntlHash": 0x2B,
    **{f"Key{letter}": 0x2C + index for index, letter in enumerate("ZXCVBNM")},
    "Comma": 0x33,
    "Period": 0x34,
    "Slash": 0x35,
    "ShiftRight": 0x36,
    "NumpadMultiply": 0x37,
    "AltLeft": 0x38,
    "Space": 0x39,
    "CapsLock": 0x3A,
    **{f"F{number}": 0x3B + number - 1 for number in range(1, 11)},
    "NumLock": 0x45,
    "ScrollLock": 0x46,
    **{f"Numpad{digit}": 0x47 + index for index, digit in enumerate("789")},
    "NumpadSubtract": 0x4A,
    **{f"Numpad{digit}": 0x4B + index for index, digit in enumerate("456")},
    "NumpadAdd": 0x4E,
    **{f"Numpad{digit}": 0x4F + index for index, digit in enumerate("123")},
    "Numpad0": 0x52,
    "NumpadDecimal": 0x53,
    "IntlBackslash": 0x56,
    "F11": 0x57,
    "F12": 0x58,
    "NumpadEqual": 0x59,
    "KanaMode": 0x70,
    "Lang2": 0x71,
    "Lang1": 0x72,
    "IntlRo": 0x73,
    "Convert": 0x79,
    "NonConvert": 0x7B,
    "IntlYen": 0x7D,
    "NumpadComma": 0x7E,
    "MediaTrackPrevious": _E0 | 0x10,
    "MediaTrackNext": _E0 | 0x19,
    "NumpadEnter": _E0 | 0x1C,
    "ControlRight": _E0 | 0x1D,
    "AudioVolumeMute": _E0 | 0x20,
    "LaunchApp2": _E0 | 0x21,
    "MediaPlayPause": _E0 | 0x22,
    "MediaStop": _E0 | 0x24,
    "AudioVolumeDown": _E0 | 0x2E,
    "AudioVolumeUp": _E0 | 0x30,
    "BrowserHome": _E0 | 0x32,
    "NumpadDivide": _E0 | 0x35,
    "PrintScreen": _E0 | 0x37,
    "AltRight": _E0 | 0x38,
    "Pause": _E0 | 0x46,
    "Home": _E0 | 0x47,
    "ArrowUp": _E0 | 0x48,
    "PageUp": _E0 | 0x49,
    "ArrowLeft": _E0 | 0x4B,
    "ArrowRight": _E0 | 0x4D,
    "End": _E0 | 0x4F,
    "ArrowDown": _E0 | 0x50,
    "PageDown": _E0 | 0x51,
    "Insert": _E0 | 0x52,
    "Delete": _E0 | 0x53,
    "MetaLeft": _E0 | 0x5B,
    "OSLeft": _E0 | 0x5B,
    "MetaRight": _E0 | 0x5C,
    "OSRight": _E0 | 0x5C,
    "ContextMenu": _E0 | 0x5D,
    "Power": _E0 | 0x5E,
    "Sleep": _E0 | 0x5F,
    "WakeUp": _E0 | 0x63,
    "BrowserFavorites": _E0 | 0x66,
    "BrowserRefresh": _E0 | 0x67,
    "BrowserStop": _E0 | 0x68,
    "BrowserForward": _E0 | 0x69,
    "BrowserBack": _E0 | 0x6A,
    "LaunchApp1": _E0 | 0x6B,
    "LaunchMail": _E0 | 0x6C,
    "MediaSelect": _E0 | 0x6D,
}

SHIFT_LEFT = QNUM_BY_CODE["ShiftLeft"]
SHIFTS = frozenset({SHIFT_LEFT, QNUM_BY_CODE["ShiftRight"]})


@dataclass(frozen=True, slots=True)
class Stroke:
    """A key of the US layout, and whether Shift is held with it. None: it makes no difference."""

    qnum: int
    shift: bool | None


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The keys' places; what they make; what they make with Shift.
_ROWS: tuple[tuple[Sequence[str], str, str], ...] = (
    ([f"Digit{digit}" for digit in "1234567890"], "1234567890", "!@#$%^&*()"),
    (["Backquote", "Minus", "Equal", "BracketLeft", "BracketRight", "Backslash"], "`-=[]\\", "~_+{}|"),
    (["Semicolon", "Quote", "Comma", "Period", "Slash"], ";',./", ':"<>?'),
    ([f"Key{letter}" for letter in _LETTERS.upper()], _LETTERS, _LETTERS.upper()),
)

_CHARACTERS: dict[str, Stroke] = {" ": Stroke(QNUM_BY_CODE["Space"], None)}
for _codes, _plain, _shifted in _ROWS:
    for _code, _lower, _upper in zip(_codes, _plain, _shifted, strict=True):
        _CHARACTERS[_lower] = Stroke(QNUM_BY_CODE[_code], False)
        _CHARACTERS[_upper] = Stroke(QNUM_BY_CODE[_code], True)

# Keysyms that are no characters (X11's keysymdef.h) -> code.
_CODE_BY_KEYSYM = {
    0xFF08: "Backspace",
    0xFF09: "Tab",
    0xFE20: "Tab",  # ISO_Left_Tab
    0xFF0D: "Enter",
    0xFF13: "Pause",
    0xFF14: "ScrollLock",
    0xFF1B: "Escape",
    0xFF50: "Home",
    0xFF51: "ArrowLeft",
    0xFF52: "ArrowUp",
    0xFF53: "ArrowRight",
    0xFF54: "ArrowDown",
    0xFF55: "PageUp",
    0xFF56: "PageDown",
    0xFF57: "End",
    0xFF61: "PrintScreen",
    0xFF63: "Insert",
    0xFF67: "ContextMenu",
    0xFF7F: "NumLock",
    0xFF8D: "NumpadEnter",
    0xFF95: "Numpad7",
    0xFF96: "Numpad4",
    0xFF97: "Numpad8",
    0xFF98: "Numpad6",
    0xFF99: "Numpad2",
    0xFF9A: "Numpad9",
    0xFF9B: "Numpad3",
    0xFF9C: "Numpad1",
    0xFF9D: "Numpad5",
    0xFF9E: "Numpad0",
    0xFF9F: "NumpadDecimal",
    0xFFAA: "NumpadMultiply",
    0xFFAB: "NumpadAdd",
    0xFFAC: "NumpadComma",
    0xFFAD: "NumpadSubtract",
    0xFFAE: "NumpadDecimal",
    0xFFAF: "NumpadDivide",
    **{0xFFB0 + digit: f"Numpad{digit}" for digit in range(10)},
    0xFFBD: "NumpadEqual",
    **{0xFFBE + number - 1: f"F{number}" for number in range(1, 13)},
    0xFFE1: "ShiftLeft",
    0xFFE2: "ShiftRight",
    0xFFE3: "ControlLeft",
    0xFFE4: "ControlRight",
    0xFFE5: "CapsLock",
    0xFFE7: "MetaLeft",
    0xFFE8: "MetaRight",
    0xFFE9: "AltLeft",
    0xFFEA: "AltRight",
    0xFFEB: "MetaLeft",
    0xFFEC: "MetaRight",
    0xFE03: "AltRight",
    0xFFFF: "Delete",
}


def from_code(code: str) -> int | None:
    """Return the qnum of the key at this place; None where a PC keyboard has none."""
    return QNUM_BY_CODE.get(code)


def from_keysym(keysym: int) -> Stroke | None:
    """Return the US layout's key for a keysym; None where it has none."""
    code = _CODE_BY_KEYSYM.get(keysym)
    if code is not None:
        return Stroke(QNUM_BY_CODE[code], None)
    character = keysyms.character(keysym)
    return None if character is None else _CHARACTERS.get(character)


def from_character(character: str) -> Stroke | None:
    """Return the US layout's key for a character that is typed; None where it has none."""
    if character in "\r\n":
        return Stroke(QNUM_BY_CODE["Enter"], False)
    if character == "\t":
        return Stroke(QNUM_BY_CODE["Tab"], False)
    if character == "\b":
        return Stroke(QNUM_BY_CODE["Backspace"], False)
    return _CHARACTERS.get(character)
