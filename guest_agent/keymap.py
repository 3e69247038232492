# SPDX-License-Identifier: Apache-2.0
"""The X server's keymap: which key makes which keysym with which modifiers. Parsing of XKB's GetMap, no I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from guest_agent import keysyms

SHIFT, LOCK, CONTROL = 1, 2, 4
KEY_TYPES, KEY_SYMS = 1, 2

_REPLY = struct.Struct("=xxHI2xBBHBBBBHB")
_REPLY_BYTES = 40
_KEY_TYPE = struct.Struct("=BBHBBBx")
_TYPE_ENTRY = struct.Struct("=BBBBH2x")
_KEY_SYMS = struct.Struct("=4BBBH")


class KeymapError(ValueError):
    """The server's reply makes no sense."""


@dataclass(frozen=True, slots=True)
class KeyType:
    """How modifiers choose a level of a key."""

    mask: int
    levels: tuple[tuple[int, int], ...]  # modifiers under the mask, level

    def level(self, modifiers: int) -> int:
        for entry, level in self.levels:
            if entry == modifiers & self.mask:
                return level
        return 0


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """The keysyms of one key in one group, by level."""

    type: KeyType
    symbols: tuple[int, ...]

    def makes(self, level: int, modifiers: int) -> bool:
        """Return whether a client gets the symbol of that level with these modifiers."""
        if self.type.level(modifiers) != level:
            return False
        if modifiers & LOCK and not self.type.mask & LOCK:
            # Clients make capitals themselves when the key does not mind Lock.
            pair = keysyms.case_pair(self.symbols[level])
            return pair is None or pair[1] == keysyms.canonical(self.symbols[level])
        return True


class Keymap:
    """What the keys make. Keys have 1…4 groups (layouts); a group out of range wraps."""

    def __init__(self, groups: dict[int, tuple[KeyGroup, ...]], modifier_keys: dict[int, int]) -> None:
        self._groups = groups
        # keycode -> the modifiers that it sets
        self.modifier_keys = modifier_keys
        self._places: dict[int, dict[int, list[tuple[int, int]]]] = {}

    @property
    def keycodes(self) -> range:
        return range(min(self._groups), max(self._groups) + 1)

    def group(self, keycode: int, group: int) -> KeyGroup | None:
        """Return what the key has in that group, None when it has nothing at all."""
        groups = self._groups.get(keycode, ())
        return groups[group % len(groups)] if groups else None

    def symbols(self, keycode: int) -> set[int]:
        """Return every keysym of a key, in any group."""
        return {symbol for group in self._groups.get(keycode, ()) for symbol in group.symbols if symbol}

    def places(self, keysym: int, group: int) -> list[tuple[int, int]]:
        """Return the (keycode, level) that make a canonical keysym in that group, in the order of keycodes."""
        if group not in self._places:
            index: dict[int, list[tuple[int, int]]] = {}
            for keycode in sorted(self._groups):
                found = self.group(keycode, group)
                for level, symbol in enumerate(found.symbols if found else ()):
                    if symbol:
                        index.setdefault(keysyms.canonical(symbol), []).append((keycode, level))
            self._places[group] = index
        return self._places[group].get(keysym, [])

    def modifier_of(self, keysym: int) -> int:
        """Return the modifiers that a key with this keysym sets, 0 when there is no such key."""
        for keycode, modifiers in self.modifier_keys.items():
            if keysym in self.symbols(keycode):
                return modifiers
        return 0


def parse_modifier_map(keycodes: list[int], per_modifier: int) -> dict[int, int]:
    """Turn GetModifierMapping's list into keycode -> modifiers."""
    modifiers: dict[int, int] = {}
    for index, keycode in enumerate(keycodes):
        if keycode:
            modifiers[keycode] = modifiers.get(keycode, 0) | 1 << index // per_modifier
    return modifiers


def parse_map(reply: bytes, modifier_keys: dict[int, int]) -> Keymap:
    """Parse the reply of XKB's GetMap that was asked for all key types and keysyms.

    Raises:
        KeymapError: it is cut or contradicts itself.
    """
    try:
        _, _, _, _, present, _, type_count, _, first_key, _, key_count = _REPLY.unpack_from(reply)
        if present & (KEY_TYPES | KEY_SYMS) != KEY_TYPES | KEY_SYMS:
            raise KeymapError("the reply has no types or no keysyms")
        at = _REPLY_BYTES
        types = []
        for _ in range(type_count):
            key_type, at = _parse_type(reply, at)
            types.append(key_type)
        groups = {}
        for keycode in range(first_key, first_key + key_count):
            found, at = _parse_key(reply, at, types)
            groups[keycode] = found
    except (struct.error, IndexError) as error:
        raise KeymapError("the reply is cut") from error
    if not groups:
        raise KeymapError("the reply has no keys")
    return Keymap(groups, modifier_keys)


def _parse_type(reply: bytes, at: int) -> tuple[KeyType, int]:
    mask, _, _, _, entry_count, has_preserve = _KEY_TYPE.unpack_from(reply, at)
    at += _KEY_TYPE.size
    levels = []
    for _ in range(entry_count):
        active, entry_mask, level, _, _ = _TYPE_ENTRY.unpack_from(reply, at)
        at += _TYPE_ENTRY.size
        if active:
            levels.append((entry_mask, level))
    if has_preserve:
        at += 4 * entry_count
    return KeyType(mask, tuple(levels)), at


def _parse_key(reply: bytes, at: int, types: list[KeyType]) -> tuple[tuple[KeyGroup, ...], int]:
    *type_indices, group_info, width, count = _KEY_SYMS.unpack_from(reply, at)
    at += _KEY_SYMS.size
    symbols = struct.unpack_from(f"={count}I", reply, at)
    groups = []
    for index, type_index in enumerate(type_indices[: group_info & 0x0F]):
        groups.append(KeyGroup(types[type_index], symbols[index * width : (index + 1) * width]))
    return tuple(groups), at + 4 * count
