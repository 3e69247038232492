# SPDX-License-Identifier: Apache-2.0
"""Glass to glass: the clock that a guest program drew, against when the browser presents the picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page, Route

_STATIC = Path(__file__).parent / "static"
# The client's page takes scripts of its own origin only.
_MODULE = "/bench/barcode.js"
_WATCH = """async (module) => {
  const { watchBarcodes } = await import(module);
  window.barcodes = { samples: [], unreadable: 0 };
  watchBarcodes(document.getElementById("screen"), ({ clockNs, rtp, presentMs, nowMs }) => {
    if (clockNs === null) window.barcodes.unreadable += 1;
    else window.barcodes.samples.push([Number(clockNs), rtp, presentMs, nowMs]);
  });
}"""
_TAKE = """() => {
  const { samples, unreadable } = window.barcodes;
  const offset = heliograph.stats().clockOffsetMs;
  window.barcodes.samples = [];
  window.barcodes.unreadable = 0;
  return { samples, unreadable, offset };
}"""


_NEWEST = """() => { const { samples } = window.barcodes; return samples.length ? samples.at(-1)[0] : -1; }"""


@dataclass(frozen=True, slots=True)
class GlassSample:
    """A picture with a clock in it that the page had not seen yet.

    Attributes:
        clock_ns: when the guest program drew it (CLOCK_MONOTONIC of the guest's machine, which must be the server's).
        rtp: the frame's RTP time, by which the client knows its trace.
        present_ms: when it came to the display, as the client counts it (performance.now()).
        glass_ms: from the one to the other.
    """

    clock_ns: int
    rtp: int
    present_ms: float
    glass_ms: float


@dataclass(frozen=True, slots=True)
class GlassSamples:
    """What was seen since the last time of asking; `unreadable` pictures had no whole barcode."""

    samples: tuple[GlassSample, ...]
    unreadable: int


def static_text(name: str) -> str:
    """Return a script that benchmarks put into pages."""
    return (_STATIC / name).read_text(encoding="utf-8")


def reader_script() -> str:
    """Return what reads barcodes, to stand in front of a script that uses it."""
    return static_text("barcode_reader.js")


def watcher_module() -> str:
    """Return the module that watches the pictures of our own client."""
    return f"{reader_script()}\n{static_text('barcode.js')}"


async def watch_barcodes(page: Page) -> None:
    """Begin to read the barcodes of `bench.guest_programs.clock` in a client's page that shows a picture."""

    async def serve(route: Route) -> None:
        await route.fulfill(body=watcher_module(), content_type="text/javascript")

    await page.route(f"**{_MODULE}", serve)
    await page.evaluate(_WATCH, _MODULE)


async def newest_value(page: Page) -> int:
    """Return the number that was read last, -1 when there is none since the last `take_samples()`."""
    return int(await page.evaluate(_NEWEST))


async def wait_value_above(page: Page, value: int) -> int:
    """Wait for a picture with a greater number; return that."""
    await page.wait_for_function(f"(value) => ({_NEWEST})() > value", arg=value, timeout=60_000)
    return await newest_value(page)


async def take_samples(page: Page) -> GlassSamples:
    """Return what was seen since the last call; repeats of the same clock are left out."""
    taken = await page.evaluate(_TAKE)
    offset_ms = taken["offset"]
    samples: list[GlassSample] = []
    for clock_ns, rtp, present_ms, _now_ms in taken["samples"]:
        if not samples or samples[-1].clock_ns != clock_ns:
            glass_ms = present_ms - (clock_ns / 1e6 - offset_ms)
            samples.append(GlassSample(int(clock_ns), rtp, present_ms, glass_ms))
    return GlassSamples(tuple(samples), taken["unreadable"])
