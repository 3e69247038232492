# SPDX-License-Identifier: Apache-2.0
"""A session for a long time, while viewers come and go: memory, files, threads and latency must stay flat. `make soak`.

Exits with 1 when something grows beyond its bound, a part was restarted, or the picture stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser

from bench import processes, report
from bench.processes import Usage
from bench.report import Result, Table, Value
from bench.summary import Summary, Trend
from bench.visit import Viewer, chromium, clock_command, read_values, running_session, viewer
from tests.support.session import Session

# A cycle: guests come and go for a while, all leave, and what is left is looked at.
CYCLE_S = 20.0
MAX_GUESTS = 2
STAY_S = (2.0, 8.0)
REST_S = 4.0
# Until everything has its size: the streamer remembers the last 8192 packets of each viewer, which takes this long
# to fill at 60 pictures a second of a packet each.
WARM_UP_S = 140.0
LEAVE_TIMEOUT_S = 40.0
_MUST_BE_0 = ("_restarts", "failed_connections")

# What may grow over the whole run, as the fitted line says; noise and late warm-up fit in.
RSS_BYTES, RSS_SHARE = 4_000_000, 0.03
SHARED_BYTES = 2_000_000
COUNT = 1.0
# A frame interval: where the guest's ticks lie between the display's refreshes wanders.
GLASS_MS, GLASS_SHARE = 17.0, 0.15
# What a session's log says of a viewer whose first attempt did not get through.
_FAILED = "the connection has failed"


@dataclass(frozen=True, slots=True)
class Rest:
    """What was seen when only the one viewer that stays was there."""

    time_s: float
    usages: dict[str, Usage]
    glass_ms: float
    pictures: int
    left_open: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must not grow."""

    name: str
    unit: str
    values: tuple[float, ...]
    bound: float
    trend: Trend

    @property
    def is_good(self) -> bool:
        return self.trend.over_span <= self.bound

    def row(self) -> dict[str, Value]:
        return {
            "what": self.name,
            "unit": self.unit,
            "first": self.values[0],
            "last": self.values[-1],
            "growth": self.trend.over_span,
            "growth/hour": self.trend.per_second * 3600,
            "bound": self.bound,
            "": "ok" if self.is_good else "GROWS",
        }


def checks(rests: Sequence[Rest]) -> list[Check]:
    """Fit all that is watched; needs two rests at least. No I/O."""
    times_s = [rest.time_s for rest in rests]

    def check(name: str, unit: str, values: list[float], bound: float) -> Check:
        return Check(name, unit, tuple(values), bound, Trend.of(times_s, values))

    found = []
    for part in processes.PARTS:
        usages = [rest.usages[part] for rest in rests if part in rest.usages]
        if len(usages) != len(rests):
            continue
        rss = [usage.rss_bytes / 1e6 for usage in usages]
        found.append(check(f"{part}: memory", "MB", rss, RSS_BYTES / 1e6 + RSS_SHARE * rss[0]))
        shared = [usage.shared_bytes / 1e6 for usage in usages]
        found.append(check(f"{part}: shared memory", "MB", shared, SHARED_BYTES / 1e6))
        found.append(check(f"{part}: files", "", [float(usage.fds) for usage in usages], COUNT))
        found.append(check(f"{part}: threads", "", [float(usage.threads) for usage in usages], COUNT))
    glass = [rest.glass_ms for rest in rests]
    found.append(check("glass to glass, p50", "ms", glass, GLASS_MS + GLASS_SHARE * glass[0]))
    return found


async def run(seconds: float, scene: str, seed: int) -> tuple[Result, list[str]]:
    """Warm up, run for about `seconds`; returns the result and what is wrong."""
    chance = random.Random(seed)
    rests: list[Rest] = []
    visits = 0
    async with running_session("run", ("--size", "1280x720", "--no-resize"), clock_command(scene)) as session:
        async with chromium() as browser, viewer(browser) as page:
            await page.open(session.url)
            await page.watch_barcodes()
            begin_s = time.monotonic()
            while (now_s := time.monotonic()) - begin_s < WARM_UP_S + seconds:
                try:
                    visits += await _cycle(browser, session, chance)
                except ExceptionGroup:
                    sys.stderr.write(f"The session's log:\n{session.log}\n")
                    raise
                rests.append(await _rest(page, session, begin_s))
                _show_progress(rests[-1], now_s - begin_s, visits)
        values = await read_values(session)
        failed = session.log.count(_FAILED)
    return _judge(rests, visits, {**values, "failed_connections": failed}, {"scene": scene, "seed": seed})


