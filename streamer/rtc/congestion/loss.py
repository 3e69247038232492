# SPDX-License-Identifier: Apache-2.0
"""Loss: which part of it is the path's own, and what the rest asks for. No I/O.

The thresholds are those of draft-ietf-rmcat-gcc-02, 6, but on the loss above what the path loses whatever is sent. To
know that part the rate is lowered once: what does not fall with the rate was not of our making (the idea of
libwebrtc's second loss-based estimator, as one experiment instead of a fit).
"""

from __future__ import annotations

from enum import Enum

WINDOW_US = 400_000
MIN_PACKETS = 60
# A window that does not fill says something all the same.
MAX_WINDOW_US = 2_000_000
LOW, HIGH = 0.02, 0.10
# The path's own loss is at most this; above it is congestion, whatever an experiment says.
MAX_FLOOR = 0.12
_SIGMAS = 2.0
_FLOOR_SMOOTHING = 0.2
EXPERIMENT_FACTOR = 0.8
# Loss that falls to less than this share when the rate is lowered was ours.
_FELL = 0.6


class LossState(Enum):
    """What the last window asks for."""

    CLEAR = "clear"
    HOLD = "hold"
    EXPERIMENT = "experiment"
    LOWER = "lower"


class LossControl:
    """Sorts loss by windows of packets. `factor` is what to multiply the rate by when a window has ended."""

    def __init__(self) -> None:
        self.state = LossState.CLEAR
        # Smoothed over the windows, for people.
        self.fraction = 0.0
        self.floor = 0.0
        self.factor = 1.0
        self._packets = 0
        self._lost = 0
        self._began_us: int | None = None
        self._was_queued = False
        # The loss before the experiment that is running, and whether its first window, of before, is over.
        self._experiment: float | None = None
        self._is_settled = False

    def update(self, packets: int, lost: int, now_us: int, *, is_queued: bool) -> bool:
        """Take a report's counts in; True when a window has ended, and `state` and `factor` are new.

        `is_queued`: delay says that the bottleneck's queue is long; loss is then no property of the path.
        """
        if self._began_us is None:
            self._began_us = now_us
        self._packets += packets
        self._lost += lost
        self._was_queued |= is_queued
        span_us = now_us - self._began_us
        if span_us < WINDOW_US or (self._packets < MIN_PACKETS and span_us < MAX_WINDOW_US):
            return False
        if self._packets:
            self._judge(self._lost / self._packets, self._packets)
        self._packets = self._lost = 0
        self._began_us = now_us
        self._was_queued = False
        return True

    def _judge(self, fraction: float, packets: int) -> None:
        self.fraction += 0.3 * (fraction - self.fraction)
        self.factor = 1.0
        if self._experiment is not None:
            self._finish_experiment(fraction)
            return
        noise = _SIGMAS * (max(fraction, self.floor) * (1 - fraction) / packets) ** 0.5
        excess = fraction - self.floor - noise
        if excess <= LOW or packets < MIN_PACKETS // 2:
            self.state = LossState.CLEAR
            self.floor += _FLOOR_SMOOTHING * (min(fraction, MAX_FLOOR) - self.floor) if self.floor else 0.0
        elif self._was_queued or fraction > 2 * MAX_FLOOR:
            self.state = LossState.LOWER if excess > HIGH else LossState.HOLD
            self.factor = 1.0 - 0.5 * excess if excess > HIGH else 1.0
        else:
            self.state = LossState.EXPERIMENT
            self.factor = EXPERIMENT_FACTOR
            self._experiment = fraction
            self._is_settled = False

    def _finish_experiment(self, fraction: float) -> None:
        """Compare; the first window after the change still has packets of before."""
        if self._was_queued:
            self._experiment = None
            self.state = LossState.HOLD
            return
        if not self._is_settled:
            self._is_settled = True
            return
        before, self._experiment = self._experiment or 0.0, None
        if fraction < _FELL * before:
            self.state = LossState.HOLD
            return
        self.floor = min((fraction + before) / 2, MAX_FLOOR)
        self.factor = 1.0 / EXPERIMENT_FACTOR
        self.state = LossState.CLEAR
