# SPDX-License-Identifier: Apache-2.0
"""Text on its way through a selection, in parts when it is long (ICCCM's INCR)."""

from __future__ import annotations

import asyncio

from guest_agent.messages import MAX_CLIPBOARD_BYTES

MAX_TRANSFERS = 16


class IncomingText:
    """What a guest program's clipboard holds, as far as it has come."""

    def __init__(self, timestamp: int, timer: asyncio.TimerHandle) -> None:
        self.timestamp = timestamp
        self.kind = 0  # the type's atom
        self.is_in_parts = False
        self.data = bytearray()
        self._timer = timer

    def add(self, part: bytes) -> bool:
        """Take a part; False when it is too much in all."""
        self.data += part
        return len(self.data) <= MAX_CLIPBOARD_BYTES

    def cancel(self) -> None:
        self._timer.cancel()


class OutgoingText:
    """Text that a guest program fetches in parts."""

    def __init__(self, data: bytes, kind: int, timer: asyncio.TimerHandle) -> None:
        self.kind = kind
        self._data = data
        self._at = 0
        self._timer = timer

    def next_part(self, size: int) -> bytes:
        """Return the next part; empty after the last one, which is the end."""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def cancel(self) -> None:
        self._timer.cancel()
