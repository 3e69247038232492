# SPDX-License-Identifier: Apache-2.0
"""Narrow, lossy and long paths: the streamer behind a relay, Chromium before it, noise on the screen."""

from __future__ import annotations

from dataclasses import dataclass

from bench import svg
from bench.report import Result, Table, Value
from bench.summary import Summary
from tests.support.browser import chromium
from tests.support.link_lab import LinkSample, link_lab
from tests.support.udp_relay import PathSettings

MBPS = 1_000_000
WIDE_BPS, NARROW_BPS = 20 * MBPS, 2 * MBPS
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One path; `delay_ms` each way."""

    name: str
    mbps: float | None = None
    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


CONDITIONS = (
    Condition("unlimited"),
    Condition("20 Mb/s", 20),
    Condition("5 Mb/s", 5),
    Condition("2 Mb/s", 2),
    Condition("20 Mb/s, 1 % lost", 20, 0.01),
    Condition("5 Mb/s, 5 % lost", 5, 0.05),
    Condition("5 Mb/s, 100 ms RTT", 5, 0.0, 50.0),
    Condition("5 Mb/s, 15 ms jitter", 5, 0.0, 10.0, 15.0),
)


def _row(name: str, sample: LinkSample) -> dict[str, Value]:
    delay = Summary.of(sample.delays_ms)
    waits = Summary.of(sample.longest_waits_ms)
    return {
        "path": name,
        "goodput Mb/s": sample.goodput_bps / MBPS,
        "target Mb/s": sample.target_bps / MBPS,
        "frame delay p50 ms": delay.p50,
        "p95 ms": delay.p95,
        "queue p50 ms": waits.p50,
        "frames/s": sample.decoded_per_s,
        "keyframes": sample.keyframes,
    }


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 5.0, max_mbps: float = 30) -> Result:
    """Measure each path for some seconds, then one that widens and narrows."""
    width, height = (int(part) for part in size.split("x"))
    options = {"size": (width, height), "fps": fps, "max_bps": int(max_mbps * MBPS)}
    rows: list[dict[str, Value]] = []
    curves: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    async with chromium() as browser:
        for each in CONDITIONS:
            rate = None if each.mbps is None else each.mbps * MBPS
            down = PathSettings(rate, loss=each.loss, delay_ms=each.delay_ms, jitter_ms=each.jitter_ms)
            async with link_lab(**options) as lab:  # type: ignore[arg-type]
                viewer = await lab.connect(browser, down, PathSettings(delay_ms=each.delay_ms))
                await viewer.measure(WARM_UP_S)
                sample = await viewer.measure(seconds)
            rows.append(_row(each.name, sample))
            figures[f"{each.name}: frame delay p95 ms"] = Summary.of(sample.delays_ms).p95
            if rate is not None:
                figures[f"{each.name}: used %"] = sample.goodput_bps / rate * 100
        async with link_lab(**options) as lab:  # type: ignore[arg-type]
            viewer = await lab.connect(browser, PathSettings(NARROW_BPS))
            await viewer.measure(WARM_UP_S)
            viewer.relay.set_rate(WIDE_BPS)
            widened = await viewer.measure(seconds)
            viewer.relay.set_rate(NARROW_BPS)
            narrowing = await viewer.measure(1.0)
            narrowed = await viewer.measure(seconds)
    recovery_s = widened.reached_s(0.8 * WIDE_BPS)
    figures["2 to 20 Mb/s: seconds to 80 %"] = recovery_s
    figures["20 to 2 Mb/s: queue p50 after 1 s, ms"] = Summary.of(narrowed.longest_waits_ms).p50
    for name, sample in (("2 to 20", widened), ("20 to 2, first second", narrowing), ("20 to 2, then", narrowed)):
        curves.append(_row(f"{name} Mb/s", sample))
    pictures["delay"] = svg.distribution("Frame delay after narrowing to 2 Mb/s", list(narrowed.delays_ms), "ms")
    return Result(
        "links",
        {"size": size, "fps": fps, "seconds": seconds, "at most Mb/s": max_mbps, "browser": "Chromium, headless"},
        figures,
        (Table("paths", tuple(rows)), Table("a path that changes", tuple(curves))),
        pictures,
        (
            "Frame delay: from the picture's making to its presentation, encode, relay and browser included.",
            "The relay's queue holds 300 ms at most; queue is the longest wait in each 100 ms.",
            f"Noise takes whatever rate there is; the target reached 80 % of the wider path after {recovery_s:.2f} s.",
        ),
    )
