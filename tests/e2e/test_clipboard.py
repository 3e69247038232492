# SPDX-License-Identifier: Apache-2.0
"""The clipboard, between the browser's and a guest program's."""

from __future__ import annotations

from playwright.async_api import Browser

from tests.support.browser import Client, client
from tests.support.observer import ObservedGuest, observed_guest
from tests.support.session import SessionStarter

_PERMISSIONS = ["clipboard-read", "clipboard-write"]
# 200 kB and more in UTF-8, in several messages.
_LONG = "".join(f"{number}: äöü 你好 😀\n" for number in range(8000))


async def _copy_in_guest(guest: ObservedGuest, text: str) -> None:
    # xclip stays behind as the owner, with the output open.
    await guest.run("sh", "-c", "exec xclip -selection clipboard -i >/dev/null", text=text)


async def _expect_in_guest(guest: ObservedGuest, text: str) -> None:
    for changes in range(1, 5):
        await guest.wait_for("selection", changes)
        got = await guest.run("xclip", "-selection", "clipboard", "-o")
        if got == text:
            return
    raise AssertionError(f"{got[:60]!r}… of {len(got)} characters instead of {text[:60]!r}… of {len(text)}")


async def _expect_in_page(viewer: Client, text: str) -> None:
    await viewer.wait_until("async (text) => await navigator.clipboard.readText() === text", text)


async def test_text_goes_both_ways(browser: Browser, start_session: SessionStarter) -> None:
    async with (
        observed_guest(start_session) as guest,
        client(browser, permissions=_PERMISSIONS) as viewer,
    ):
        await viewer.open(guest.session.url)
        await viewer.page.mouse.click(200, 200)
        for text in ("one line", "äöü ß 你好 😀\nand\ta second\n", _LONG):
            guest.forget()
            await viewer.page.evaluate("text => navigator.clipboard.writeText(text)", text)
            await viewer.page.keyboard.press("Control+v")
            await _expect_in_guest(guest, text)
            await _copy_in_guest(guest, f"back: {text}")
            await _expect_in_page(viewer, f"back: {text}")


async def test_clipboard_comes_along_when_the_page_gets_the_focus(
    browser: Browser, start_session: SessionStarter
) -> None:
    async with (
        observed_guest(start_session) as guest,
        client(browser, permissions=_PERMISSIONS) as viewer,
    ):
        await viewer.open(guest.session.url)
        guest.forget()
        await viewer.page.evaluate("navigator.clipboard.writeText('copied elsewhere')")
        await viewer.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await _expect_in_guest(guest, "copied elsewhere")
