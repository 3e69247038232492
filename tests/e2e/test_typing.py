# SPDX-License-Identifier: Apache-2.0
"""Keys and text, from the page to what a terminal in the guest reads."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Browser, CDPSession

from tests.support.browser import Client, client
from tests.support.observer import observed_guest
from tests.support.session import SessionStarter
from tests.support.terminal import Terminal

_ALT_GRAPH = ("AltGraph", "AltRight")
_SHIFT = ("Shift", "ShiftLeft")


async def _open(viewer: Client, terminal: Terminal) -> CDPSession:
    await viewer.open(terminal.session.url)
    await viewer.page.mouse.click(150, 100)  # without a window manager, keys go where the pointer is
    return await viewer.context.new_cdp_session(viewer.page)


async def _tell(devtools: CDPSession, kind: str, key: tuple[str, str]) -> None:
    """Press or release a key as a layout other than the test's own tells it: what it writes, and where it is."""
    text = {"text": key[0], "unmodifiedText": key[0]} if kind == "keyDown" and len(key[0]) == 1 else {}
    location = 2 if key == _ALT_GRAPH else 1 if key == _SHIFT else 0
    await devtools.send(
        "Input.dispatchKeyEvent", {"type": kind, "key": key[0], "code": key[1], "location": location, **text}
    )


async def _chord(devtools: CDPSession, *keys: tuple[str, str]) -> None:
    for key in keys:
        await _tell(devtools, "keyDown", key)
    for key in reversed(keys):
        await _tell(devtools, "keyUp", key)


async def test_text_arrives_exactly(browser: Browser, start_session: SessionStarter, tmp_path: Path) -> None:
    terminal = await Terminal.start(start_session, tmp_path)
    async with client(browser) as viewer:
        devtools = await _open(viewer, terminal)
        # Keys of the browser's own layout, Shift included; the rest comes as an input method gives it.
        text = "Hello, World! @#€ äöü ß éñ Привет 你好 ŁÓDŹ 😀 {[(<|\\~^`'\")]}"
        await viewer.page.keyboard.type(text)
        await terminal.expect(text)
        # Fast, and with the same characters again.
        text = "aAbB€€öÖ" * 25
        await viewer.page.keyboard.type(text)
        await terminal.expect(text)

        # A German, a Polish and a Russian keyboard, by what they tell.
        await _chord(devtools, _ALT_GRAPH, ("€", "KeyE"))
        await _chord(devtools, _ALT_GRAPH, ("@", "KeyQ"))
        await _chord(devtools, _ALT_GRAPH, ("{", "Digit7"))
        await _chord(devtools, ("ß", "Minus"))
        await _chord(devtools, _SHIFT, ("Ö", "Semicolon"))
        await _chord(devtools, ("z", "KeyY"))
        await _chord(devtools, _ALT_GRAPH, ("ł", "KeyL"))
        await _chord(devtools, _SHIFT, _ALT_GRAPH, ("Ź", "KeyX"))
        for character, code in (("Ж", "Semicolon"), ("ы", "KeyS"), ("ё", "Backquote")):
            await _chord(devtools, (character, code))
        await terminal.expect("€@{ßÖzłŹЖыё")

        # An input method: nothing until its text is chosen.
        await devtools.send("Input.imeSetComposition", {"text": "ni", "selectionStart": 2, "selectionEnd": 2})
        await devtools.send("Input.insertText", {"text": "你好"})
        await viewer.page.keyboard.insert_text("👩‍👩‍👧 éñ — „x“")
        await terminal.expect("你好👩‍👩‍👧 éñ — „x“")


async def test_control_and_function_keys(browser: Browser, start_session: SessionStarter, tmp_path: Path) -> None:
    terminal = await Terminal.start(start_session, tmp_path)
    async with client(browser) as viewer:
        await _open(viewer, terminal)
        keyboard = viewer.page.keyboard
        for keys, text in (
            (["Control+c"], "\x03"),
            (["Enter", "Tab", "Escape"], "\r\t\x1b"),
            (["ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft"], "\x1b[A\x1b[B\x1b[C\x1b[D"),
            (["F1", "F4", "F5", "F12"], "\x1bOP\x1bOS\x1b[15~\x1b[24~"),
            (["Home", "End", "Delete", "PageUp"], "\x1b[H\x1b[F\x1b[3~\x1b[5~"),
            (["Shift+ArrowUp", "Control+ArrowLeft"], "\x1b[1;2A\x1b[1;5D"),
            (["Control+a", "Control+Shift+ArrowRight"], "\x01\x1b[1;6C"),
        ):
            for key in keys:
                await keyboard.press(key)
            await terminal.expect(text)


async def test_held_key_repeats_until_the_page_loses_the_focus(
    browser: Browser, start_session: SessionStarter, tmp_path: Path
) -> None:
    terminal = await Terminal.start(start_session, tmp_path, repeats=True)
    async with client(browser) as viewer:
        await _open(viewer, terminal)
        await viewer.page.keyboard.down("r")
        await terminal.wait_longer(8)
        await viewer.page.evaluate("window.dispatchEvent(new Event('blur'))")
        await viewer.page.keyboard.type("quiet")
        await terminal.wait_for("quiet")
        assert re.fullmatch("r+quiet", terminal.text)


async def test_keys_are_released_one_by_one(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session) as guest, client(browser) as viewer:
        await viewer.open(guest.session.url)
        guest.forget()
        keyboard = viewer.page.keyboard
        for key in ("Shift", "Control", "KeyA"):
            await keyboard.down(key)
        for key in ("Shift", "KeyA", "Control"):
            await keyboard.up(key)
        await guest.wait(lambda: sum(not key["down"] for key in guest.all("key")) == 3)
        keys = guest.all("key")  # what is held for long repeats
        names = {0xFFE1: "Shift", 0xFFE3: "Control", 0x61: "a"}
        seen = [(names[key["keysym"]], key["down"]) for key in keys]
        assert seen[:3] == [("Shift", True), ("Control", True), ("a", True)]
        assert [name for name, down in seen if not down] == ["Shift", "a", "Control"]
