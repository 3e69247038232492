# SPDX-License-Identifier: Apache-2.0
"""What delays make an over-use."""

from __future__ import annotations

import random
from collections.abc import Callable

from streamer.rtc.congestion.trendline import MAX_THRESHOLD_MS, MIN_THRESHOLD_MS, THRESHOLD_MS, Trendline, Usage

FRAME_US = 16_667


def feed(trendline: Trendline, delay_us: Callable[[int], float], frames: int, first: int = 0) -> list[Usage]:
    return [trendline.update(index * FRAME_US, int(delay_us(index))) for index in range(first, first + frames)]


def test_a_growing_queue_is_seen_within_ten_frames_and_its_draining_too() -> None:
    trendline = Trendline()
    assert set(feed(trendline, lambda index: 20_000, 60)) == {Usage.NORMAL}
    grown = feed(trendline, lambda index: 20_000 + (index - 60) * 5_000, 20, 60)
    assert Usage.OVER in grown[:10]
    drained = feed(trendline, lambda index: 120_000 - (index - 80) * 5_000, 24, 80)
    assert drained[-1] is Usage.UNDER


def test_jitter_is_no_over_use() -> None:
    trendline, noise = Trendline(), random.Random(1)
    seen = feed(trendline, lambda index: 20_000 + noise.uniform(0, 6_000), 600)
    assert seen.count(Usage.OVER) < 12


def test_one_late_frame_is_no_over_use() -> None:
    trendline = Trendline()
    seen = feed(trendline, lambda index: 45_000 if index == 60 else 20_000, 120)
    assert Usage.OVER not in seen


def test_clocks_that_drift_are_no_over_use() -> None:
    assert Usage.OVER not in feed(Trendline(), lambda index: index * 5, 2000)


def test_the_threshold_follows_and_stays_within_its_bounds() -> None:
    trendline, noise = Trendline(), random.Random(2)
    feed(trendline, lambda index: 0, 500)
    assert trendline.threshold_ms < THRESHOLD_MS
    feed(trendline, lambda index: noise.uniform(0, 1e9), 500, 500)
    assert MIN_THRESHOLD_MS <= trendline.threshold_ms <= MAX_THRESHOLD_MS


def test_times_that_stand_still_or_go_back_are_passed_over() -> None:
    trendline = Trendline()
    for sent_us in (0, 0, -5, 10, 10, 3):
        assert trendline.update(sent_us, 10**12) is Usage.NORMAL


def test_a_reset_keeps_what_was_learned_of_the_jitter() -> None:
    trendline = Trendline()
    feed(trendline, lambda index: index * 5_000, 40)
    threshold_ms = trendline.threshold_ms
    trendline.reset()
    assert trendline.usage is Usage.NORMAL
    assert trendline.threshold_ms == threshold_ms
