# SPDX-License-Identifier: Apache-2.0
"""Keys for the guest, by keysym, whatever its layout: injected with XTEST."""

from __future__ import annotations

import collections
import io
import logging
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import xcffib
import xcffib.xkb
import xcffib.xtest
from xcffib import xproto

from guest_agent import keysyms
from guest_agent.keymap import KEY_SYMS, KEY_TYPES, LOCK, SHIFT, Keymap, KeymapError, parse_map, parse_modifier_map
from guest_agent.x_connection import XConnection, XConnectionError

# A client may look a keycode up this long after its press; only then it may get another meaning.
REUSE_SECONDS = 0.5
USE_CORE_KEYBOARD = 0x100
MAX_HELD_KEYS = 64

_XKB_SELECT_EVENTS, _XKB_GET_MAP = 1, 8
_XKB_NEW_KEYBOARD_OR_MAP = 0x3
_XF86_SYMBOLS = range(0x10080000, 0x10090000)
_KEYPAD = range(0xFF80, 0xFFBE)

_log = logging.getLogger(__name__)


class _RawReply(xcffib.Reply):
    """A reply's bytes: xcffib cannot take GetMap's apart."""

    def __init__(self, unpacker: Any) -> None:
        base: Any = super()
        base.__init__(unpacker)
        module: Any = xcffib
        self.data = bytes(module.ffi.buffer(unpacker.cdata, 32 + self.length * 4))


class _RawCookie(xcffib.Cookie):
    reply_type: Any = _RawReply


class SpareKeys:
    """Keycodes that the layout does not use, each with the keysym it got last. Pure bookkeeping."""

    def __init__(self) -> None:
        self._used: collections.OrderedDict[int, tuple[int, float]] = collections.OrderedDict()
        self._free: list[int] = []

    def reset(self, keycodes: list[int]) -> None:
        """Another layout: these keycodes are spare now."""
        self._used.clear()
        self._free = keycodes[::-1]

    def touch(self, keycode: int, now: float) -> None:
        """A spare keycode is used again."""
        if keycode in self._used:
            self._used[keycode] = (self._used[keycode][0], now)
            self._used.move_to_end(keycode)

    def take(self, keysym: int, held: set[int], now: float) -> int | None:
        """Return the keycode that shall get `keysym`; None when there is none at all."""
        if self._free:
            keycode = self._free.pop()
        else:
            keycode = next((code for code in self._used if code not in held), 0)
        if keycode:
            self._used[keycode] = (keysym, now)
            self._used.move_to_end(keycode)
        return keycode or None

    def wait_seconds(self, held: set[int], now: float) -> float:
        """Return how long to wait until take() gives a keycode that no client looks up any more."""
        if self._free:
            return 0.0
        last = next((at for code, (_, at) in self._used.items() if code not in held), now - REUSE_SECONDS)
        return max(last + REUSE_SECONDS - now, 0.0)


