# SPDX-License-Identifier: Apache-2.0
"""Glass to glass: a clock that the guest draws, read back in the page, against what the frames' traces say."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from playwright.async_api import Browser

from bench.barcodes import GlassSample, take_samples, watch_barcodes
from tests.support.browser import client
from tests.support.session import SessionStarter

_STAGES = ("convert", "handoff", "queue", "encode", "first packet", "send", "network", "decode", "display")
_SAMPLES = 150
# The guest's own part comes before the first stage: drawing, and waiting for the buffer, given back once a frame. On a
# machine with other work it takes longer, as all the others do.
_GUEST_FRAMES_MS = 2 * 1000 / 60


def _median(values: list[float]) -> float:
    return float(np.median(values))


@pytest.mark.parametrize("scene", ["small", "scroll"])
async def test_clock_in_the_picture_agrees_with_the_trace(
    browser: Browser, start_session: SessionStarter, scene: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (sys.executable, "-m", "bench.guest_programs.clock", "--scene", scene, "--fps", "60")
    session = start_session.run(*command, options=("--size", "1280x720", "--no-resize"))
    async with client(browser, 1280, 720) as viewer:
        await viewer.open(f"{session.url}#screen=video")
        await watch_barcodes(viewer.page)
        await viewer.page.wait_for_function("() => window.barcodes.samples.length > 30")  # warm
        await take_samples(viewer.page)
        samples: list[GlassSample] = []
        frames: dict[int, dict[str, float]] = {}
        unreadable = 0
        while len(samples) < _SAMPLES:
            await viewer.page.wait_for_function("() => window.barcodes.samples.length >= 30")
            taken = await take_samples(viewer.page)
            samples += taken.samples
            unreadable += taken.unreadable
            for frame in await viewer.page.evaluate("heliograph.frames()"):
                frames[frame["rtp"]] = frame
    both = [(sample, frames[sample.rtp]) for sample in samples if sample.rtp in frames]
    # Traces come a little later than pictures; the last ones may be missing.
    assert len(both) >= 0.8 * len(samples)
    assert unreadable <= 0.02 * len(samples)
    # Pictures come in the order in which they were drawn, none from the future.
    clocks = [sample.clock_ns for sample in samples]
    assert clocks == sorted(clocks)
    assert min(sample.glass_ms for sample in samples) > 0

    measured = [sample.glass_ms for sample, _ in both]
    guest = [sample.glass_ms - frame["total"] for sample, frame in both]
    medians = {stage: _median([frame[stage] for _, frame in both]) for stage in _STAGES}
    total = _median([frame["total"] for _, frame in both])
    with capsys.disabled():
        p50, p95 = np.percentile(measured, [50, 95])
        stages = ", ".join(f"{stage} {value:.2f}" for stage, value in medians.items())
        sys.stdout.write(
            f"\n720p60 {scene}: glass to glass p50 {p50:.1f} ms, p95 {p95:.1f} ms; p50 of stages: "
            f"guest {_median(guest):.2f}, {stages}\n"
        )
    # Each stage begins where the one before ends.
    known = [frame for _, frame in both if math.isfinite(frame["network"])]
    assert len(known) >= 0.8 * len(both)
    for frame in known:
        assert abs(sum(frame[stage] for stage in _STAGES) - frame["total"]) < 0.01, frame
    # Frame by frame: what the trace does not know is the guest's own part, which is never less than nothing.
    assert -0.5 < _median(guest) <= max(_GUEST_FRAMES_MS, total)
