# SPDX-License-Identifier: Apache-2.0
"""A guest's screen that is too large for a video: it comes smaller, and the pointer still hits its pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from playwright.async_api import Browser

from tests.support.browser import client
from tests.support.observer import observed_guest
from tests.support.session import SessionStarter

WIDTH, HEIGHT = 5121, 2881

# The streamer's own size: coded_width x coded_height.
_VIDEO_SIZE = "(({ videoWidth, videoHeight }) => [videoWidth, videoHeight])(document.getElementById('screen'))"

_SHOWN_RATIOS = """() => {
  const canvas = document.getElementById("canvas");
  const shown = (canvas.hidden ? document.getElementById("screen") : canvas).getBoundingClientRect();
  const frame = document.getElementById("frame").getBoundingClientRect();
  return [shown.width / frame.width, shown.height / frame.height];
}"""


def _halved(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Means of 2 x 2 pixels, the edge repeated."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.float64)
    return np.asarray(padded.reshape(-(-height // 2), 2, -(-width // 2), 2, 3).mean((1, 3)), np.float64)


def _luma(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(pixels @ np.array([0.2126, 0.7152, 0.0722]), np.float64)


async def test_a_large_screen_comes_smaller_and_is_clicked_in_its_own_pixels(
    browser: Browser, start_session: SessionStarter
) -> None:
    async with observed_guest(start_session, "--size", f"{WIDTH}x{HEIGHT}", "--no-resize") as guest:
        async with client(browser, 900, 500, 2.0) as viewer:
            await viewer.open(guest.session.url)
            stats = await viewer.stats()
            assert (stats["width"], stats["height"], stats["divisor"]) == (WIDTH, HEIGHT, 2)
            # 2561 x 1441, in even columns and rows by four.
            assert await viewer.page.evaluate(_VIDEO_SIZE) == [2562, 1444]
            expected = _luma(_halved(await guest.screenshot()))
            for _ in range(600):
                seen = _luma(await viewer.picture())
                assert seen.shape == expected.shape
                error = float(np.mean((seen - expected) ** 2))
                if error < 10:  # 38 dB
                    break
                await viewer.page.wait_for_timeout(100)
            else:
                raise AssertionError(f"the picture is off by {error:.1f} squared")
            # A pixel of the video is two of the guest's; what it has too much is cut off by the frame.
            across, down = await viewer.page.evaluate(_SHOWN_RATIOS)
            assert abs(across - 2 * 2562 / WIDTH) < 0.001
            assert abs(down - 2 * 1444 / HEIGHT) < 0.001
            # A pixel of this device covers nearly three of the guest's.
            places = [(1, 1), (WIDTH - 2, HEIGHT - 2), (2560, 1440), (1234, 2345), (3, 2877)]
            for x, y in places:
                await viewer.page.mouse.click(*await viewer.guest_to_page(x, y))
            buttons = await guest.wait_for("button", 2 * len(places))
            ends = [(button["x"], button["y"]) for button in buttons if not button["down"]]
            for (x, y), (end_x, end_y) in zip(places, ends, strict=True):
                assert max(abs(end_x - x), abs(end_y - y)) <= 3, (places, ends)