class Keyboard:
    """The guest's keyboard; loop thread only. Held keys are repeated by the X server."""

    def __init__(self, x: XConnection) -> None:
        self._x = x
        self._xtest = x.extension("xtest")
        self._xkb = x.extension("xkb")
        self._held: dict[int, int] = {}  # canonical keysym -> keycode
        self._unrepeated: set[int] = set()
        self._spare = SpareKeys()
        self._is_changed = False
        if not x.reply(self._xkb.UseExtension(1, 0)).supported:
            raise XConnectionError("the X server has no XKB")
        x.on(xcffib.xkb.NewKeyboardNotifyEvent, self._handle_keymap_changed)
        self._select_events()
        self._keymap = self._load()
        self._find_spare_keys()

    def _select_events(self) -> None:
        # xcffib packs this request's variable part wrongly; with everything selected there is none.
        fields = (USE_CORE_KEYBOARD, _XKB_NEW_KEYBOARD_OR_MAP, 0, _XKB_NEW_KEYBOARD_OR_MAP, 0xFF, 0xFF)
        self._xkb.send_request(_XKB_SELECT_EVENTS, io.BytesIO(struct.pack("=xx2x6H", *fields)))

    def _handle_keymap_changed(self, event: Any) -> None:
        # All of XKB's events come as this one; only new maps are selected.
        self._is_changed = True

    def _load(self) -> Keymap:
        self._is_changed = False
        fields = (USE_CORE_KEYBOARD, KEY_TYPES | KEY_SYMS, 0)
        body = struct.pack("=xx2x3H", *fields).ljust(28, b"\0")
        cookie = self._xkb.send_request(_XKB_GET_MAP, io.BytesIO(body), _RawCookie)
        modifiers = self._x.core.GetModifierMapping()
        try:
            data = self._x.reply(cookie).data
            reply = self._x.reply(modifiers)
            return parse_map(data, parse_modifier_map(list(reply.keycodes), reply.keycodes_per_modifier))
        except KeymapError as error:
            raise XConnectionError(f"the keymap cannot be read: {error}") from error

    def _find_spare_keys(self) -> None:
        # Keys without a meaning first, then media keys: those can be given back by the same means.
        empty, media = [], []
        for keycode in self._keymap.keycodes:
            symbols = self._keymap.symbols(keycode)
            if keycode in self._keymap.modifier_keys:
                continue
            if not symbols:
                empty.append(keycode)
            elif all(symbol in _XF86_SYMBOLS for symbol in symbols):
                media.append(keycode)
        self._spare.reset(empty + media)

    def wait_seconds(self, keysym: int) -> float:
        """Return how long to wait before this key can be pressed safely; mostly 0."""
        keysym = keysyms.canonical(keysym)
        if keysym in self._held or self._keymap.places(keysym, self._group()):
            return 0.0
        return self._spare.wait_seconds(set(self._held.values()), time.monotonic())

    def press(self, keysym: int) -> None:
        """Press a key; one that is held is released first."""
        if self._is_changed:
            self._keymap = self._load()
        keysym = keysyms.canonical(keysym)
        self.release(keysym)
        if len(self._held) >= MAX_HELD_KEYS:
            _log.warning("too many keys are held: a press is ignored")
            return
        state = self._x.reply(self._xkb.GetState(USE_CORE_KEYBOARD))
        place = self._find(keysym, state.group, state.mods, state.baseMods)
        if place is None:
            if not self._map_spare_key(keysym):
                _log.warning("no key is free for the keysym %#x", keysym)
                return
            place = self._find(keysym, state.group, state.mods, state.baseMods)
            if place is None:
                _log.warning("the keysym %#x could not be mapped", keysym)
                return
        keycode, toggled = place
        self._spare.touch(keycode, time.monotonic())
        for held_keysym, held_keycode in list(self._held.items()):
            if held_keycode == keycode:
                self.release(held_keysym)
        if toggled:
            self._set_repeat(keycode, False)
        with self._modifiers(toggled):
            self._fake(keycode, down=True)
        self._held[keysym] = keycode
        self._x.flush()

    def release(self, keysym: int) -> None:
        """Release a key; nothing happens when it is not held."""
        keysym = keysyms.canonical(keysym)
        keycode = self._held.pop(keysym, None)
        if keycode is None:
            # Shift may have come or gone between a letter's press and its release.
            pair = keysyms.case_pair(keysym) or ()
            keycode = next((self._held.pop(other) for other in pair if other in self._held), None)
        if keycode is not None:
            self._fake(keycode, down=False)
            if keycode in self._unrepeated:
                self._set_repeat(keycode, True)
            self._x.flush()

    def _set_repeat(self, keycode: int, repeats: bool) -> None:
        # A key that got modifiers for its press alone would repeat as another character.
        if repeats:
            self._unrepeated.discard(keycode)
        else:
            self._unrepeated.add(keycode)
        mode = xproto.AutoRepeatMode.On if repeats else xproto.AutoRepeatMode.Off
        self._x.core.ChangeKeyboardControl(xproto.KB.Key | xproto.KB.AutoRepeatMode, [keycode, mode])

    def release_all(self) -> None:
        """Release every key that is held."""
        for keysym in list(self._held):
            self.release(keysym)

    def sync(self) -> None:
        """Wait until the server has taken all keys in."""
        self._x.reply(self._x.core.GetInputFocus())

    def _group(self) -> int:
        group: int = self._x.reply(self._xkb.GetState(USE_CORE_KEYBOARD)).group
        return group

    def _find(self, keysym: int, group: int, modifiers: int, base: int) -> tuple[int, int] | None:
        """Return a keycode and the modifiers to toggle around it, as few as possible."""
        places = self._keymap.places(keysym, group)
        if not places:
            return None
        if keysyms.character(keysym) is None and keysym not in _KEYPAD:
            # Shift+Tab stays Shift+Tab though the key has another keysym with Shift.
            return min(places, key=lambda place: place[1])[0], 0
        level3 = self._keymap.modifier_of(keysyms.ISO_LEVEL3_SHIFT)
        lock = (0, modifiers & LOCK)
        best: tuple[int, int] | None = None
        for keycode, level in places:
            key = self._keymap.group(keycode, group)
            for toggled in {first | second | third for first in (0, SHIFT) for second in (0, level3) for third in lock}:
                # What is latched or locked cannot be released by a key; only Lock has another way.
                if key is None or modifiers & toggled & ~base & ~LOCK:
                    continue
                if key.makes(level, modifiers ^ toggled):
                    if best is None or toggled.bit_count() < best[1].bit_count():
                        best = keycode, toggled
        return best

    def _map_spare_key(self, keysym: int) -> bool:
        keycode = self._spare.take(keysym, set(self._held.values()), time.monotonic())
        if keycode is None:
            return False
        pair = keysyms.case_pair(keysym) or (keysym, keysym)
        self._x.check(self._x.core.ChangeKeyboardMappingChecked(1, keycode, 2, list(pair)))
        self._keymap = self._load()
        return True

    @contextmanager
    def _modifiers(self, toggled: int) -> Iterator[None]:
        """Press the modifiers of `toggled` that are not held, release those that are; and back."""
        changes: list[tuple[int, bool]] = []
        if toggled & LOCK:
            self._lock(0)
        for modifier in (1 << bit for bit in range(8)):
            if toggled & modifier & ~LOCK:
                keys = [code for code in self._held.values() if self._keymap.modifier_keys.get(code, 0) & modifier]
                if keys:
                    changes += [(code, False) for code in keys]
                else:
                    key = self._modifier_key(modifier)
                    changes += [(key, True)] if key else []
        for keycode, down in changes:
            self._fake(keycode, down=down)
        yield
        for keycode, down in reversed(changes):
            self._fake(keycode, down=not down)
        if toggled & LOCK:
            self._lock(LOCK)

    def _lock(self, modifiers: int) -> None:
        self._xkb.LatchLockState(USE_CORE_KEYBOARD, LOCK, modifiers, False, 0, 0, False, 0)

    def _modifier_key(self, modifier: int) -> int:
        wanted = keysyms.SHIFT_L if modifier == SHIFT else keysyms.ISO_LEVEL3_SHIFT
        keys = [code for code, modifiers in self._keymap.modifier_keys.items() if modifiers == modifier]
        return next((code for code in keys if wanted in self._keymap.symbols(code)), 0)

    def _fake(self, keycode: int, *, down: bool) -> None:
        kind = 2 if down else 3  # KeyPress, KeyRelease
        self._xtest.FakeInput(kind, keycode, 0, 0, 0, 0, 0)
