# SPDX-License-Identifier: Apache-2.0
"""A session as a person starts it, and a headless Chromium that watches it."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Browser, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from bench.barcodes import watcher_module
from tests.support.browser import PICTURE_SHOWN, chromium
from tests.support.session import Session, SessionStarter

_STATIC = Path(__file__).parent / "static"
_WINDOW = {"width": 1280, "height": 720}
# Chromium takes its time on a busy machine.
_PICTURE_MS = 60_000
_STATE = """async () => JSON.stringify({
  client: window.heliograph?.stats(), transport: await window.measure?.transport(),
  panel: document.getElementById("panel")?.innerText, still: document.getElementById("still")?.hidden,
  video: document.getElementById("screen")?.videoWidth, paused: document.getElementById("screen")?.paused,
  ready: document.getElementById("screen")?.readyState, shown: document.visibilityState})"""


class NoPictureError(Exception):
    """A viewer did not get its picture; the text says what its page knows."""


@dataclass(frozen=True, slots=True)
class PictureSample:
    """One presented picture. Times in ms of the server's clock; `drawn_ms` None: no barcode could be read."""

    drawn_ms: float | None
    rtp: int
    present_ms: float
    told_ms: float


async def read_zero_ms(page: Page) -> float:
    """Return the server's clock where the page's `performance.now()` is 0, in ms.

    Chromium's clock is CLOCK_MONOTONIC, as the session's: on one machine the two need no estimate.
    """
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable")
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    await devtools.detach()
    return float({metric["name"]: metric["value"] for metric in metrics}["NavigationStart"]) * 1000


class Viewer:
    """A page with the client. `zero_ms` is the server's clock where the page's `performance.now()` is 0."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.zero_ms = 0.0

    async def open(self, url: str) -> None:
        """Go to a link, and wait until the picture is there."""
        # The video element: its own times are what stages are made of.
        await self.page.goto(f"{url}#screen=video")
        try:
            await self.page.wait_for_function(PICTURE_SHOWN, timeout=_PICTURE_MS)
        except PlaywrightTimeoutError as error:
            state = await self.page.evaluate(_STATE)
            raise NoPictureError(f"no picture within {_PICTURE_MS / 1000:.0f} s: {state}") from error
        self.zero_ms = await read_zero_ms(self.page)

    async def clock_error_ms(self) -> float:
        """Return how far the client's own estimate of the server's clock is off."""
        offset: float = await self.page.evaluate("heliograph.stats().clockOffsetMs")
        return offset - self.zero_ms

    async def watch_barcodes(self) -> None:
        """Begin to read the guest's clock from each picture."""
        await self.page.add_script_tag(
            type="module", content=f"{watcher_module()}\nwindow.measure.start(watchBarcodes);"
        )

    async def take_samples(self) -> list[PictureSample]:
        """Take what was read since the last call."""
        zero = self.zero_ms
        return [
            PictureSample(drawn, rtp, present + zero, told + zero)
            for drawn, rtp, present, told in await self.page.evaluate("measure.take()")
        ]

    async def frames(self) -> list[dict[str, float]]:
        """Return the client's traces: the newest 600 frames, stages in ms."""
        found: list[dict[str, float]] = await self.page.evaluate("heliograph.frames()")
        return found

    async def transport(self) -> dict[str, int]:
        """Return sums of the WebRTC connection: bytes and packets with their headers, pictures."""
        found: dict[str, int] = await self.page.evaluate("measure.transport()")
        return found


@asynccontextmanager
async def running_session(mode: str, options: Sequence[str], command: Sequence[str] = ()) -> AsyncIterator[Session]:
    """Start `heliograph`, and end it."""
    starter = SessionStarter()
    try:
        arguments = [*options, "--", *command] if command else [*options]
        yield await asyncio.to_thread(starter, mode, *arguments)
    finally:
        await asyncio.to_thread(starter.close)


@asynccontextmanager
async def viewer(browser: Browser, window: dict[str, int] | None = None) -> AsyncIterator[Viewer]:
    """Open a page of its own profile, with a window as large as the pictures that are measured."""
    size: Any = window or _WINDOW
    context = await browser.new_context(viewport=size, bypass_csp=True)
    try:
        page = await context.new_page()
        await page.add_init_script(path=_STATIC / "viewer.js")
        yield Viewer(page)
    finally:
        await context.close()


async def read_values(session: Session) -> dict[str, float]:
    """Return what the session says of itself: numbers by name."""
    token = parse_qs(urlsplit(session.url).query)["token"][0]
    request = urllib.request.Request(f"{session.origin}/healthz", headers={"Authorization": f"Bearer {token}"})

    def ask() -> dict[str, float]:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, float] = json.load(answer)["values"]
            return found

    return await asyncio.to_thread(ask)


def clock_command(scene: str, fps: int = 60) -> list[str]:
    """Return the guest program that draws its clock. The repository must be the working folder or installed."""
    return [sys.executable, "-m", "bench.guest_programs.clock", "--scene", scene, "--fps", str(fps)]


__all__ = [
    "NoPictureError",
    "PictureSample",
    "Viewer",
    "chromium",
    "clock_command",
    "read_values",
    "read_zero_ms",
    "running_session",
    "viewer",
]
