# SPDX-License-Identifier: Apache-2.0
"""When the next frame may go: after the last one had time to drain, and while what is under way fits the path. No I/O.

Both hold frames back before they are encoded, where a newer one can still replace them. Missing feedback shows here
first.
"""

from __future__ import annotations

from collections import deque

# What may be under way beside a round trip and the time between two reports.
BUDGET_US = 100_000
FEEDBACK_US = 100_000
MIN_WINDOW_BYTES = 12_000
# Headers, extensions and SRTP's tag: so much of each packet, and of the last one.
OVERHEAD_PART, OVERHEAD_BYTES = 30, 40
# Without any report for this long, and this many round trips, what is under way is taken for lost.
SILENCE_US = 500_000
_SILENCE_TRIPS = 3
# A frame may go so long before the last one has drained: its bits then follow without a gap.
SLACK_US = 8_000
# A frame is never waited for longer than this, however large the last one was.
MAX_DRAIN_US = 500_000
MAX_FRAMES = 2048


class SendWindow:
    """Keeps what is under way, by frame."""

    def __init__(self, target_bps: int) -> None:
        self.target_bps = target_bps
        # What the path takes while it is busy, if known: it drains a burst faster than the target.
        self.drain_bps = target_bps
        self.round_trip_us = 0
        self.in_flight_bytes = 0
        self._frames: deque[tuple[int, int]] = deque()
        self._drained_us = 0
        self._heard_us: int | None = None

    @property
    def size_bytes(self) -> int:
        """What may be under way."""
        return max(MIN_WINDOW_BYTES, self.target_bps * (self.round_trip_us + FEEDBACK_US + BUDGET_US) // 8_000_000)

    @property
    def silence_us(self) -> int:
        """How long feedback may stay away."""
        return max(SILENCE_US, _SILENCE_TRIPS * self.round_trip_us)

    def ready_us(self, now_us: int) -> int:
        """Return when the next frame may go: now or earlier, or the time at which to ask again."""
        ready_us = self._drained_us - SLACK_US
        if self._heard_us is not None and self.in_flight_bytes >= self.size_bytes:
            oldest_us = self._frames[0][0] if self._frames else now_us
            ready_us = max(ready_us, max(self._heard_us, oldest_us) + self.silence_us)
        return ready_us

    def is_silent(self, now_us: int) -> bool:
        """Whether feedback has stayed away for too long while something was under way."""
        if self._heard_us is None or not self._frames:
            return False
        return now_us >= max(self._heard_us, self._frames[0][0]) + self.silence_us

    def forget(self, now_us: int) -> None:
        """What is under way is lost; the next silence counts from now."""
        self._frames.clear()
        self.in_flight_bytes = 0
        self._heard_us = now_us

    def add(self, size_bytes: int, now_us: int) -> None:
        """A frame of that size goes out."""
        size_bytes += size_bytes // OVERHEAD_PART + OVERHEAD_BYTES
        self._frames.append((now_us, size_bytes))
        self.in_flight_bytes += size_bytes
        if len(self._frames) > MAX_FRAMES:
            self.in_flight_bytes -= self._frames.popleft()[1]
        drain_us = size_bytes * 8_000_000 // max(1, self.drain_bps)
        self._drained_us = min(max(self._drained_us, now_us) + drain_us, now_us + MAX_DRAIN_US)

    def acknowledge(self, sent_us: int, now_us: int) -> None:
        """A packet sent at `sent_us` has been reported on: frames that went out before it have left the path."""
        self._heard_us = now_us
        frames = self._frames
        # The last one's own packets may not all have been reported yet.
        while frames and frames[0][0] <= sent_us and (len(frames) == 1 or frames[1][0] <= sent_us):
            self.in_flight_bytes -= frames.popleft()[1]
        while frames and frames[0][0] < now_us - self.silence_us:
            self.in_flight_bytes -= frames.popleft()[1]
