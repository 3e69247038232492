# SPDX-License-Identifier: Apache-2.0
"""The mouse, from the page to a guest program: where it lands, what it presses, how it turns."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from tests.support.browser import client
from tests.support.observer import ObservedGuest, observed_guest
from tests.support.session import SessionStarter

_SIZE = (1000, 700)
_FIXED = ("--size", "1000x700", "--no-resize")
_WHEEL = {"up": 4, "down": 5, "left": 6, "right": 7}


async def _released(guest: ObservedGuest, count: int) -> list[dict[str, int]]:
    """Wait for that many clicks to be whole; return where they ended."""
    await guest.wait(lambda: len([button for button in guest.all("button") if not button["down"]]) >= count)
    return [button for button in guest.all("button") if not button["down"]]


# Scale and stage: ones as large as the guest's screen, and ones that it is fitted into with bars at the sides or above.
_WINDOWS = [
    (1.0, (1000, 700)),
    (1.0, (1000, 500)),
    (1.5, (800, 700)),
    (2.0, (500, 350)),
    (2.0, (1013, 611)),
]


async def test_clicks_land_within_a_pixel(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session, *_FIXED) as guest:
        for scale, window in _WINDOWS:
            guest.forget()
            async with client(browser, *window, scale) as viewer:
                await viewer.open(guest.session.url)
                places = [(0, 0), (999, 699), (999, 0), (500, 350), (123, 456), (1, 698)]
                for x, y in places:
                    await viewer.page.mouse.click(*await viewer.guest_to_page(x, y))
                clicks = await _released(guest, len(places))
                for (x, y), click in zip(places, clicks, strict=True):
                    assert max(abs(click["x"] - x), abs(click["y"] - y)) <= 1, (scale, window, x, y, click)


async def test_click_lands_in_a_guest_that_follows_the_window(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session) as guest, client(browser, 701, 433, 1.5) as viewer:
        await viewer.open(guest.session.url)
        await guest.wait_for("size")
        await viewer.page.wait_for_function("() => heliograph.stats().width < 1060")
        for x, y in [(5, 5), (1040, 640), (700, 11)]:
            await viewer.page.mouse.click(*await viewer.guest_to_page(x, y))
        clicks = await _released(guest, 3)
        assert [(click["x"], click["y"]) for click in clicks] == [(5, 5), (1040, 640), (700, 11)]


async def test_buttons_wheel_and_drag(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session, *_FIXED) as guest, client(browser, *_SIZE) as viewer:
        await viewer.open(guest.session.url)
        mouse = viewer.page.mouse
        await mouse.move(300, 200)
        for button in ("left", "middle", "right"):
            await mouse.click(300, 200, button=button)
        await _released(guest, 3)
        assert [(button["button"], button["down"]) for button in guest.all("button")] == [
            (number, down) for number in (1, 2, 3) for down in (True, False)
        ]
        for dx, dy, name in ((0, 120, "down"), (0, -120, "up"), (120, 0, "right"), (-120, 0, "left")):
            guest.forget()
            await mouse.wheel(dx, dy)
            turned = await _released(guest, 1)
            assert turned[0]["button"] == _WHEEL[name]
        # A drag: pressed at one place, moved while held, let go at another.
        guest.forget()
        await mouse.move(100, 100)
        await mouse.down()
        await mouse.move(350, 250, steps=8)
        await mouse.up()
        up = (await _released(guest, 1))[-1]
        down = next(button for button in guest.all("button") if button["down"])
        assert (down["x"], down["y"], up["x"], up["y"]) == (100, 100, 350, 250)
        held = [motion for motion in guest.all("motion") if motion["state"] & 0x100]
        assert held
        assert all(100 <= motion["x"] <= 350 for motion in held)


async def test_locked_pointer_moves_by_as_much(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session, *_FIXED) as guest, client(browser, *_SIZE) as viewer:
        await viewer.open(guest.session.url)
        await viewer.page.mouse.click(500, 350)
        await _released(guest, 1)
        await viewer.page.keyboard.press("Control+Alt+Shift+KeyP")
        await expect(viewer.page.locator("#notices")).to_contain_text("Escape")  # for a moment
        await viewer.page.wait_for_function("() => document.pointerLockElement !== null")
        begin = await guest.pointer()
        await viewer.page.mouse.move(530, 330, steps=10)
        await guest.wait(lambda: guest.all("motion")[-1]["x"] - begin[0] == 30)
        assert await guest.pointer() == (begin[0] + 30, begin[1] - 20)
        await viewer.page.mouse.down()
        await viewer.page.mouse.up()
        clicks = await _released(guest, 2)
        assert (clicks[-1]["x"], clicks[-1]["y"]) == (begin[0] + 30, begin[1] - 20)
