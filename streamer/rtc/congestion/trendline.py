# SPDX-License-Identifier: Apache-2.0
"""Whether delay grows: a line through the delays of late, against a threshold that follows the path's jitter. No I/O.

draft-ietf-rmcat-gcc-02, 5.3 and 5.4; the line in place of the Kalman filter is libwebrtc's.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

WINDOW_BURSTS = 20
MIN_BURSTS = 5
_SMOOTHING = 0.9
_GAIN = 4.0
# The slope counts the more, the more bursts tell of it.
_MAX_COUNTED = 60

THRESHOLD_MS, MIN_THRESHOLD_MS, MAX_THRESHOLD_MS = 12.5, 6.0, 600.0
_GAIN_UP, _GAIN_DOWN = 0.0087, 0.039
# A jump this far above the threshold is a route's change or a stall, not jitter: the threshold does not learn it.
_OUTLIER_MS = 15.0
_MAX_ADAPT_MS = 100.0
# Over-use must last, and be seen twice.
_OVERUSE_MS = 10.0


class Usage(Enum):
    """What the bottleneck's queue does."""

    UNDER = "under"
    NORMAL = "normal"
    OVER = "over"


class Trendline:
    """Detects over-use from one delay a burst."""

    def __init__(self) -> None:
        self.threshold_ms = THRESHOLD_MS
        self.usage = Usage.NORMAL
        self.trend_ms = 0.0
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOW_BURSTS)
        self._first_us: int | None = None
        self._last: tuple[int, int] | None = None
        self._accumulated_ms = 0.0
        self._smoothed_ms = 0.0
        self._count = 0
        self._over_ms = 0.0
        self._overs = 0

    def reset(self) -> None:
        """Forget the past, the threshold excepted: the clocks or the route have jumped."""
        threshold_ms = self.threshold_ms
        self.__init__()  # type: ignore[misc]
        self.threshold_ms = threshold_ms

    def update(self, sent_us: int, delay_us: int) -> Usage:
        """Take in the delay (arrival minus sending, any origin) of a burst sent at `sent_us`."""
        if self._last is None or self._first_us is None:
            self._last, self._first_us = (sent_us, delay_us), sent_us
            return self.usage
        step_ms = (sent_us - self._last[0]) / 1000
        if step_ms <= 0:
            return self.usage
        variation_ms = (delay_us - self._last[1]) / 1000
        self._last = (sent_us, delay_us)
        self._count = min(self._count + 1, _MAX_COUNTED)
        self._accumulated_ms += variation_ms
        self._smoothed_ms = _SMOOTHING * self._smoothed_ms + (1 - _SMOOTHING) * self._accumulated_ms
        self._points.append(((sent_us - self._first_us) / 1000, self._smoothed_ms))
        if len(self._points) >= MIN_BURSTS:
            self._detect(_slope(self._points), step_ms)
        return self.usage

    def _detect(self, slope: float, step_ms: float) -> None:
        before, self.trend_ms = self.trend_ms, self._count * slope * _GAIN
        if self.trend_ms > self.threshold_ms:
            self._over_ms += step_ms
            self._overs += 1
            if self._over_ms > _OVERUSE_MS and self._overs > 1 and self.trend_ms >= before:
                self.usage = Usage.OVER
        else:
            self._over_ms = 0.0
            self._overs = 0
            self.usage = Usage.UNDER if self.trend_ms < -self.threshold_ms else Usage.NORMAL
        self._adapt(abs(self.trend_ms), step_ms)

    def _adapt(self, size_ms: float, step_ms: float) -> None:
        """Follow the jitter, faster down than up, so that one over-use is not enough to make it normal."""
        if size_ms > self.threshold_ms + _OUTLIER_MS:
            return
        gain = _GAIN_UP if size_ms > self.threshold_ms else _GAIN_DOWN
        self.threshold_ms += gain * (size_ms - self.threshold_ms) * min(step_ms, _MAX_ADAPT_MS)
        self.threshold_ms = max(MIN_THRESHOLD_MS, min(self.threshold_ms, MAX_THRESHOLD_MS))


def _slope(points: deque[tuple[float, float]]) -> float:
    """Return the least-squares slope, ms of delay a ms."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread <= 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
