# SPDX-License-Identifier: Apache-2.0
"""News that come faster than they are of use: the newest is passed on, the others are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Newest(Generic[_T]):
    """Event loop only. The first after a quiet time is passed on at once, what follows at most every `interval_s`."""

    def __init__(self, interval_s: float, send: Callable[[_T], None]) -> None:
        self._interval_s = interval_s
        self._send = send
        self._waiting: list[_T] = []
        self._timer: asyncio.TimerHandle | None = None

    def put(self, value: _T) -> None:
        """Pass `value` on, now or when its time has come and none has followed it."""
        self._waiting[:] = [value]
        if self._timer is None:
            self._flush()

    def cancel(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._flush)
            self._send(self._waiting.pop())
