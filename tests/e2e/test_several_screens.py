# SPDX-License-Identifier: Apache-2.0
"""A guest's outputs in windows of their own: a real worker, a real streamer's session, Chromium."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Browser, expect

from guest_agent.messages import Motion, Pointer, Touch
from streamer.gateway.access import Role
from tests.support.browser import Client, client
from tests.support.fake_streamer import fake_session
from tests.support.several_screens import SeveralScreens, halves, several_screens

PATTERNS = ((40, 200), (150, 90))


async def wait_shown(viewer: Client, size: tuple[int, int], colours: tuple[int, int]) -> None:
    """Wait until the page shows that picture."""
    seen: object = None
    try:
        async with asyncio.timeout(60):
            while True:
                await viewer.wait_picture()
                picture = await viewer.picture()
                seen = picture.shape, halves(picture)
                if (
                    picture.shape[:2] == size[::-1]
                    and max(abs(a - b) for a, b in zip(halves(picture), colours, strict=True)) <= 4
                ):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the page shows {seen}") from None


async def window_size(viewer: Client) -> tuple[int, int]:
    width, height = await viewer.page.evaluate("[innerWidth, innerHeight]")
    return width, height


async def open_second(first: Client) -> Client:
    """By the menu, as a person does."""
    await first.page.click("#handle")
    await first.page.click("[data-action=screens]")
    async with first.context.expect_page() as opening:
        await first.page.click("#screens a:has-text('Screen 2')")
    return Client(first.context, await opening.value)


async def both_shown(bench: SeveralScreens, first: Client) -> Client:
    """Open the guest's first output in `first`, and the second one in the window that is returned."""
    size = await window_size(first)
    bench.show(0, *size, PATTERNS[0])
    await first.open(bench.url)
    await wait_shown(first, size, PATTERNS[0])
    assert not bench.modes()[1].enabled
    second = await open_second(first)
    size = await window_size(second)
    mode = await bench.wait_mode(1, *size)
    assert mode.rect.x == bench.modes()[0].rect.width
    bench.show(1, *size, PATTERNS[1])
    await wait_shown(second, size, PATTERNS[1])
    return second


async def test_a_second_window_shows_the_second_output(browser: Browser) -> None:
    async with several_screens(outputs=2) as bench, client(browser, 640, 480) as first:
        second = await both_shown(bench, first)
        await expect(second.page).to_have_title("Test session: screen 2")
        await expect(first.page).to_have_title("Test session: screen 1")
        assert "#output=1" in second.page.url
        # Its frames have traces of their own.
        await second.wait_until("async () => heliograph.frames().length > 0")

        await second.page.mouse.move(*await second.guest_to_page(100, 50))
        await bench.wait_input(Motion(100, 50, 1))
        await first.page.mouse.move(*await first.guest_to_page(30, 40))
        await bench.wait_input(Motion(30, 40, 0))

        await second.page.set_viewport_size({"width": 500, "height": 300})
        await bench.wait_mode(1, 500, 300)
        bench.show(1, 500, 300, PATTERNS[1])
        await wait_shown(second, (500, 300), PATTERNS[1])

        bench.turn_off(1)
        await expect(second.page.locator("#panel-title")).to_have_text("Screen 2 is off", timeout=60_000)
        await expect(second.page.locator("#panel")).to_have_class(re.compile("shown"), timeout=60_000)
        await wait_shown(first, await window_size(first), PATTERNS[0])
        bench.show(1, 500, 300, (77, 177))
        await wait_shown(second, (500, 300), (77, 177))

        assert second.errors == []
        await second.page.close()
        bench.show(0, 640, 480, (10, 240))
        await wait_shown(first, (640, 480), (10, 240))
        metrics = bench.session.metrics().values
        assert (metrics["outputs"], metrics["outputs_watched"]) == (2, 1)


async def test_a_window_that_is_open_already_is_found_again(browser: Browser) -> None:
    async with several_screens(outputs=2) as bench, client(browser, 640, 480) as first:
        second = await both_shown(bench, first)
        await second.page.click("#handle")
        await second.page.click("[data-action=screens]")
        await second.page.click("#screens a:has-text('Screen 1')")
        await first.page.click("#handle")
        await first.page.click("[data-action=screens]")
        await first.page.click("#screens a:has-text('Screen 2')")
        await expect(first.page.locator("#screens")).not_to_be_visible()
        assert len(first.context.pages) == 2
        # Neither was loaded again.
        for page, viewer in ((first, 1), (second, 2)):
            assert (await page.stats())["viewer"] == viewer


async def test_fingers_reach_a_guest_that_takes_them(browser: Browser) -> None:
    async with several_screens(outputs=2) as bench, client(browser, 640, 480, has_touch=True) as viewer:
        bench.show(0, 640, 480, PATTERNS[0])
        bench.show(1, 640, 480, PATTERNS[1])
        await viewer.open(bench.url)
        await viewer.page.goto(f"{viewer.page.url}#output=1")
        await wait_shown(viewer, (640, 480), PATTERNS[1])
        assert (await viewer.stats())["output"] == 1
        bench.agent.send(Pointer(True))
        await viewer.page.wait_for_function("() => heliograph.stats().takesTouch")
        devtools = await viewer.context.new_cdp_session(viewer.page)

        async def touch(kind: str, *places: tuple[int, int]) -> None:
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            await devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        await touch("touchStart", (100, 100))
        await bench.wait_input(Touch(0, "down", 100, 100, 1))
        await touch("touchStart", (100, 100), (300, 200))
        await bench.wait_input(Touch(1, "down", 300, 200, 1))
        await touch("touchMove", (100, 100), (320, 210))
        await bench.wait_input(Touch(1, "move", 320, 210, 1))
        await touch("touchEnd")
        await bench.wait_input(Touch(0, "up", 100, 100, 1))
        await bench.wait_input(Touch(1, "up", 320, 210, 1))
        assert not any(isinstance(message, Motion) for message in bench.inputs)
        await touch("touchStart", (5, 6))
        await bench.wait_input(Touch(0, "down", 5, 6, 1))
        await viewer.page.close()
        await bench.wait_input(Touch(0, "cancel", 5, 6, 1))


async def test_what_one_window_has_brought_across_the_other_does_not_bring_again(browser: Browser) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    async with fake_session() as session, client(browser, permissions=permissions) as first:
        await first.open(session.server.url(Role.CONTROL))
        second = Client(first.context, await first.context.new_page())
        await second.open(f"{session.origin}/#output=1")

        async def paste(viewer: Client, text: str, count: int) -> None:
            await viewer.page.bring_to_front()
            await viewer.page.evaluate("text => navigator.clipboard.writeText(text)", text)
            await viewer.page.click("#handle")
            await viewer.page.click("[data-action=paste]")
            told = await session.streamer.wait_messages("clipboard", count)
            assert [each["text"] for each in told[count - 1 :]] == [text]

        await paste(first, "one", 1)
        await paste(second, "two", 2)
        # The first window knows that the guest has something else by now.
        await paste(first, "one", 3)
        offers = [signal for signal in session.streamer.signals if signal["type"] == "offer"]
        assert [offer["output"] for offer in offers] == [0, 1]
