# SPDX-License-Identifier: Apache-2.0
"""Statistics of measurements. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lie, between neighbours by their distance.

    Raises:
        ValueError: there are no values, or `share` is out of range.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no quantile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Summary:
    """A distribution in its unit; all zero when nothing was measured (`count` 0)."""

    count: int
    p50: float
    p95: float
    p99: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Summarize; what is not finite is left out."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return cls(
            len(finite),
            quantile(finite, 0.5),
            quantile(finite, 0.95),
            quantile(finite, 0.99),
            min(finite),
            max(finite),
        )

    def columns(self, unit: str) -> dict[str, float]:
        """Return p50, p95 and p99 as columns of a table."""
        return {f"p50 {unit}": self.p50, f"p95 {unit}": self.p95, f"p99 {unit}": self.p99}


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through samples by least squares, as growth over their whole span."""

    per_second: float
    over_span: float

    @classmethod
    def of(cls, times_s: Sequence[float], values: Sequence[float]) -> Trend:
        """Fit; a span of zero has no growth.

        Raises:
            ValueError: the two are not of one length.
        """
        if len(times_s) != len(values):
            raise ValueError(f"{len(times_s)} times for {len(values)} values")
        if len(values) < 2:
            return cls(0.0, 0.0)
        middle_s = sum(times_s) / len(times_s)
        middle = sum(values) / len(values)
        spread = sum((time_s - middle_s) ** 2 for time_s in times_s)
        if spread == 0:
            return cls(0.0, 0.0)
        slope = sum((t - middle_s) * (v - middle) for t, v in zip(times_s, values, strict=True)) / spread
        return cls(slope, slope * (max(times_s) - min(times_s)))


def histogram(values: Iterable[float], width: float) -> dict[float, int]:
    """Count values in bins of `width`, by the bin's lower end; empty bins between are included."""
    counts: dict[int, int] = {}
    for value in values:
        if math.isfinite(value):
            index = math.floor(value / width)
            counts[index] = counts.get(index, 0) + 1
    if not counts:
        return {}
    return {index * width: counts.get(index, 0) for index in range(min(counts), max(counts) + 1)}
