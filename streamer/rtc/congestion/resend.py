# SPDX-License-Identifier: Apache-2.0
"""Which lost packets are sent again: on a path that has just narrowed, all of them keep its queue full. No I/O."""

from __future__ import annotations

from enum import Enum

# Of the target; a path that loses a twentieth of the packets needs a fifth of this.
SHARE = 0.25
BURST_US = 50_000
MIN_BURST_BYTES = 15_000
# Asked for again before it can have arrived.
MIN_REPEAT_US = 20_000
MAX_REMEMBERED = 4096


class Resend(Enum):
    """What to do with a packet that is asked for."""

    SEND = "send"
    # It is on its way already.
    WAIT = "wait"
    # There are more than fit: a keyframe is the shorter way.
    REFUSE = "refuse"


class ResendBudget:
    """A share of the target, as a bucket of bytes; remembers when each packet was sent again."""

    def __init__(self) -> None:
        self._left_bytes = float(MIN_BURST_BYTES)
        self._filled_us: int | None = None
        self._sent_us: dict[int, int] = {}

    def ask(self, sequence: int, size_bytes: int, now_us: int, *, target_bps: int, round_trip_us: int) -> Resend:
        """Decide on the packet of that RTP sequence number; SEND takes its bytes from the budget."""
        last_us = self._sent_us.get(sequence)
        if last_us is not None and 0 <= now_us - last_us < max(MIN_REPEAT_US, round_trip_us):
            return Resend.WAIT
        rate_bps = SHARE * target_bps
        most_bytes = max(MIN_BURST_BYTES, rate_bps * BURST_US / 8e6)
        since_us = max(0, now_us - self._filled_us) if self._filled_us is not None else 0
        self._filled_us = now_us
        self._left_bytes = min(most_bytes, self._left_bytes + rate_bps * since_us / 8e6)
        if self._left_bytes < size_bytes:
            return Resend.REFUSE
        self._left_bytes -= size_bytes
        self._sent_us.pop(sequence, None)
        self._sent_us[sequence] = now_us
        if len(self._sent_us) > MAX_REMEMBERED:
            del self._sent_us[next(iter(self._sent_us))]
        return Resend.SEND
