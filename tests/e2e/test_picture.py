# SPDX-License-Identifier: Apache-2.0
"""What the page shows against a screenshot taken in the guest; sizes that follow the window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import Browser

from tests.support.browser import Client, client
from tests.support.guest_programs.observer import PATCH, PATCHES
from tests.support.observer import observed_guest
from tests.support.session import SessionStarter

# BT.709's 219 levels and two roundings (1.5), and what the encoder calls sharp: in a flat macroblock luma may be off by
# 1.4 and one chroma by 2.8. How much of it is left depends on what the rate was.
# Chromium without a GPU converts by libyuv, which has 2.0 for BT.709's 2.112: its strongest blues are 12 steps off.
COLOUR_STEPS = (9, 6, 9 + 12)
GREY_STEPS = 3
STILL_LUMA_PSNR_DB = 38.0


def _luma(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return np.asarray(pixels @ np.array([0.2126, 0.7152, 0.0722]), np.float64)


def _psnr_db(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255.0**2 / max(1e-9, float(np.mean((a - b) ** 2)))))


async def _settled(viewer: Client, expected: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Wait until the picture of a still guest is as good as it must get."""
    best = 0.0
    for _ in range(600):
        picture = await viewer.picture()
        if picture.shape == expected.shape:
            best = max(best, _psnr_db(_luma(picture), _luma(expected)))
            if best >= STILL_LUMA_PSNR_DB:
                return picture
        await viewer.page.wait_for_timeout(100)
    raise AssertionError(f"the picture has {picture.shape}, at best {best:.1f} dB; the guest shows {expected.shape}")


@pytest.mark.parametrize("size", [(1280, 720), (1001, 603)])
async def test_picture_is_the_guests(browser: Browser, start_session: SessionStarter, size: tuple[int, int]) -> None:
    options = ("--size", f"{size[0]}x{size[1]}", "--no-resize")
    async with observed_guest(start_session, *options) as guest, client(browser, *size) as viewer:
        await viewer.open(guest.session.url)
        expected = await guest.screenshot()
        assert expected.shape == (size[1], size[0], 3)
        picture = await _settled(viewer, expected)
        for index, (name, colour) in enumerate(PATCHES.items()):
            left = index * PATCH + 16
            seen = picture[16 : PATCH - 16, left : left + PATCH - 32].reshape(-1, 3).astype(int)
            told = np.array([colour >> 16, colour >> 8 & 0xFF, colour & 0xFF])
            assert (expected[PATCH // 2, left] == told).all()
            steps = GREY_STEPS if len(set(told)) == 1 else COLOUR_STEPS
            assert (np.abs(seen - told).max(0) <= steps).all(), (name, seen.mean(0))
        # No pixel to either side fits better.
        inner = _luma(expected)[8:-8, 8:-8]
        seen_luma = _luma(picture)
        fits = {
            (dx, dy): _psnr_db(seen_luma[8 + dy : size[1] - 8 + dy, 8 + dx : size[0] - 8 + dx], inner)
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
        }
        best = fits.pop((0, 0))
        assert best > max(fits.values()) + 6
        # The edges are there, on all four sides: a line of one white pixel.
        for line in (seen_luma[0], seen_luma[-1], seen_luma[:, 0], seen_luma[:, -1]):
            assert np.median(line) > 200
        # On the page, one pixel is one pixel.
        shot = _luma(await viewer.screenshot())
        assert _psnr_db(shot[100:-8, 8:-8], _luma(expected)[100:-8, 8:-8]) > STILL_LUMA_PSNR_DB - 3


async def test_guest_takes_the_windows_size_and_back(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session, "--size", "800x600") as guest, client(browser, 801, 601) as viewer:
        await viewer.open(guest.session.url)
        for width, height in ((801, 601), (1003, 499), (640, 777), (1003, 499)):
            size = {"is": "size", "width": width, "height": height}
            await viewer.page.set_viewport_size({"width": width, "height": height})
            await guest.wait_seen(size)
            guest.forget()
            await viewer.page.wait_for_function(
                "([width, height]) => heliograph.stats().width === width && heliograph.stats().height === height",
                arg=[width, height],
            )
            expected = await guest.screenshot()
            assert expected.shape == (height, width, 3)
            await _settled(viewer, expected)
            coded = await viewer.page.evaluate(
                "[document.getElementById('screen').videoWidth, document.getElementById('screen').videoHeight]"
            )
            assert coded == [-(-width // 2) * 2, -(-height // 4) * 4]
        mode = (await guest.run("xrandr", "--current")).split("current ")[1].split(",")[0]
        assert mode == "1003 x 499"


async def test_window_at_two_pixels_a_point_gets_them(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session) as guest, client(browser, 501, 333, 2.0) as viewer:
        await viewer.open(guest.session.url)
        await guest.wait_seen({"is": "size", "width": 1002, "height": 666})
        await viewer.page.wait_for_function("() => heliograph.stats().width === 1002")
        await _settled(viewer, await guest.screenshot())
