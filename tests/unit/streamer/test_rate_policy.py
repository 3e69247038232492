# SPDX-License-Identifier: Apache-2.0
"""What viewers' targets make of the encode."""

from __future__ import annotations

from streamer.rate_policy import (
    MIN_FPS,
    encoder_rate,
    frame_rate,
    shared_rate,
)

MBPS = 1_000_000


def test_the_lowest_of_those_that_have_half_of_the_best_sets_the_rate() -> None:
    assert shared_rate({}) is None
    shared = shared_rate({1: 10 * MBPS, 2: 6 * MBPS, 3: 4 * MBPS})
    assert shared is not None
    assert (shared.bps, shared.slow, shared.slow_bps) == (6 * MBPS, frozenset({3}), 4 * MBPS)


def test_one_viewer_is_never_slow() -> None:
    shared = shared_rate({7: 200_000})
    assert shared is not None
    assert (shared.bps, shared.slow) == (200_000, frozenset())


def test_a_slow_viewer_stays_so_until_it_has_clearly_more_than_half() -> None:
    targets = {1: 10 * MBPS, 2: 6 * MBPS}
    kept = shared_rate(targets, frozenset({2}))
    assert kept is not None
    assert kept.slow == {2}
    back = shared_rate({1: 10 * MBPS, 2: 7 * MBPS}, frozenset({2}))
    assert back is not None
    assert (back.bps, back.slow) == (7 * MBPS, frozenset())


def test_a_rate_too_low_for_all_pictures_is_spent_on_fewer() -> None:
    pixels = 1280 * 720
    assert frame_rate(10 * MBPS, pixels, 60) == 60
    assert 30 < frame_rate(2 * MBPS, pixels, 60) < 45
    assert frame_rate(100_000, pixels, 60) == MIN_FPS
    assert frame_rate(100_000, pixels, 5) == 5
    assert encoder_rate(10 * MBPS, pixels, 60) == 10 * MBPS
    low = encoder_rate(2 * MBPS, pixels, 60)
    assert abs(low / 60 - 2 * MBPS / frame_rate(2 * MBPS, pixels, 60)) < 1
