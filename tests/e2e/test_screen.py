# SPDX-License-Identifier: Apache-2.0
"""How the page shows the picture: a video element, or a canvas of which only what changed is painted."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from playwright.async_api import Browser

from streamer.gateway.access import Role
from tests.support.browser import client
from tests.support.fake_streamer import fake_session
from tests.support.observer import observed_guest
from tests.support.session import SessionStarter

# Draws over all windows: x, y, width, height, colour.
_FILL = """
import sys, xcffib
from xcffib import xproto
x = xcffib.connect()
screen = x.get_setup().roots[0]
gc = x.generate_id()
values = [int(sys.argv[5], 16), xproto.SubwindowMode.IncludeInferiors]
x.core.CreateGC(gc, screen.root, xproto.GC.Foreground | xproto.GC.SubwindowMode, values)
x.core.PolyFillRectangle(screen.root, gc, 1, [xproto.RECTANGLE.synthetic(*map(int, sys.argv[1:5]))])
x.core.GetInputFocus().reply()
"""

_SHOWN = """() => (document.getElementById("canvas").hidden ? "video" : "canvas")"""

_FIND = """async ({ width, height, changes }) => {
  const { findDamage } = await import("/static/picture_damage.js");
  const before = new Uint8Array(width * height * 3 / 2).fill(7);
  const after = before.slice();
  for (const index of changes) after[index] = 9;
  return findDamage(before, after, width, height);
}"""


async def test_damage_is_found_where_a_picture_differs(browser: Browser) -> None:
    numbers = random.Random(1)
    async with fake_session(640, 360) as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))

        async def find(width: int, height: int, changes: list[int]) -> list[dict[str, int]]:
            argument = {"width": width, "height": height, "changes": changes}
            found: list[dict[str, int]] = await viewer.page.evaluate(_FIND, argument)
            return found

        assert await find(64, 32, []) == []
        # A luma sample, a sample of either chroma plane, the last one of all.
        assert await find(64, 32, [3 * 64 + 9]) == [{"x": 8, "y": 2, "width": 4, "height": 2}]
        assert await find(64, 32, [64 * 32 + 5 * 32 + 4]) == [{"x": 8, "y": 10, "width": 8, "height": 2}]
        assert await find(64, 32, [64 * 32 * 3 // 2 - 1]) == [{"x": 56, "y": 30, "width": 8, "height": 2}]
        # Rows that do not begin at a word's border.
        assert await find(66, 34, [33 * 66 + 65]) == [{"x": 64, "y": 32, "width": 2, "height": 2}]
        # Far apart: two bands.
        assert [rect["y"] for rect in await find(64, 200, [0, 199 * 64])] == [0, 198]
        for width, height in ((64, 48), (66, 50)):
            luma, chroma = width * height, width * height // 4
            for _ in range(20):
                changes = numbers.sample(range(luma + 2 * chroma), 3)
                rects = await find(width, height, changes)
                for index in changes:
                    y, x = divmod(index, width)
                    if index >= luma:
                        y, x = divmod((index - luma) % chroma, width // 2)
                        x, y = 2 * x, 2 * y
                    assert any(r["x"] <= x < r["x"] + r["width"] and r["y"] <= y < r["y"] + r["height"] for r in rects)
                for r in rects:
                    assert not (r["x"] % 2 or r["y"] % 2 or r["width"] % 2 or r["height"] % 2)
                    assert r["x"] + r["width"] <= width and r["y"] + r["height"] <= height


@pytest.mark.parametrize("way", ["canvas", "video"])
async def test_what_changes_is_shown_and_nothing_old_stays(
    browser: Browser, start_session: SessionStarter, way: str
) -> None:
    numbers = random.Random(2)
    width, height = 802, 450
    async with observed_guest(start_session, "--size", f"{width}x{height}", "--no-resize") as guest:
        async with client(browser, width, height) as viewer:
            await viewer.open(f"{guest.session.url}#screen={way}")
            assert await viewer.page.evaluate(_SHOWN) == way
            for _ in range(6):
                for _ in range(3):
                    box = [numbers.randrange(width - 90), numbers.randrange(100, height - 60)]
                    box += [numbers.randrange(1, 90), numbers.randrange(1, 60)]
                    colour = f"{numbers.choice((0xFFFFFF, 0x808080, 0x202020, 0xC04040, 0x40A040)):06x}"
                    await guest.run(sys.executable, "-c", _FILL, *map(str, box), colour)
                expected = (await guest.screenshot()).astype(int).mean(2)
                for _ in range(600):
                    error = np.abs((await viewer.picture()).astype(int).mean(2) - expected)
                    if error.mean() < 2 and np.quantile(error, 0.999) < 40:
                        break
                    await viewer.page.wait_for_timeout(100)
                else:
                    raise AssertionError(f"the picture is off by {error.mean():.1f} in the mean, {error.max()} at most")


async def test_browser_without_gpu_paints(browser: Browser) -> None:
    async with fake_session(640, 360) as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        assert await viewer.page.evaluate(_SHOWN) == "canvas"
