# SPDX-License-Identifier: Apache-2.0
"""How often something may happen. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """A bucket of `burst` tokens that fills by `per_s` a second; each thing that happens takes one."""

    __slots__ = ("_burst", "_clock_s", "_filled_s", "_left", "_per_s")

    def __init__(self, per_s: float, burst: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock_s = clock_s
        self._left = float(burst)
        self._filled_s = clock_s()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        now_s = self._clock_s()
        self._left = min(self._burst, self._left + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
