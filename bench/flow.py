# SPDX-License-Identifier: Apache-2.0
"""A session watched while its picture moves: what `glass` and `scroll` have in common."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench import processes
from bench.processes import Rate
from bench.report import Table, Value
from bench.summary import Summary
from bench.visit import PictureSample, Viewer, chromium, clock_command, read_values, running_session, viewer
from tests.support.session import Session

# The way of a frame, as client traces name its parts (web/static/frame_stats.js); what a trace lacks is left out.
# "draw" comes before: from the guest's clock to the flush. "first packet", from the encoder to the network, is a part
# of its own where the sender tells; "send" is from there to the last packet then.
STAGES = ("convert", "handoff", "queue", "encode", "first packet", "send", "network", "decode", "display")
SETTLE_S = 3.0
_COLLECT_S = 2.0


@dataclass(frozen=True, slots=True)
class Flow:
    """What was seen in `span_s`. `stages`: ms by stage, one value a picture that was traced."""

    span_s: float
    samples: tuple[PictureSample, ...]
    stages: dict[str, list[float]]
    rates: dict[str, Rate]
    browser: Rate
    received_bps: float
    sent_bps: float
    encoded_per_s: float
    decoded_per_s: float
    load: float
    clock_error_ms: float

    @property
    def glass_ms(self) -> list[float]:
        """From the guest's clock to the display, one value a distinct picture."""
        first: dict[float, float] = {}
        for sample in self.samples:
            if sample.drawn_ms is not None and sample.drawn_ms not in first:
                first[sample.drawn_ms] = sample.present_ms - sample.drawn_ms
        return list(first.values())

    @property
    def distinct_per_s(self) -> float:
        """Pictures a second whose clocks differ."""
        return len(self.glass_ms) / self.span_s

    @property
    def unreadable(self) -> int:
        """Pictures whose barcode was torn or spoiled."""
        return sum(sample.drawn_ms is None for sample in self.samples)


async def measure(scene: str, size: str, fps: int, seconds: float) -> Flow:
    """Run the clock program in a session of its own, watch it for `seconds`."""
    options = ("--size", size, "--fps", str(fps), "--no-resize")
    async with running_session("run", options, clock_command(scene, fps)) as session, chromium() as browser:
        async with viewer(browser) as page:
            await page.open(session.url)
            await page.watch_barcodes()
            await asyncio.sleep(SETTLE_S)
            return await watch(page, session, seconds)


async def watch(page: Viewer, session: Session, seconds: float) -> Flow:
    """Watch a page whose barcodes are being read."""
    gateway_pid = session.process.pid
    ours = processes.Watch(gateway_pid)
    loop = asyncio.get_running_loop()
    samples: list[PictureSample] = []
    frames: dict[float, dict[str, float]] = {}
    await page.take_samples()
    clock_error_ms = await page.clock_error_ms()
    before, browser_before, transport_before = ours.look(), _look_at_browser(gateway_pid), await page.transport()
    values_before = await read_values(session)
    cpus_before_s = processes.machine_cpu_s()
    begin_s = loop.time()
    while (left_s := begin_s + seconds - loop.time()) > 0:
        await asyncio.sleep(min(_COLLECT_S, left_s))
        samples += await page.take_samples()
        frames |= {frame["rtp"]: frame for frame in await page.frames()}
    span_s = loop.time() - begin_s
    load = (processes.machine_cpu_s() - cpus_before_s) / span_s / (os.cpu_count() or 1)
    values = await read_values(session)
    new = {name: value - values_before.get(name, 0) for name, value in values.items()}
    after, browser_after, transport_after = ours.look(), _look_at_browser(gateway_pid), await page.transport()
    rates_of_browser = processes.rates(browser_before, browser_after).values()
    return Flow(
        span_s,
        tuple(samples),
        _stages(samples, frames, clock_error_ms),
        processes.rates(before, after),
        Rate(sum(rate.cpu for rate in rates_of_browser), sum(rate.wakeups_per_s for rate in rates_of_browser)),
        (transport_after["bytesReceived"] - transport_before["bytesReceived"]) * 8 / span_s,
        (transport_after["bytesSent"] - transport_before["bytesSent"]) * 8 / span_s,
        (new["frames_encoded"] - new["frames_repeated"]) / span_s,
        (transport_after["framesDecoded"] - transport_before["framesDecoded"]) / span_s,
        load,
        clock_error_ms,
    )


def _look_at_browser(gateway_pid: int) -> tuple[float, dict[int, processes.Usage]]:
    """Look at Chromium alone: the session is below this process too."""
    time_s, found = processes.Watch(processes.own_pid()).look()
    session = set(processes.descendants(gateway_pid))
    return time_s, {pid: usage for pid, usage in found.items() if pid not in session and "chrom" in usage.name}


def _stages(
    samples: Sequence[PictureSample], frames: dict[float, dict[str, float]], clock_error_ms: float
) -> dict[str, list[float]]:
    """Join each picture that was read with its trace; `glass` and `told` are ours, the rest the client's."""
    names = ("draw", *STAGES, "glass")
    found: dict[str, list[float]] = {name: [] for name in names}
    for sample in samples:
        frame = frames.get(sample.rtp)
        if sample.drawn_ms is None or frame is None:
            continue
        # The trace's server times went through the client's estimate; its error is taken out where it counts.
        total = frame["total"] + clock_error_ms
        glass = sample.present_ms - sample.drawn_ms
        found["glass"].append(glass)
        found["draw"].append(glass - total)
        for stage in STAGES:
            if stage in frame:
                found[stage].append(frame[stage] + (clock_error_ms if stage == "network" else 0.0))
    return {name: values for name, values in found.items() if values or name == "glass"}


def cpu_table(flow: Flow) -> Table:
    """Return what each process used."""
    rows: list[dict[str, Value]] = [
        {"process": name, "CPU % of a core": flow.rates[name].cpu * 100, "wake-ups/s": flow.rates[name].wakeups_per_s}
        for name in processes.sorted_names(flow.rates)
    ]
    ours = processes.ours(flow.rates)
    rows.append({"process": "ours together", "CPU % of a core": ours.cpu * 100, "wake-ups/s": ours.wakeups_per_s})
    rows.append(
        {"process": "Chromium", "CPU % of a core": flow.browser.cpu * 100, "wake-ups/s": flow.browser.wakeups_per_s}
    )
    return Table("processes", tuple(rows))


def stage_table(flow: Flow) -> Table:
    """Return the distribution of each stage."""
    rows: list[dict[str, Value]] = []
    for name, values in flow.stages.items():
        rows.append({"stage": name, **Summary.of(values).columns("ms")})
    return Table("from the guest's clock to the display, by stage", tuple(rows))