def _judge(
    rests: Sequence[Rest], visits: int, values: dict[str, float], settings: dict[str, Value]
) -> tuple[Result, list[str]]:
    measured = [rest for rest in rests if rest.time_s >= WARM_UP_S]
    found = checks(measured)
    wrong = [f"{check.name} grows by {check.trend.over_span:.2f} {check.unit}" for check in found if not check.is_good]
    wrong += [f"{name} is {value:.0f}" for name, value in values.items() if name.endswith(_MUST_BE_0) and value]
    wrong += [f"no picture at {rest.time_s:.0f} s" for rest in measured if rest.pictures == 0]
    wrong += [f"viewers left open at {rest.time_s:.0f} s" for rest in measured if rest.left_open]
    missing = set(processes.DESKTOP_PARTS) - set(measured[-1].usages)
    wrong += [f"{name} is gone" for name in sorted(missing)]
    span_s = measured[-1].time_s - measured[0].time_s
    result = Result(
        "soak",
        {**settings, "measured s": round(span_s), "visits": visits, "rests": len(measured)},
        {
            "our memory growth MB": sum(check.trend.over_span for check in found if check.name.endswith(": memory")),
            "glass p50 ms": Summary.of([rest.glass_ms for rest in measured]).p50,
        },
        (Table("growth over the run (a line fitted by least squares to the rests)", tuple(c.row() for c in found)),),
        notes=tuple(wrong) or ("Nothing grows beyond its bound.",),
        samples={check.name: check.values for check in found} | {"time s": [rest.time_s for rest in measured]},
    )
    return result, wrong


async def _cycle(browser: Browser, session: Session, chance: random.Random) -> int:
    """Let guests come and go for a while; returns how many came."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + CYCLE_S - REST_S

    async def visit_again_and_again(seed: int) -> int:
        own, count = random.Random(seed), 0
        while loop.time() < end_s:
            async with _guest(browser, session.url):
                count += 1
                await asyncio.sleep(own.uniform(*STAY_S))
            await asyncio.sleep(own.uniform(0, 1))
        return count

    async with asyncio.TaskGroup() as tasks:
        guests = [tasks.create_task(visit_again_and_again(chance.getrandbits(32))) for _ in range(MAX_GUESTS)]
    return sum(guest.result() for guest in guests)


@contextlib.asynccontextmanager
async def _guest(browser: Browser, url: str) -> AsyncIterator[Viewer]:
    async with viewer(browser, {"width": 640, "height": 360}) as page:
        await page.open(url)
        yield page


async def _rest(page: Viewer, session: Session, begin_s: float) -> Rest:
    """Wait until the guests have gone, then look."""
    deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
    while (viewers := (await read_values(session))["viewers"]) > 1:
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(0.5)
    await page.take_samples()
    await asyncio.sleep(REST_S)
    samples = await page.take_samples()
    time_s, found = processes.Watch(session.process.pid).look()
    glass = Summary.of(s.present_ms - s.drawn_ms for s in samples if s.drawn_ms is not None)
    usages = {usage.name: usage for usage in found.values() if usage.is_ours}
    return Rest(time_s - begin_s, usages, glass.p50, glass.count, int(viewers) - 1)


def _show_progress(rest: Rest, elapsed_s: float, visits: int) -> None:
    memory = ", ".join(f"{name} {usage.rss_bytes / 1e6:.1f}/{usage.fds}" for name, usage in rest.usages.items())
    sys.stdout.write(f"{elapsed_s:6.0f} s, {visits} visits, glass {rest.glass_ms:.1f} ms; MB/files: {memory}\n")
    sys.stdout.flush()


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="after the warm-up (3600)")
    parser.add_argument("--scene", default="small", help="small, scroll or noise")
    parser.add_argument("--seed", type=int, default=1, help="of when viewers come and go")
    parser.add_argument("--json", type=Path, default=Path("build/bench/soak.json"))
    args = parser.parse_args()
    begin_s, cpu_s = time.monotonic(), processes.machine_cpu_s()
    result, wrong = asyncio.run(run(args.seconds, args.scene, args.seed))
    busy = (processes.machine_cpu_s() - cpu_s) / (time.monotonic() - begin_s) / (os.cpu_count() or 1)
    report.show(result, report.save(result, args.json, busy))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
