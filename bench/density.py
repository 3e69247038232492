# SPDX-License-Identifier: Apache-2.0
"""How many sessions this machine carries: one more at a time, until frames come late or are missing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench import processes
from bench.headless_viewer import HeadlessViewer, headless_viewer
from bench.report import Result, Table, Value, number
from bench.summary import Summary
from bench.visit import clock_command, running_session

FPS = 30
SETTLE_S = 3.0
# A frame may take as long as the next one lets it, or twice what it takes when a session is alone.
LATEST_MS = 1000 / FPS
LATEST_SHARE = 2.0
LEAST_PER_S = 28.0
_NS_A_MS = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen with so many sessions; `frames_per_s` by session. `viewers_cpu` is this process's."""

    sent_ms: Summary
    worst_p95_ms: float
    frames_per_s: tuple[float, ...]
    cpu: float
    viewers_cpu: float
    busy: float

    @property
    def sessions(self) -> int:
        return len(self.frames_per_s)

    def row(self, limit_ms: float) -> dict[str, Value]:
        return {
            "sessions": self.sessions,
            **self.sent_ms.columns("ms"),
            "worst session's p95 ms": self.worst_p95_ms,
            "frames/s, worst": min(self.frames_per_s),
            "CPU % a session": self.cpu * 100 / self.sessions,
            "viewers' CPU %": self.viewers_cpu * 100,
            "machine busy %": self.busy * 100,
            "": suffers(self, limit_ms) or "ok",
        }


def limit_ms(alone: Load) -> float:
    """Return the p95 from which a frame is late."""
    return max(LATEST_MS, LATEST_SHARE * alone.sent_ms.p95)


def suffers(load: Load, limit_ms: float) -> str:
    """Say what is wrong with so many sessions; empty when nothing is."""
    if load.worst_p95_ms > limit_ms:
        return f"p95 over {limit_ms:.0f} ms"
    if min(load.frames_per_s) < LEAST_PER_S:
        return f"under {LEAST_PER_S:.0f} frames/s"
    return ""


async def run(size: str = "1280x720", scene: str = "scroll", seconds: float = 6.0, most: int = 64) -> Result:
    """Add sessions until they suffer, or there are `most`."""
    loads: list[Load] = []
    async with AsyncExitStack() as stack:
        viewers: list[HeadlessViewer] = []
        pids: list[int] = []
        while len(viewers) < most:
            options = ("--size", size, "--fps", str(FPS), "--no-resize")
            session = await stack.enter_async_context(running_session("run", options, clock_command(scene, FPS)))
            viewers.append(await stack.enter_async_context(headless_viewer(session)))
            pids.append(session.process.pid)
            await asyncio.sleep(SETTLE_S)
            loads.append(await _look(viewers, pids, seconds))
            row = loads[-1].row(limit_ms(loads[0]))
            sys.stdout.write(f"  {', '.join(f'{name} {number(value)}' for name, value in row.items())}\n")
            sys.stdout.flush()
            if suffers(loads[-1], limit_ms(loads[0])):
                break
    return _result(loads, {"size": size, "fps": FPS, "scene": scene, "seconds": seconds})


async def _look(viewers: Sequence[HeadlessViewer], pids: Sequence[int], seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    for viewer in viewers:
        viewer.traces.clear()
    own = processes.own_pid()
    begin_s, cpu_s = loop.time(), processes.tree_cpu_s(pids, "")
    viewers_s, machine_s = processes.read_usage(own).cpu_s, processes.machine_cpu_s()
    await asyncio.sleep(seconds)
    span_s = loop.time() - begin_s
    cpu = (processes.tree_cpu_s(pids, "") - cpu_s) / span_s
    times_ms = [[(sent.sent_ns - sent.flush_ns) / _NS_A_MS for sent in viewer.traces] for viewer in viewers]
    return Load(
        Summary.of(value for values in times_ms for value in values),
        max(Summary.of(values).p95 for values in times_ms),
        tuple(len(values) / span_s for values in times_ms),
        cpu,
        (processes.read_usage(own).cpu_s - viewers_s) / span_s,
        (processes.machine_cpu_s() - machine_s) / span_s / processes.cores(),
    )


def _result(loads: Sequence[Load], settings: dict[str, Value]) -> Result:
    limit = limit_ms(loads[0])
    good = [load for load in loads if not suffers(load, limit)]
    return Result(
        "density",
        settings,
        {
            "sessions": len(good),
            "alone p95 ms": loads[0].sent_ms.p95,
            "CPU % a session": (good or loads)[-1].cpu * 100 / (good or loads)[-1].sessions,
        },
        (Table("from the flush to the last packet, over all sessions", tuple(load.row(limit) for load in loads)),),
        notes=(
            f"A session suffers when its p95 is over {limit:.0f} ms (a frame's time, or {LATEST_SHARE:.0f} times what "
            f"it is alone) or fewer than {LEAST_PER_S:.0f} frames a second come.",
            "A session's CPU includes its guest program and X server. Viewers are aiortc's receivers in one process, "
            "which decode nothing.",
        ),
    )
