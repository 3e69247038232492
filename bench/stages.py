# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: from the guest's clock to the browser's display, by stage, from the traces of our own client."""

from __future__ import annotations

from bench import flow, processes, svg
from bench.report import Result, Table, Value
from bench.summary import Summary


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 15.0) -> Result:
    """Measure with a small picture that moves, and with a whole screen that scrolls."""
    tables: list[Table] = []
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    stacks: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    overview: list[dict[str, Value]] = []
    for scene in ("small", "scroll"):
        seen = await flow.measure(scene, size, fps, seconds)
        glass = Summary.of(seen.glass_ms)
        medians = {name: Summary.of(values).p50 for name, values in seen.stages.items() if name != "glass"}
        ours = processes.ours(seen.rates)
        overview.append(
            {
                "scene": scene,
                **glass.columns("ms"),
                "sum of stages' p50 ms": sum(medians.values()),
                "distinct/s": seen.distinct_per_s,
                "encoded/s": seen.encoded_per_s,
                "machine busy %": seen.load * 100,
                "our CPU %": ours.cpu * 100,
                "Mb/s": seen.received_bps / 1e6,
            }
        )
        tables += [
            Table(f"{scene}: {flow.stage_table(seen).title}", flow.stage_table(seen).rows),
            Table(f"{scene}: processes", flow.cpu_table(seen).rows),
        ]
        figures |= {
            f"{scene} p50 ms": glass.p50,
            f"{scene} p95 ms": glass.p95,
            f"{scene} distinct/s": seen.distinct_per_s,
            f"{scene} our CPU %": ours.cpu * 100,
        }
        pictures[scene] = svg.distribution(f"Glass to glass, {size} at {fps}/s, {scene}", seen.glass_ms, "ms")
        samples[f"{scene} ms"] = [round(value, 2) for value in seen.glass_ms]
        stacks[scene] = medians
        notes.append(
            f"{scene}: {len(seen.stages['glass'])} of {glass.count} pictures were traced; {seen.unreadable} could not "
            f"be read; the client's clock was off by {seen.clock_error_ms:.2f} ms."
        )
    pictures["stages"] = svg.stacks(f"Medians by stage, {size} at {fps}/s", stacks, "ms")
    return Result(
        "stages",
        {"size": size, "fps": fps, "seconds": seconds, "browser": "Chromium, headless, no GPU"},
        figures,
        (Table("glass to glass", tuple(overview)), *tables),
        pictures,
        tuple(notes),
        samples,
    )
