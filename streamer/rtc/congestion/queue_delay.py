# SPDX-License-Identifier: Apache-2.0
"""How long packets wait in the bottleneck: their delay above the least of late. No I/O."""

from __future__ import annotations

from collections import deque

# The least delay is that of one to two such spans: clocks drift by less than 1 ms in them.
BASE_SPAN_US = 10_000_000
# A queue that stands is seen by every burst of this time.
STANDING_US = 150_000
# What a single burst is believed to have waited at most.
MAX_DELAY_US = 5_000_000


class QueueDelay:
    """Tracks the path's base delay, and the least and last wait of late."""

    def __init__(self) -> None:
        self.base_us: int | None = None
        self.last_us = 0
        self._older_us: int | None = None
        self._newer_us: int | None = None
        self._turned_us: int | None = None
        self._recent: deque[tuple[int, int]] = deque()

    @property
    def standing_us(self) -> int:
        """The least wait of the last STANDING_US: what no burst got around. 0 until there are two bursts."""
        return min((wait for _, wait in self._recent), default=0) if len(self._recent) > 1 else 0

    def update(self, sent_us: int, delay_us: int) -> int:
        """Take a burst's delay in (any origin); returns how long it waited."""
        if self._turned_us is None or sent_us - self._turned_us > BASE_SPAN_US:
            self._older_us, self._newer_us = self._newer_us, delay_us
            self._turned_us = sent_us
        self._newer_us = delay_us if self._newer_us is None else min(self._newer_us, delay_us)
        self.base_us = self._newer_us if self._older_us is None else min(self._newer_us, self._older_us)
        self.last_us = min(delay_us - self.base_us, MAX_DELAY_US)
        self._recent.append((sent_us, self.last_us))
        while self._recent[0][0] < sent_us - STANDING_US:
            self._recent.popleft()
        return self.last_us

    def rebase(self) -> None:
        """Take what is the least now for the path's own delay: what was thought a queue does not drain."""
        standing_us = self.standing_us
        if self.base_us is not None:
            self._older_us, self._newer_us = None, self.base_us + standing_us
            self.base_us = self._newer_us
        self.last_us = max(0, self.last_us - standing_us)
        self._recent.clear()
