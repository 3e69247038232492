# SPDX-License-Identifier: Apache-2.0
"""X keysyms and the characters they stand for."""

from __future__ import annotations

UNICODE = 0x01000000
MAX_KEYSYM = 0x1FFFFFFF

NO_SYMBOL = 0
TAB = 0xFF09
RETURN = 0xFF0D
SHIFT_L = 0xFFE1
CONTROL_L = 0xFFE3
CAPS_LOCK = 0xFFE5
ISO_LEVEL3_SHIFT = 0xFE03

# Keysyms from before Unicode: the high byte names an alphabet whose low bytes are those of an old encoding.
_LEGACY = {
    0x01: ("iso8859_2", range(0xA1, 0x100)),
    0x02: ("iso8859_3", range(0xA1, 0x100)),
    0x03: ("iso8859_4", range(0xA1, 0x100)),
    0x05: ("iso8859_6", range(0xAC, 0xF3)),
    0x06: ("koi8_r", (0xA3, 0xB3, *range(0xC0, 0x100))),
    0x07: ("iso8859_7", (*range(0xC1, 0xD2), *range(0xD2, 0xDA), *range(0xE1, 0xFA))),
    0x0C: ("iso8859_8", range(0xE0, 0xFB)),
    0x0D: ("iso8859_11", (*range(0xA1, 0xDB), *range(0xDF, 0xFA))),
}
_LEGACY_SINGLE = {
    0x13BC: "Œ",
    0x13BD: "œ",
    0x13BE: "Ÿ",
    0x20AC: "€",
    **dict(zip(range(0x07A1, 0x07A6), "ΆΈΉΊΪ", strict=True)),
    **dict(zip((0x07A7, 0x07A8, 0x07A9, 0x07AB), "ΌΎΫΏ", strict=True)),
    **dict(zip(range(0x07B1, 0x07BC), "άέήίϊΐόύϋΰώ", strict=True)),
    # Belarusian, Macedonian, Serbian and Ukrainian
    **dict(zip(range(0x06A1, 0x06A3), "ђѓ", strict=True)),
    **dict(zip(range(0x06A4, 0x06B0), "єѕіїјљњћќґўџ", strict=True)),
    **dict(zip(range(0x06B1, 0x06B3), "ЂЃ", strict=True)),
    **dict(zip(range(0x06B4, 0x06C0), "ЄЅІЇЈЉЊЋЌҐЎЏ", strict=True)),
}


def character(keysym: int) -> str | None:
    """Return the character that a keysym stands for, None when it is no character (or one of few old ones)."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if UNICODE + 0xA0 <= keysym <= UNICODE + 0x10FFFF:
        return chr(keysym - UNICODE)
    single = _LEGACY_SINGLE.get(keysym)
    if single is not None:
        return single
    legacy = _LEGACY.get(keysym >> 8)
    if legacy is not None and (keysym & 0xFF) in legacy[1]:
        try:
            return bytes((keysym & 0xFF,)).decode(legacy[0])
        except UnicodeDecodeError:
            return None
    return None


def from_character(text: str) -> int:
    """Return the keysym of a character; 0 for control characters that no key makes."""
    code = ord(text)
    if text in "\r\n":
        return RETURN
    if text == "\t":
        return TAB
    if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF:
        return code
    if code < 0xA0 or 0xD800 <= code <= 0xDFFF:
        return NO_SYMBOL
    return UNICODE + code


def canonical(keysym: int) -> int:
    """Return one keysym for all that mean the same character; others as they are."""
    text = character(keysym)
    return keysym if text is None else from_character(text)


def case_pair(keysym: int) -> tuple[int, int] | None:
    """Return the keysyms of the small and capital letter, when the character is one of such a pair."""
    text = character(keysym)
    if text is None:
        return None
    small, capital = text.lower(), text.upper()
    # ß has two letters as its capital, ı and K another small letter than their capital's.
    if small == capital or len(small) != 1 or len(capital) != 1 or capital.lower() != small or small.upper() != capital:
        return None
    if text not in (small, capital):
        return None
    return from_character(small), from_character(capital)
