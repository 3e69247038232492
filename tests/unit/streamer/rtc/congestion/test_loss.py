# SPDX-License-Identifier: Apache-2.0
"""Loss that the path makes, and loss that we make."""

from __future__ import annotations

import random

import pytest

from streamer.rtc.congestion.loss import MAX_FLOOR, LossControl, LossState


def run(control: LossControl, seconds: float, fraction: float, *, begin_us: int = 0, is_queued: bool = False) -> float:
    """Ten reports a second of 100 packets; returns the product of the factors."""
    noise, product = random.Random(begin_us + 1), 1.0
    for index in range(int(seconds * 10)):
        lost = sum(noise.random() < fraction for _ in range(100))
        if control.update(100, lost, begin_us + index * 100_000, is_queued=is_queued):
            product *= control.factor
    return product


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.05])
def test_loss_that_does_not_depend_on_us_costs_no_rate_in_the_end(fraction: float) -> None:
    control = LossControl()
    assert run(control, 20, fraction) == pytest.approx(1.0, abs=0.21)
    assert control.floor == pytest.approx(fraction if fraction > 0.02 else 0.0, abs=0.02)
    assert control.fraction == pytest.approx(fraction, abs=0.02)


def test_loss_that_falls_with_the_rate_was_ours() -> None:
    control, product = LossControl(), 1.0
    for index in range(100):
        # A policer at 90 % of what we send.
        fraction = max(0.0, 1 - 0.9 / product)
        product *= run(control, 0.1, fraction, begin_us=index * 100_000)
    assert product < 0.95
    assert control.floor == 0.0


def test_loss_of_a_full_queue_never_counts_as_the_paths_own() -> None:
    control = LossControl()
    assert run(control, 5, 0.3, is_queued=True) < 0.5
    assert control.floor == 0.0


def test_a_path_that_loses_most_is_not_believed_in() -> None:
    control = LossControl()
    assert run(control, 20, 0.6) < 0.01
    assert control.floor <= MAX_FLOOR
    assert control.state is LossState.LOWER


def test_few_packets_say_little() -> None:
    control = LossControl()
    for index in range(100):
        control.update(1, index % 7 == 0, index * 100_000, is_queued=False)
    assert control.state is LossState.CLEAR
    assert control.factor == 1.0
