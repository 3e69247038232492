# SPDX-License-Identifier: Apache-2.0
"""Chromium, headless, as the end-to-end tests use it."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

ARGUMENTS = (
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)

# The limits are for tests that fail: a machine with other work takes its time.
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

# True when there is a picture, and nothing lies over it.
PICTURE_SHOWN = """() => window.heliograph?.stats().state === "connected"
  && document.getElementById("screen").videoWidth > 0
  && !document.getElementById("panel").classList.contains("shown") && document.getElementById("still").hidden"""

_PICTURE = """async () => {
  const painted = document.getElementById("canvas");
  const shown = painted.hidden ? document.getElementById("screen") : painted;
  const stats = heliograph.stats();
  const width = Math.ceil(stats.width / stats.divisor), height = Math.ceil(stats.height / stats.divisor);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  const bytes = context.getImageData(0, 0, width, height).data;
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob([bytes]));
  });
  return { width, height, data: url.slice(url.indexOf(",") + 1) };
}"""


def chromium_path() -> str | None:
    """Return where the distribution's Chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def chromium(*extra: str) -> AsyncIterator[Browser]:
    """Start a browser with a fresh profile."""
    # Its sandbox needs user namespaces or a setuid helper, which containers and chroots lack; the pages are ours.
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=[*ARGUMENTS, "--no-sandbox", *extra], chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            await browser.close()


class Client:
    """A page with the client, and the mistakes that its scripts made."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self, url: str) -> None:
        """Go to a link and wait for the picture."""
        await self.page.goto(url)
        await self.wait_picture()

    async def wait_picture(self) -> None:
        await self.page.wait_for_function(PICTURE_SHOWN)

    async def wait_until(self, predicate: str, argument: Any = None) -> None:
        """Wait until an async function of the page returns true; wait_for_function takes its promise for an answer."""
        async with asyncio.timeout(WAIT_MS / 1000):
            await self.page.evaluate(
                f"async (argument) => {{ const predicate = {predicate};"
                " while (!await predicate(argument)) await new Promise((resolve) => setTimeout(resolve, 50)); }",
                argument,
            )

    async def stats(self) -> dict[str, Any]:
        result: dict[str, Any] = await self.page.evaluate("heliograph.stats()")
        return result

    async def picture(self) -> npt.NDArray[np.uint8]:
        """Return the video's picture without its padding, as a canvas gets it: (height, width, 3), RGB."""
        got = await self.page.evaluate(_PICTURE)
        pixels = np.frombuffer(base64.b64decode(got["data"]), np.uint8).reshape(got["height"], got["width"], 4)
        return np.ascontiguousarray(pixels[:, :, :3])

    async def guest_to_page(self, x: float, y: float) -> tuple[float, float]:
        """Return where the middle of a guest's pixel is on the page."""
        left, top, width, height = await self.page.evaluate(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.getElementById('frame').getBoundingClientRect())"
        )
        stats = await self.stats()
        return left + (x + 0.5) * width / stats["width"], top + (y + 0.5) * height / stats["height"]

    async def screenshot(self) -> npt.NDArray[np.uint8]:
        """Return the page in device pixels: (height, width, 3), RGB."""
        return decode_png(await self.page.screenshot())


@asynccontextmanager
async def client(
    browser: Browser, width: int = 800, height: int = 450, scale: float = 1.0, **options: Any
) -> AsyncIterator[Client]:
    """Open a page of its own profile; fail if its scripts raised something."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale, **options
    )
    context.set_default_timeout(WAIT_MS)
    try:
        opened = Client(context, await context.new_page())
        yield opened
        assert opened.errors == []
    finally:
        await context.close()


def decode_png(png: bytes) -> npt.NDArray[np.uint8]:
    """Return a PNG's pixels: (height, width, 3), RGB."""
    with av.open(BytesIO(png), "r", format="png_pipe") as container:
        frame = next(container.decode(video=0))
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
