# SPDX-License-Identifier: Apache-2.0
"""When a process that has ended is started again. No I/O."""

from __future__ import annotations

from collections import deque

MAX_CRASHES = 5
WINDOW_S = 30.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0


class RestartPolicy:
    """Counts a process's crashes: the first restart is at once, later ones wait, and at a limit it is given up."""

    def __init__(self, max_crashes: int = MAX_CRASHES, window_s: float = WINDOW_S) -> None:
        self.max_crashes = max_crashes
        self.window_s = window_s
        self._crashes: deque[float] = deque(maxlen=max_crashes)

    def record_crash(self, now_s: float) -> float | None:
        """Return how many seconds to wait before the next start, or None when there shall be none.

        Args:
            now_s: of any steady clock.
        """
        self._crashes.append(now_s)
        recent = sum(1 for crash_s in self._crashes if now_s - crash_s < self.window_s)
        if recent >= self.max_crashes:
            return None
        return 0.0 if recent == 1 else min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** (recent - 2))
