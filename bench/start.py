# SPDX-License-Identifier: Apache-2.0
"""Starting a desktop: to the READY line, and to the first picture in a browser that is open already."""

from __future__ import annotations

import time

from bench.report import Result, Table, Value
from bench.summary import Summary
from bench.visit import chromium, running_session, viewer


async def run(repeats: int = 5) -> Result:
    """Start and stop a desktop `repeats` times."""
    ready_s, picture_s, opening_s, stop_s = [], [], [], []
    async with chromium() as browser:
        for _ in range(repeats):
            async with viewer(browser) as page:
                begin_s = time.monotonic()
                async with running_session("desktop", ()) as session:
                    ready_s.append(time.monotonic() - begin_s)
                    opened_s = time.monotonic()
                    await page.page.goto(session.url)
                    await page.page.evaluate("measure.firstPicture()")
                    opening_s.append(time.monotonic() - opened_s)
                    picture_s.append(time.monotonic() - begin_s)
                    ending_s = time.monotonic()
                stop_s.append(time.monotonic() - ending_s)
    spans = {"READY": ready_s, "link opened to first picture": opening_s, "first picture": picture_s, "stop": stop_s}
    rows: list[dict[str, Value]] = []
    for name, values in spans.items():
        summary = Summary.of(values)
        rows.append({"span": name, "p50 s": summary.p50, "min s": summary.smallest, "max s": summary.largest})
    figures = {f"{name} p50 s": Summary.of(values).p50 for name, values in spans.items()}
    return Result("start", {"repeats": repeats}, figures, (Table("from the command on", tuple(rows)),))
