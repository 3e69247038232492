# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' probe: in a page of its own, in ours, and in the peers' where they are installed."""

from __future__ import annotations

import random

import pytest
from playwright.async_api import Browser

from bench.glass import measure
from bench.guest_programs import barcode
from bench.peers.product import Product
from bench.peers.products import PRODUCTS
from bench.probe import Probe, probed_page
from bench.visit import clock_command

_SIZE = (1280, 720)
_CLOCK_NS = 5_000_000
_PEERS = [product for product in PRODUCTS if product.name != "heliograph"]
_PAGE = "data:text/html,<body style='margin:0'><canvas width='320' height='240'></canvas>"
# Paints in an animation frame that is asked for when `when` says; returns that frame's time.
_PAINT = """([squares, size, when]) => new Promise((resolve) => {
  const paint = (now) => {
    const context = document.querySelector("canvas").getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, ...size);
    context.fillStyle = "#fff";
    for (const [x, y] of squares) context.fillRect(x, y, 16, 16);
    resolve(now);
  };
  if (when === "between frames") requestAnimationFrame(paint);
  else requestAnimationFrame(() => requestAnimationFrame(paint));
})"""


@pytest.mark.parametrize("when", ["between frames", "in a frame"])
async def test_canvas_is_read_in_the_frame_that_paints_it(browser: Browser, when: str) -> None:
    async with probed_page(browser, 320, 240) as probe:
        await probe.page.goto(_PAGE)
        size = [barcode.WIDTH, barcode.HEIGHT]
        painted_ms = await probe.page.evaluate(_PAINT, [barcode.white_squares(_CLOCK_NS), size, when])
        await probe.page.wait_for_function("() => probe.samples.length > 0")
        found = await probe.take()
        assert [(sight.drawn_ms, sight.frame_ms) for sight in found.sights] == [(5.0, painted_ms)]
        shown = await probe.shown()
        assert (shown.kind, shown.width, shown.height, shown.is_scaled) == ("canvas", 320, 240, False)


async def test_ours_is_measured(browser: Browser) -> None:
    ours = next(product for product in PRODUCTS if product.name == "heliograph")
    found = await measure(browser, ours, "small", _SIZE, 60, seconds=1.5, seed=1)
    assert len(found.glass_ms) > 3  # of 90, on a machine that is idle
    assert 0 < min(found.glass_ms)
    assert all(sight.frame_ms <= sight.read_ms for sight in found.sights.sights)
    assert len(found.clicks_ms) > found.unseen_clicks
    assert min(found.clicks_ms) > 0
    assert found.cpu > 0
    assert (found.shown.width, found.shown.is_scaled) == (1280, False)


@pytest.mark.parametrize("product", _PEERS, ids=[peer.name for peer in _PEERS])
async def test_peer_is_seen(browser: Browser, product: Product) -> None:
    if (lacking := product.missing()) is not None:
        pytest.skip(f"{product.name} is not here: {lacking}")
    command = [*clock_command("small"), "--clicks"]
    async with product.running(_SIZE, 60, command) as running, probed_page(browser, *_SIZE) as probe:
        await probe.open(running.url)
        await _see_a_click(probe)
        shown = await probe.shown()
        assert (shown.width, shown.height, shown.is_scaled) == (*_SIZE, False)


async def _see_a_click(probe: Probe) -> None:
    # A page may not take the first ones: it has just opened.
    for _ in range(5):
        if any(seen is not None for seen in await probe.click(1, random.Random(1))):
            return
    pytest.fail("no click came back")
