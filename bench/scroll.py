# SPDX-License-Identifier: Apache-2.0
"""A whole screen of text that scrolls: how many distinct pictures a second reach the browser, and what they cost."""

from __future__ import annotations

import itertools

from bench import flow, processes
from bench.flow import Flow
from bench.report import Result, Table, Value
from bench.summary import Summary

AIM_PER_S = 50.0


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 10.0, sessions: int = 5) -> Result:
    """Measure several sessions: each has its own phase between the guest's ticks and the display's refreshes."""
    seen = [await flow.measure("scroll", size, fps, seconds) for _ in range(sessions)]
    distinct = [each.distinct_per_s for each in seen]
    middle = sorted(seen, key=lambda each: each.distinct_per_s)[len(seen) // 2]
    return Result(
        "scroll",
        {"size": size, "fps": fps, "seconds": seconds, "sessions": sessions},
        {
            "distinct/s, median of sessions": Summary.of(distinct).p50,
            "distinct/s, worst session": min(distinct),
            "encoded/s, worst session": min(each.encoded_per_s for each in seen),
            "our CPU %, median": Summary.of(processes.ours(each.rates).cpu * 100 for each in seen).p50,
            "Mb/s, median": Summary.of(each.received_bps / 1e6 for each in seen).p50,
        },
        (
            Table("pictures in Chromium, by session", tuple(_row(each) for each in seen)),
            Table("processes in the session in the middle", flow.cpu_table(middle).rows),
        ),
        notes=(
            f"The aim is {AIM_PER_S:.0f} distinct pictures a second on two cores.",
            "A picture that is decoded but not distinct came when another one was waiting for the same refresh of the "
            "display: how often depends on the phase between the guest's 60 Hz and the browser's, which each session "
            "draws anew.",
        ),
    )


def _row(seen: Flow) -> dict[str, Value]:
    told_ms = [sample.told_ms for sample in seen.samples]
    gaps = Summary.of(after - before for before, after in itertools.pairwise(told_ms))
    return {
        "distinct/s": seen.distinct_per_s,
        "encoded/s": seen.encoded_per_s,
        "decoded/s": seen.decoded_per_s,
        "machine busy %": seen.load * 100,
        "gap p50 ms": gaps.p50,
        "gap p99 ms": gaps.p99,
        "glass p50 ms": Summary.of(seen.glass_ms).p50,
        "glass p95 ms": Summary.of(seen.glass_ms).p95,
    }
