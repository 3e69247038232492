# SPDX-License-Identifier: Apache-2.0
"""Text on its way through a selection, in parts when it is long (ICCCM's INCR)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from guest_agent.messages import MAX_CLIPBOARD_BYTES

MAX_TRANSFERS = 16
# Between two parts; a guest that is slow may need longer for all of them.
PATIENCE_SECONDS = 10.0


class _Transfer:
    """Calls `give_up` when nothing moves for long. Loop thread only."""

    def __init__(self, give_up: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._give_up = give_up
        self._timer = self._loop.call_later(PATIENCE_SECONDS, give_up)

    def _go_on(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._give_up)

    def cancel(self) -> None:
        """It has ended, one way or the other. May be called twice."""
        self._timer.cancel()


class IncomingText(_Transfer):
    """What a guest program's clipboard holds, as far as it has come."""

    def __init__(self, timestamp: int, give_up: Callable[[], object]) -> None:
        super().__init__(give_up)
        self.timestamp = timestamp
        self.kind = 0  # the type's atom
        self.is_in_parts = False
        self.data = bytearray()

    def add(self, part: bytes) -> bool:
        """Take a part; False when it is too much in all."""
        self._go_on()
        self.data += part
        return len(self.data) <= MAX_CLIPBOARD_BYTES


class OutgoingText(_Transfer):
    """Text that a guest program fetches in parts."""

    def __init__(self, data: bytes, kind: int, give_up: Callable[[], object]) -> None:
        super().__init__(give_up)
        self.kind = kind
        self._data = data
        self._at = 0

    def next_part(self, size: int) -> bytes:
        """Return the next part; empty after the last one, which is the end."""
        self._go_on()
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part
