# SPDX-License-Identifier: Apache-2.0
"""Glass to glass and click to photon, ours and the peers' in turns: one guest program, browser and probe."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser

from bench import network, processes, svg
from bench.lock import alone
from bench.peers.heliograph import Heliograph
from bench.peers.product import Product, ProductError, Running
from bench.peers.products import PRODUCTS
from bench.probe import NoClockError, Probe, Shown, Sights, probed_page
from bench.report import Result, Table, Value
from bench.summary import Summary
from bench.visit import chromium, clock_command

SCENES = ("small", "scroll")
SIZES = ("1280x720", "1920x1080")
ROUNDS = 3
CLICKS = 15
SETTLE_S = 3.0
# How often the guest's ticks get a new phase, against those of whoever ticks between it and the viewer.
NEW_PHASE_S = 1.0
_GUEST = "bench.guest_programs.clock"


@dataclass(frozen=True, slots=True)
class Round:
    """One product watched once. `cpu`: of its server processes, 1.0 is a core; `bps`: on the wire, both directions."""

    sights: Sights
    span_s: float
    cpu: float
    bps: float
    load: float
    clicks_ms: tuple[float, ...]
    unseen_clicks: int
    shown: Shown

    @property
    def glass_ms(self) -> list[float]:
        """From the guest's clock to the pixels read, one value a distinct picture."""
        return [sight.read_ms - sight.drawn_ms for sight in self.sights.sights]

    @property
    def frame_ms(self) -> list[float]:
        """The same to the begin of the animation frame."""
        return [sight.frame_ms - sight.drawn_ms for sight in self.sights.sights]

    @property
    def distinct_per_s(self) -> float:
        return len(self.sights.sights) / self.span_s


@dataclass(slots=True)
class Standing:
    """A product in a scene at a size: its rounds, and what went wrong in others."""

    product: str
    rounds: list[Round] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def glass(self) -> Summary:
        return Summary.of(value for each in self.rounds for value in each.glass_ms)

    @property
    def clicks(self) -> Summary:
        return Summary.of(value for each in self.rounds for value in each.clicks_ms)

    def median(self, values: Iterable[float]) -> float:
        return Summary.of(values).p50


async def measure(
    browser: Browser,
    product: Product,
    scene: str,
    size: tuple[int, int],
    fps: int,
    seconds: float,
    seed: int,
    is_cropped: bool = False,
) -> Round:
    """Start a product, watch it, click, end it.

    Raises:
        ProductError, NoClockError: it did not come up.
    """
    chance = random.Random(seed)
    guest = [*clock_command(scene, fps), "--clicks", "--new-phase-s", str(NEW_PHASE_S)]
    async with product.running(size, fps, guest) as running, probed_page(browser, *size, is_cropped) as page:
        await page.open(running.url)
        # Its clicks are those of a warm-up too: some pages take the first to get the keyboard's focus.
        await asyncio.sleep(SETTLE_S - 1)
        await page.click(2, chance)
        await asyncio.sleep(1 + chance.random() / fps)
        return await _watch(page, running, seconds, chance)


async def _watch(page: Probe, running: Running, seconds: float, chance: random.Random) -> Round:
    loop = asyncio.get_running_loop()
    await page.take()
    begin_s, cpu_s = loop.time(), processes.tree_cpu_s(running.roots, _GUEST)
    machine_s, wire_bytes = processes.machine_cpu_s(), network.loopback_bytes()
    await asyncio.sleep(seconds)
    sights = await page.take()
    span_s = loop.time() - begin_s
    cpu = (processes.tree_cpu_s(running.roots, _GUEST) - cpu_s) / span_s
    bps = (network.loopback_bytes() - wire_bytes) * 8 / span_s
    load = (processes.machine_cpu_s() - machine_s) / span_s / processes.cores()
    clicks = await page.click(CLICKS, chance)
    seen = tuple(value for value in clicks if value is not None)
    return Round(sights, span_s, cpu, bps, load, seen, len(clicks) - len(seen), await page.shown())


async def run(
    sizes: Sequence[str] = SIZES,
    fps: int = 60,
    seconds: float = 8.0,
    rounds: int = ROUNDS,
    scenes: Sequence[str] = SCENES,
    only: Sequence[str] = (),
    lock: Path | None = None,
    is_cropped: bool = False,
) -> Result:
    """Measure all products that are there (or those whose names begin with one of `only`), in turns.

    `lock`: a file whose lock (flock) is held while all products have a turn, where others work too.
    `is_cropped`: see probed_page().
    """
    products, notes = _choose(only)
    standings: dict[tuple[str, str], list[Standing]] = {}
    seeds = random.Random()
    async with chromium() as browser:
        for text in sizes:
            width, _, height = text.partition("x")
            size = (int(width), int(height))
            for scene in scenes:
                group = standings[text, scene] = [Standing(product.name) for product in products]
                for turn in range(rounds):
                    async with alone(lock):
                        for product, standing in zip(products, group, strict=True):
                            label = f"{text} {scene} {turn + 1}/{rounds} {product.name}"
                            seed = seeds.getrandbits(32)
                            try:
                                found = await measure(browser, product, scene, size, fps, seconds, seed, is_cropped)
                            except (ProductError, NoClockError) as error:
                                standing.failures.append(str(error))
                                _progress(f"{label}: {error}")
                                continue
                            standing.rounds.append(found)
                            _progress(f"{label}: {_line(found)}")
        version = browser.version
    settings: dict[str, Value] = {
        "fps": fps,
        "rounds": rounds,
        "seconds a round": seconds,
        "clicks a round": CLICKS,
        "new phase every s": NEW_PHASE_S,
        "videos are read": "cropped" if is_cropped else "whole",
        "browser": f"Chromium {version}, headless, no GPU",
        **{product.name: product.version() for product in products},
    }
    if not network.is_own():
        notes.append("No network of its own could be had: Mb/s counts all that went over this machine's loopback.")
    return result(standings, settings, notes)


