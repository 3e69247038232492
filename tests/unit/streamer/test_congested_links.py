# SPDX-License-Identifier: Apache-2.0
"""A session seen by Chromium over paths that are narrow, lossy, long, or change. The screen is noise, at any rate.

A path's delay is what a rate is found by, and a machine with other work delays too: what must come may come late here,
and be a part of what a link could carry. How soon and how much: rtc/congestion/test_controller.py, in virtual time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.browser import chromium
from tests.support.link_lab import LinkLab, LinkSample, LinkViewer, link_lab
from tests.support.streaming import wait_until
from tests.support.udp_relay import PathSettings

pytestmark = pytest.mark.e2e

MBPS = 1_000_000
WAIT_S = 90.0


@asynccontextmanager
async def one_viewer(down: PathSettings, delay_ms: float = 0.0) -> AsyncIterator[tuple[LinkLab, LinkViewer]]:
    async with chromium() as browser, link_lab() as lab:
        yield lab, await lab.connect(browser, down, PathSettings(delay_ms=delay_ms))


async def measure_until(viewer: LinkViewer, seconds: float, check: Callable[[LinkSample], None]) -> None:
    """Measure again and again until `check` finds what it asserts."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        sample = await viewer.measure(seconds)
        try:
            check(sample)
        except AssertionError:
            if time.monotonic() > deadline_s:
                raise
        else:
            return


def assert_flows(sample: LinkSample, rate_bps: float) -> None:
    assert 0.1 * rate_bps < sample.target_bps < 1.1 * rate_bps
    assert sample.goodput_bps > 0.1 * rate_bps
    # No storm: at most one keyframe a second and a half.
    assert sample.keyframes <= 3
    assert sample.decoded_per_s > 10


@pytest.mark.parametrize(
    ("mbps", "loss", "delay_ms"), [(2, 0.0, 0.0), (5, 0.05, 0.0), (20, 0.01, 0.0), (5, 0.01, 50.0)]
)
async def test_the_picture_flows_at_the_rate_of_the_link(mbps: int, loss: float, delay_ms: float) -> None:
    down = PathSettings(mbps * MBPS, loss=loss, delay_ms=delay_ms)
    async with one_viewer(down, delay_ms) as (lab, viewer):
        await viewer.measure(1.5)

        def check(sample: LinkSample) -> None:
            assert_flows(sample, mbps * MBPS)
            values = lab.metrics()
            assert values["target_bps"] > 0
            assert values["acked_bps"] > 0.1 * mbps * MBPS
            assert values["round_trip_ms_max"] >= 2 * delay_ms
            assert (values["loss_fraction_max"] > 0) or not loss

        await measure_until(viewer, 3, check)


async def test_a_link_that_widens_is_used_within_seconds_and_one_that_narrows_drains() -> None:
    async with one_viewer(PathSettings(2 * MBPS)) as (_lab, viewer):
        await viewer.measure(2)
        viewer.relay.set_rate(20 * MBPS)

        def check_wide(sample: LinkSample) -> None:
            assert sample.reached_s(0.8 * 20 * MBPS) < float("inf")
            assert sample.keyframes <= 2

        await measure_until(viewer, 3, check_wide)
        viewer.relay.set_rate(2 * MBPS)

        def check_narrow(sample: LinkSample) -> None:
            assert sample.keyframes <= 2
            assert sample.decoded_per_s > 10
            assert sorted(sample.longest_waits_ms)[len(sample.longest_waits_ms) // 2] < 150

        await measure_until(viewer, 2, check_narrow)


async def test_a_slow_viewer_gets_pictures_of_its_own_pace_and_drags_nobody() -> None:
    async with chromium() as browser, link_lab() as lab:
        fast = await lab.connect(browser, PathSettings(20 * MBPS))
        slow = await lab.connect(browser, PathSettings(1 * MBPS))
        await wait_until(lambda: lab.metrics()["viewers_slow"] == 1)
        await fast.measure(1)

        def check_fast(sample: LinkSample) -> None:
            assert sample.target_bps > 0.1 * 20 * MBPS
            assert lab.metrics()["target_bps"] > 0.1 * 20 * MBPS
            assert sample.keyframes <= 3

        def check_slow(sample: LinkSample) -> None:
            assert sample.decoded_per_s > 3
            assert 0.1 * MBPS < sample.goodput_bps < 1.2 * MBPS

        def check_again_fast(sample: LinkSample) -> None:
            assert lab.metrics()["viewers_slow"] == 0
            assert sample.decoded_per_s > 10

        await measure_until(fast, 3, check_fast)
        await measure_until(slow, 3, check_slow)
        slow.relay.set_rate(None)
        await measure_until(slow, 2, check_again_fast)
