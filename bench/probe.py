# SPDX-License-Identifier: Apache-2.0
"""The probe in a page: the guest's clock and clicks as the viewer's page gets to see them, whoever's page it is."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from bench.barcodes import reader_script, static_text
from bench.visit import read_zero_ms

_PICTURE_MS = 60_000
_CLICK_TIMEOUT_MS = 2_000
# Long enough for a viewer to be at rest again, and no multiple of any display's interval.
_BETWEEN_CLICKS_S = (0.11, 0.26)


class NoClockError(Exception):
    """A page did not show the guest's clock; the text says what it shows."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A distinct picture when it was read first. Times in ms of CLOCK_MONOTONIC.

    Attributes:
        drawn_ms: the guest's clock in it, taken before its drawing.
        frame_ms: when the browser began the animation frame it was read in.
        read_ms: when its pixels had been read.
    """

    drawn_ms: float
    frame_ms: float
    read_ms: float


@dataclass(frozen=True, slots=True)
class Sights:
    """What was seen since the last time of asking. `unreadable`: of the `frames`, those without a whole clock."""

    sights: tuple[Sight, ...]
    frames: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What the probe reads. `width`, `height`: in its own pixels; `page_*`: on the page, CSS pixels."""

    kind: str
    width: int
    height: int
    left: float
    top: float
    page_width: float
    page_height: float

    @property
    def is_scaled(self) -> bool:
        return (round(self.page_width), round(self.page_height)) != (self.width, self.height)


class Probe:
    """A page with the probe in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._zero_ms = 0.0

    async def open(self, url: str) -> None:
        """Go to a link, wait until the guest's clock is seen there.

        Raises:
            NoClockError: it was not seen for a minute.
        """
        await self.page.goto(url)
        try:
            await self.page.wait_for_function("() => window.probe?.clockMs > 0", timeout=_PICTURE_MS)
        except PlaywrightTimeoutError as error:
            text = await self.page.evaluate("() => document.body.innerText.slice(0, 300)")
            raise NoClockError(
                f"no clock within {_PICTURE_MS / 1000:.0f} s at {url}; the page says {text!r}"
            ) from error
        self._zero_ms = await read_zero_ms(self.page)

    async def shown(self) -> Shown:
        """Return what is read."""
        found: dict[str, Any] = await self.page.evaluate("probe.shown()")
        return Shown(*found.values())

    async def take(self) -> Sights:
        """Take what was seen since the last call."""
        found: dict[str, Any] = await self.page.evaluate("probe.take()")
        zero = self._zero_ms
        sights = tuple(Sight(clock, frame + zero, read + zero) for clock, frame, read in found["samples"])
        return Sights(sights, found["frames"], found["unreadable"])

    async def click(self, count: int, chance: random.Random) -> list[float | None]:
        """Click at the picture's middle at random times; return ms from each event to its sight, None: unseen."""
        shown = await self.shown()
        mouse = self.page.mouse
        await mouse.move(shown.left + shown.page_width / 2, shown.top + shown.page_height / 2)
        begin: int = await self.page.evaluate("probe.clicks.length")
        for _ in range(count):
            await asyncio.sleep(chance.uniform(*_BETWEEN_CLICKS_S))
            await mouse.down()
            await mouse.up()
        try:
            await self.page.wait_for_function(
                "(end) => probe.clicks.length >= end && probe.clicks.every(([, seen]) => seen !== null)",
                arg=begin + count,
                timeout=_CLICK_TIMEOUT_MS,
            )
        except PlaywrightTimeoutError:
            pass  # they are counted
        clicks: list[tuple[float, float | None]] = await self.page.evaluate(f"probe.clicks.slice({begin})")
        return [None if seen is None else seen - stamp for stamp, seen in clicks]


@asynccontextmanager
async def probed_page(browser: Browser, width: int, height: int, is_cropped: bool = False) -> AsyncIterator[Probe]:
    """Open a page of its own profile, of the picture's size, with the probe in it.

    `is_cropped`: of a video, convert the part to RGB that is read, not all of it.
    """
    context = await browser.new_context(viewport={"width": width, "height": height}, bypass_csp=True)
    try:
        page = await context.new_page()
        constants = f"const IS_CROPPED = {json.dumps(is_cropped)};"
        await page.add_init_script(f"(() => {{\n{constants}\n{reader_script()}\n{static_text('probe.js')}\n}})();")
        yield Probe(page)
    finally:
        await context.close()
