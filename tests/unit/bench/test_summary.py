# SPDX-License-Identifier: Apache-2.0
"""Statistics of measurements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.summary import Summary, Trend, histogram, quantile


def test_quantiles_are_those_of_numpy() -> None:
    values = list(np.random.default_rng(1).random(101))
    for share in (0.0, 0.01, 0.5, 0.95, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)))


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1)])
def test_no_quantile(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile(values, share)


def test_summary_leaves_out_what_is_not_finite() -> None:
    summary = Summary.of([1.0, math.nan, 3.0, math.inf])
    assert (summary.count, summary.p50, summary.smallest, summary.largest) == (2, 2.0, 1.0, 3.0)
    assert summary.columns("ms")["p50 ms"] == 2.0


def test_summary_of_nothing() -> None:
    assert Summary.of([]) == Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_trend_of_a_line() -> None:
    times_s = [10.0, 20.0, 40.0, 50.0]
    trend = Trend.of(times_s, [3 + 0.5 * time_s for time_s in times_s])
    assert trend.per_second == pytest.approx(0.5)
    assert trend.over_span == pytest.approx(20.0)


@pytest.mark.parametrize(("times_s", "values"), [([], []), ([1.0], [5.0]), ([2.0, 2.0], [1.0, 9.0])])
def test_trend_without_a_span(times_s: list[float], values: list[float]) -> None:
    assert Trend.of(times_s, values) == Trend(0.0, 0.0)


def test_trend_needs_a_time_for_each_value() -> None:
    with pytest.raises(ValueError, match="times"):
        Trend.of([1.0], [1.0, 2.0])


def test_histogram_has_empty_bins() -> None:
    assert histogram([0.1, 0.9, 2.5, math.nan], 1.0) == {0.0: 2, 1.0: 0, 2.0: 1}
    assert histogram([], 1.0) == {}
