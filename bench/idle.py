# SPDX-License-Identifier: Apache-2.0
"""An idle desktop with one viewer: what it costs to show nothing new."""

from __future__ import annotations

import asyncio

from bench import flow, processes
from bench.report import Result, Table, Value
from bench.visit import chromium, running_session, viewer

SETTLE_S = 8.0
AIM_KBPS = 50.0
AIM_CPU = 3.0


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 30.0) -> Result:
    """Measure the default desktop, with a viewer and then with none."""
    async with running_session("desktop", ("--size", size, "--fps", str(fps))) as session, chromium() as browser:
        async with viewer(browser) as page:
            await page.open(session.url)
            await asyncio.sleep(SETTLE_S)
            watched = await flow.watch(page, session, seconds)
        await asyncio.sleep(2)
        watch = processes.Watch(session.process.pid)
        before = watch.look()
        await asyncio.sleep(seconds)
        alone = processes.rates(before, watch.look())
        memory: dict[str, float] = {}
        for usage in watch.look()[1].values():
            memory[usage.name] = memory.get(usage.name, 0.0) + usage.rss_bytes / 1e6
    kbps = (watched.received_bps + watched.sent_bps) / 1000
    ours, ours_alone = processes.ours(watched.rates), processes.ours(alone)
    rows: list[dict[str, Value]] = []
    for name in processes.sorted_names(watched.rates):
        rate, rate_alone = watched.rates[name], alone.get(name, processes.Rate(0.0, 0.0))
        rows.append(
            {
                "process": name,
                "CPU %": rate.cpu * 100,
                "wake-ups/s": rate.wakeups_per_s,
                "CPU % without viewer": rate_alone.cpu * 100,
                "wake-ups/s without viewer": rate_alone.wakeups_per_s,
                "RSS MB": memory.get(name, 0.0),
            }
        )
    rows.append(
        {
            "process": "ours together",
            "CPU %": ours.cpu * 100,
            "wake-ups/s": ours.wakeups_per_s,
            "CPU % without viewer": ours_alone.cpu * 100,
            "wake-ups/s without viewer": ours_alone.wakeups_per_s,
            "RSS MB": sum(memory.get(name, 0.0) for name in processes.PARTS),
        }
    )
    rows.append(
        {"process": "Chromium", "CPU %": watched.browser.cpu * 100, "wake-ups/s": watched.browser.wakeups_per_s}
    )
    return Result(
        "idle",
        {"size": size, "fps": fps, "seconds": seconds},
        {"kb/s": kbps, "our CPU %": ours.cpu * 100, "our CPU % without viewer": ours_alone.cpu * 100},
        (
            Table("CPU in % of a core, by process", tuple(rows)),
            Table("network", ({"received kb/s": watched.received_bps / 1000, "sent kb/s": watched.sent_bps / 1000},)),
        ),
        notes=(
            f"The aims are {AIM_KBPS:.0f} kb/s and {AIM_CPU:.0f} % of a core for all of our processes together "
            "(gateway, render worker, streamer, guest agent, X server).",
            "Resident memory counts what processes share once for each of them.",
        ),
    )