def _choose(only: Sequence[str]) -> tuple[list[Product], list[str]]:
    chosen, notes = [], []
    for product in PRODUCTS:
        if only and not any(product.name.startswith(name) for name in only):
            continue
        if (lacking := product.missing()) is None:
            chosen.append(product)
        else:
            notes.append(f"{product.name} is left out: it is not here ({lacking}).")
    return chosen, notes


def _progress(text: str) -> None:
    sys.stdout.write(f"  {text}\n")
    sys.stdout.flush()


def _line(found: Round) -> str:
    glass, clicks = Summary.of(found.glass_ms), Summary.of(found.clicks_ms)
    return (
        f"glass {glass.p50:.1f}/{glass.p95:.1f} ms, click {clicks.p50:.1f}/{clicks.p95:.1f} ms, "
        f"{found.distinct_per_s:.1f}/s, CPU {found.cpu * 100:.0f} %, {found.bps / 1e6:.2f} Mb/s"
    )


def result(standings: dict[tuple[str, str], list[Standing]], settings: dict[str, Value], notes: list[str]) -> Result:
    """Put rounds by size and scene into a result. No I/O."""
    tables: list[Table] = []
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    for (size, scene), group in standings.items():
        label = f"{size.partition('x')[2]}p {scene}"
        ours = next((each for each in group if each.product == Heliograph.name), Standing(Heliograph.name))
        tables.append(Table(f"{size}, {scene}", tuple(_row(each, ours) for each in group)))
        for each in group:
            notes += [f"{label}, {each.product}: a round failed: {failure}" for failure in each.failures]
            if not each.rounds:
                continue
            unseen = sum(found.unseen_clicks for found in each.rounds)
            shown = each.rounds[-1].shown
            if unseen:
                notes.append(f"{label}, {each.product}: {unseen} clicks were not seen within 2 s.")
            if shown.is_scaled:
                notes.append(
                    f"{label}, {each.product}: its {shown.kind} of {shown.width}x{shown.height} is shown scaled, "
                    f"{shown.page_width:.0f}x{shown.page_height:.0f}."
                )
            figures[f"{label} {each.product} glass p50 ms"] = each.glass.p50
            figures[f"{label} {each.product} click p50 ms"] = each.clicks.p50
            samples[f"{label} {each.product} glass ms"] = _rounded(x for found in each.rounds for x in found.glass_ms)
            samples[f"{label} {each.product} click ms"] = _rounded(x for found in each.rounds for x in found.clicks_ms)
        name = label.replace(" ", "-")
        pictures[name] = svg.ranges(
            f"Glass to glass, {label}: p50 to p95",
            {each.product: (each.glass.p50, each.glass.p95) for each in group if each.rounds},
            "ms",
        )
        pictures[f"{name}-click"] = svg.ranges(
            f"Click to photon, {label}: p50 to p95",
            {each.product: (each.clicks.p50, each.clicks.p95) for each in group if each.rounds},
            "ms",
        )
    return Result("glass", settings, figures, tuple(tables), pictures, tuple(notes), samples)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _row(standing: Standing, ours: Standing) -> dict[str, Value]:
    row: dict[str, Value] = {"product": standing.product}
    if not standing.rounds:
        return row
    glass, clicks, rounds = standing.glass, standing.clicks, standing.rounds
    by_round = [Summary.of(each.glass_ms).p50 for each in rounds]
    return row | {
        "glass p50 ms": glass.p50,
        "p95 ms": glass.p95,
        "p99 ms": glass.p99,
        "ours / this": _ratio(ours.glass.p50, glass.p50),
        "p50 by round": " ".join(f"{value:.1f}" for value in by_round),
        "to frame p50 ms": standing.median(value for each in rounds for value in each.frame_ms),
        "distinct/s": standing.median(each.distinct_per_s for each in rounds),
        "click p50 ms": clicks.p50,
        "click p95 ms": clicks.p95,
        "click, ours / this": _ratio(ours.clicks.p50, clicks.p50),
        "server CPU %": standing.median(each.cpu * 100 for each in rounds),
        "Mb/s": standing.median(each.bps / 1e6 for each in rounds),
        "machine busy %": standing.median(each.load * 100 for each in rounds),
    }


def _ratio(ours: float, theirs: float) -> Value:
    return ours / theirs if ours and theirs else "-"
