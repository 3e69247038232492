# SPDX-License-Identifier: Apache-2.0
"""Packets as feedback tells of them, and the bursts they were sent in. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Packets sent closer than this to each other are one burst: a frame, or a part of a paced one.
BURST_GAP_US = 2_500
# No burst is longer: pacing may make packets follow each other without end.
MAX_BURST_US = 20_000


@dataclass(frozen=True, slots=True)
class PacketResult:
    """One packet of a feedback report, in the order of sending. `arrival_us` None: it has not arrived."""

    sequence: int
    size_bytes: int
    sent_us: int
    arrival_us: int | None


@dataclass(slots=True)
class Burst:
    """Packets sent back to back. Those that were lost are counted, but bear no time."""

    first_sent_us: int
    last_sent_us: int
    first_arrival_us: int
    last_arrival_us: int
    # The sending time of the packet that came first.
    arrived_sent_us: int
    packets: int
    size_bytes: int

    @property
    def delay_us(self) -> int:
        """One-way delay of its first packet, plus the clocks' unknown difference: what stood in the queue before it."""
        return self.first_arrival_us - self.arrived_sent_us


def bursts(results: Sequence[PacketResult]) -> Iterator[Burst]:
    """Yield the bursts among a report's packets that arrived; a burst cut in two by a report is two bursts."""
    current: Burst | None = None
    for result in results:
        if result.arrival_us is None:
            continue
        if (
            current is None
            or not 0 <= result.sent_us - current.last_sent_us <= BURST_GAP_US
            or result.sent_us - current.first_sent_us > MAX_BURST_US
        ):
            if current is not None:
                yield current
            current = Burst(
                result.sent_us,
                result.sent_us,
                result.arrival_us,
                result.arrival_us,
                result.sent_us,
                1,
                result.size_bytes,
            )
            continue
        current.last_sent_us = result.sent_us
        # On the network packets overtake each other.
        if result.arrival_us < current.first_arrival_us:
            current.first_arrival_us, current.arrived_sent_us = result.arrival_us, result.sent_us
        current.last_arrival_us = max(current.last_arrival_us, result.arrival_us)
        current.packets += 1
        current.size_bytes += result.size_bytes
    if current is not None:
        yield current
