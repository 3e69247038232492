# SPDX-License-Identifier: Apache-2.0
"""A whole screen of text that scrolls: how many distinct pictures a second reach the browser, and what they cost."""

from __future__ import annotations

import itertools

from bench import flow, processes
from bench.report import Result, Table
from bench.summary import Summary

AIM_PER_S = 50.0


async def run(size: str = "1280x720", fps: int = 60, seconds: float = 15.0) -> Result:
    """Measure once."""
    seen = await flow.measure("scroll", size, fps, seconds)
    glass = Summary.of(seen.glass_ms)
    gaps = _gaps_ms([sample.told_ms for sample in seen.samples])
    return Result(
        "scroll",
        {"size": size, "fps": fps, "seconds": seconds},
        {
            "distinct/s": seen.distinct_per_s,
            "our CPU %": processes.ours(seen.rates).cpu * 100,
            "Mb/s": seen.received_bps / 1e6,
            "glass p50 ms": glass.p50,
        },
        (
            Table(
                "pictures in Chromium",
                (
                    {
                        "distinct/s": seen.distinct_per_s,
                        "encoded/s": seen.encoded_per_s,
                        "decoded/s": seen.decoded_per_s,
                        "machine busy %": seen.load * 100,
                        "gap p50 ms": gaps.p50,
                        "gap p99 ms": gaps.p99,
                        **glass.columns("ms"),
                    },
                ),
            ),
            flow.cpu_table(seen),
        ),
        notes=(f"The aim is {AIM_PER_S:.0f} distinct pictures a second on two cores.",),
    )


def _gaps_ms(told_ms: list[float]) -> Summary:
    return Summary.of(after - before for before, after in itertools.pairwise(told_ms))
