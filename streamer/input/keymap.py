# SPDX-License-Identifier: Apache-2.0
"""From a browser's KeyboardEvent to an X keysym. No I/O, no state."""

from __future__ import annotations

import unicodedata

from streamer.input.keysyms import BY_CODE, DEAD_BY_CODE, NAMED, NUMPAD, SIDED

LEFT, RIGHT, NUMERIC = 1, 2, 3  # KeyboardEvent.location

ISO_LEVEL3_SHIFT = 0xFE03
CONTROL_LEFT = 0xFFE3
SHIFTS = frozenset({0xFFE1, 0xFFE2})
# With one of these held a key is a shortcut, not text.
SHORTCUT_MODIFIERS = frozenset({0xFFE3, 0xFFE4, 0xFFE9, 0xFFEA, 0xFFE7, 0xFFE8, 0xFFEB, 0xFFEC})

_UNICODE = 0x01000000
_LAST_LATIN = 0x024F


def keysym_of(key: str, code: str, location: int, held: frozenset[int] = frozenset()) -> int | None:
    """Return the keysym of a KeyboardEvent, or None when there is none (then `key` may be text).

    `held` are the keysyms that the viewer holds: with Control, Alt or Super a key of a non-Latin layout means the
    Latin letter on that key, since programs know their shortcuts by those.
    """
    if location == NUMERIC and key in NUMPAD:
        return NUMPAD[key]
    if key in SIDED:
        return SIDED[key][1 if location == RIGHT else 0]
    if key == "Dead":
        return _dead(code, bool(held & SHIFTS))
    if key in NAMED:
        return NAMED[key]
    if len(key) == 1:
        return _character(key, code, held)
    return BY_CODE.get(code)


def character_keysym(character: str) -> int | None:
    """Return the keysym of one character; None when X has none (control characters, surrogates)."""
    value = ord(character)
    if 0x20 <= value <= 0x7E or 0xA0 <= value <= 0xFF:
        return value
    # Format characters (joiners, marks of direction) are typed in some scripts.
    if unicodedata.category(character) in ("Cc", "Cs", "Cn"):
        return None
    return _UNICODE | value


def _character(key: str, code: str, held: frozenset[int]) -> int | None:
    if held & SHORTCUT_MODIFIERS and ord(key) > _LAST_LATIN and code.startswith("Key") and len(code) == 4:
        letter = code[3]
        if "A" <= letter <= "Z":
            return ord(letter if held & SHIFTS else letter.lower())
    return character_keysym(key)


def _dead(code: str, shifted: bool) -> int | None:
    pair = DEAD_BY_CODE.get(code)
    return None if pair is None else pair[1 if shifted else 0]
