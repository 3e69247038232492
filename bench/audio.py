# SPDX-License-Identifier: Apache-2.0
"""The guest's sound: how far a beep is from a flash in the page, and what sound costs, on and off."""

from __future__ import annotations

import asyncio
import sys

from bench import processes, sync
from bench.processes import Rate
from bench.report import Result, Table, Value
from bench.summary import Summary
from bench.visit import Viewer, chromium, read_values, running_session, viewer
from guest_agent.sound import find_programs
from tests.support.session import Session

AIM_MS = 40.0
SETTLE_S = 4.0
_SILENT = ("sleep", "100000")
_TONE = (*sync.BEEP, "--steady")
_INBOUND = """async () => {
  for (const entry of (await measure.statistics()).values()) {
    if (entry.type === "inbound-rtp" && entry.kind === "audio" && entry.jitterBufferEmittedCount) {
      return { buffer: entry.jitterBufferDelay / entry.jitterBufferEmittedCount * 1000, bytes: entry.bytesReceived };
    }
  }
  return { buffer: 0, bytes: 0 };
}"""


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 30.0) -> Result:
    """Measure; `seconds` for the beeps, a third of it for each state of the switch."""
    if find_programs() is None:
        sys.stdout.write("audio: left out, pulseaudio or pulseaudio-utils is not installed\n")
        return Result("audio", {}, {}, ())
    options = ("--size", size, "--fps", str(fps), "--no-resize")
    costs: dict[str, dict[str, Rate]] = {}
    async with chromium() as browser:
        async with running_session("run", (*options, "--no-audio"), _SILENT) as session, viewer(browser) as page:
            await page.open(session.url)
            costs["--no-audio"] = await _cost(session, seconds / 3)
        async with running_session("run", options, _SILENT) as session, viewer(browser) as page:
            await page.open(session.url)
            costs["off, nothing plays"] = await _cost(session, seconds / 3)
            await _switch_on(page)
            costs["on, nothing plays"] = await _cost(session, seconds / 3)
        async with running_session("run", options, _TONE) as session, viewer(browser) as page:
            await page.open(session.url)
            costs["off, a tone"] = await _cost(session, seconds / 3)
            await _switch_on(page)
            costs["on, a tone"] = await _cost(session, seconds / 3)
            values = await read_values(session)
        async with running_session("run", options, sync.BEEP) as session, viewer(browser) as page:
            await page.open(session.url)
            await sync.begin(page.page)
            await asyncio.sleep(SETTLE_S)
            await page.page.evaluate("sync.beeps.length = sync.flashes.length = 0")
            await asyncio.sleep(seconds)
            offsets = await sync.offsets_ms(page.page)
            tap_ms: float = await page.page.evaluate("sync.outputLatencyMs")
            inbound = await page.page.evaluate(_INBOUND)
    summary, distance = Summary.of(offsets), Summary.of(map(abs, offsets))
    off = _sum(costs["off, nothing plays"])
    none = _sum(costs["--no-audio"])
    return Result(
        "audio",
        {"size": size, "fps": fps, "seconds": seconds},
        {
            "beep after flash p50 ms": summary.p50,
            "beep after flash p95 ms": summary.p95,
            "apart p95 ms": distance.p95,
            "beeps": len(offsets),
            "browser's jitter buffer ms": inbound["buffer"],
            "kb/s, a tone": values["audio_bytes"] * 8 / 1000 / max(values["audio_packets"] / 100, 0.01),
            "encode µs a packet": values["audio_encode_seconds"] * 1e6 / max(values["audio_packets"], 1),
            "CPU % of off against --no-audio": (off.cpu - none.cpu) * 100,
            "wake-ups/s of off against --no-audio": off.wakeups_per_s - none.wakeups_per_s,
        },
        (_cost_table(costs),),
        notes=(
            f"The aim is a median within {AIM_MS:.0f} ms either way; above 0 the sound is late.",
            f"The beep is taken from the page's Web Audio graph, whose output stands {tap_ms:.0f} ms behind it; "
            "the client plays by an element, which does without that graph.",
        ),
        samples={"beep after flash ms": offsets},
    )


async def _switch_on(page: Viewer) -> None:
    await page.page.wait_for_function("() => !document.querySelector('[data-action=sound]').hidden")
    await sync.switch_sound(page.page)


async def _cost(session: Session, seconds: float) -> dict[str, Rate]:
    """What the session's processes use in a state that has settled."""
    await asyncio.sleep(SETTLE_S)
    watch = processes.Watch(session.process.pid)
    before = watch.look()
    await asyncio.sleep(seconds)
    return processes.rates(before, watch.look())


def _sum(rates: dict[str, Rate]) -> Rate:
    return processes.ours(rates)


def _cost_table(costs: dict[str, dict[str, Rate]]) -> Table:
    rows: list[dict[str, Value]] = []
    for state, rates in costs.items():
        row: dict[str, Value] = {"sound": state}
        parts = {name: rates.get(name, Rate(0.0, 0.0)) for name in ("streamer", "guest agent", *processes.SOUND)}
        for name, rate in {**parts, "ours together": _sum(rates)}.items():
            row[f"{name} CPU %"] = rate.cpu * 100
            row[f"{name} wake-ups/s"] = rate.wakeups_per_s
        rows.append(row)
    return Table("what a still desktop with one viewer costs, CPU in % of a core", tuple(rows))
