# SPDX-License-Identifier: Apache-2.0
"""What is typed arrives in a real guest program, whatever the layouts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from xcffib import xproto

from guest_agent import keyboard, keysyms
from guest_agent.injector import Injector
from guest_agent.keyboard import Keyboard, SpareKeys
from guest_agent.messages import Key, Text
from guest_agent.pointer import open_pointer
from tests.support.fifo import Fifo
from tests.support.guest import Guest

TEXT = "Hello, World! @#€ äöü ß éñ Привет 你好 ŁÓDŹ 😀"


class Typist:
    """A terminal in the guest that has the keyboard, and the injector."""

    def __init__(self, guest: Guest, command: str) -> None:
        self.guest = guest
        self.keyboard = Keyboard(guest.x)
        self.pointer = open_pointer(guest.x, guest.server.pointer_socket)
        self.injector = Injector(self.keyboard, self.pointer, lambda: (800, 600))
        self.terminal: Fifo = guest.start_terminal(command)

    async def wait_until_ready(self) -> None:
        # Without a window manager, the window under the pointer has the keyboard.
        self.pointer.move_to(100, 50)
        assert await self.terminal.read_line() == "ready"

    def close(self) -> None:
        self.pointer.close()
        self.terminal.close()

    async def key(self, keysym: int, down: bool | None = None) -> None:
        for state in (True, False) if down is None else (down,):
            await self.injector.put(Key(keysym, state))


@pytest.fixture
async def typist(guest: Guest) -> AsyncIterator[Typist]:
    with contextlib.closing(Typist(guest, "stty -echo; echo ready; cat")) as typist:
        await typist.wait_until_ready()
        # The X server repeats keys that are held for long, also where it was the tests that were held up.
        control = typist.guest.x.core.ChangeKeyboardControlChecked(
            xproto.KB.AutoRepeatMode, [xproto.AutoRepeatMode.Off]
        )
        typist.guest.x.check(control)
        yield typist


async def type_line(typist: Typist, text: str) -> str:
    for character in text:
        await typist.key(keysyms.from_character(character))
    await typist.key(keysyms.RETURN)
    return await typist.terminal.read_line()


async def test_any_text_arrives(typist: Typist) -> None:
    assert await type_line(typist, TEXT) == TEXT
    assert await type_line(typist, TEXT[::-1]) == TEXT[::-1]


@pytest.mark.slow
async def test_text_message_is_typed_whole(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyboard, "REUSE_SECONDS", 3.0)  # however late the terminal looks
    # More characters than there are spare keys, so that keys get new meanings on the way.
    text = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 150))
    assert len(typist.keyboard._spare._free) < len(text)
    async with asyncio.TaskGroup() as tasks:
        runner = tasks.create_task(typist.injector.run())
        await typist.injector.put(Text(f"{TEXT}\n{text}\n"))
        assert await typist.terminal.read_line() == TEXT
        assert await typist.terminal.read_line() == text
        runner.cancel()


async def test_text_arrives_in_another_layout(typist: Typist) -> None:
    for layout in ("de", "ru", "us,ru", "fr"):
        await typist.guest.run("setxkbmap", layout)
        typist.guest.x.drain()
        assert await type_line(typist, TEXT) == TEXT, layout


async def test_held_shift_does_not_change_a_character_without_it(typist: Typist) -> None:
    # A viewer with a German keyboard: / is Shift+7 there, a key of its own here.
    await typist.key(keysyms.SHIFT_L, True)
    await typist.key(ord("/"))
    await typist.key(ord("A"))
    await typist.key(ord("ß"))
    await typist.key(keysyms.SHIFT_L, False)
    await typist.key(ord("a"))
    await typist.key(keysyms.RETURN)
    assert await typist.terminal.read_line() == "/Aßa"


async def test_caps_lock_of_the_guest_is_minded(typist: Typist) -> None:
    await typist.key(keysyms.CAPS_LOCK)
    assert await type_line(typist, "aBcП п") == "aBcП п"
    await typist.key(keysyms.CAPS_LOCK)
    assert await type_line(typist, "aBc") == "aBc"


async def test_repeated_press_types_again(typist: Typist) -> None:
    for _ in range(3):
        await typist.key(ord("x"), True)
    await typist.key(ord("x"), False)
    await typist.key(keysyms.RETURN)
    assert await typist.terminal.read_line() == "xxx"


async def test_held_key_repeats_as_what_it_was(guest: Guest) -> None:
    with contextlib.closing(
        Typist(guest, "stty -echo -icanon min 1; echo ready; stdbuf -o0 od -An -v -tx1 -w1")
    ) as typist:
        await typist.wait_until_ready()
        core = guest.x.core
        await typist.key(ord("x"), True)
        assert [await typist.terminal.read_line() for _ in range(4)] == [" 78"] * 4
        await typist.key(ord("x"), False)
        before = bytes(guest.x.reply(core.GetKeyboardControl()).auto_repeats)
        await typist.key(ord("!"), True)
        assert bytes(guest.x.reply(core.GetKeyboardControl()).auto_repeats) != before
        await typist.key(ord("!"), False)
        assert bytes(guest.x.reply(core.GetKeyboardControl()).auto_repeats) == before


async def test_shortcuts_reach_the_program(guest: Guest) -> None:
    command = "trap 'echo interrupted' INT; echo ready; while :; do sleep 1000; done"
    with contextlib.closing(Typist(guest, command)) as typist:
        await typist.wait_until_ready()
        for layout in ("us", "ru"):
            await guest.run("setxkbmap", layout)
            guest.x.drain()
            await typist.key(keysyms.CONTROL_L, True)
            await typist.key(ord("c"))
            await typist.key(keysyms.CONTROL_L, False)
            assert await typist.terminal.read_line() == "interrupted"


async def test_release_all_releases_all(typist: Typist) -> None:
    for keysym in (keysyms.CONTROL_L, ord("q"), 0x01004F60):
        await typist.key(keysym, True)
    typist.injector.release_all()
    keys = typist.guest.x.reply(typist.guest.x.core.QueryKeymap()).keys
    assert not any(keys)


def test_spare_keys_are_reused_in_turn_and_not_too_soon() -> None:
    spare = SpareKeys()
    spare.reset([100, 101])
    assert [spare.take(1, set(), 10.0), spare.take(2, set(), 10.1)] == [100, 101]
    assert spare.wait_seconds(set(), 10.2) == pytest.approx(0.3)
    spare.touch(100, 10.2)
    assert spare.wait_seconds(set(), 11.0) == 0.0
    assert spare.take(3, set(), 11.0) == 101
    assert spare.take(4, {101}, 11.0) == 100
    assert spare.take(5, {100, 101}, 11.0) is None
