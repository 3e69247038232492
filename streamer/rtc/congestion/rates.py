# SPDX-License-Identifier: Apache-2.0
"""How fast packets arrive: on the whole, while the bottleneck is busy, and in a burst of its own. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from streamer.rtc.congestion.packets import Burst, PacketResult

WINDOW_US = 500_000
_MIN_WINDOW_US = 100_000
# A burst tells the link's rate when it is longer than the receiver's clock is fine (250 µs, and its threads).
MIN_BURST_PACKETS = 3
MIN_BURST_BYTES = 2_500
BURSTS = 9
BURST_AGE_US = 1_000_000
# Packets that wait for each other for this long say how fast the link is.
MIN_BUSY_US = 5_000
MAX_RATE_BPS = 1_000_000_000


class AcknowledgedRate:
    """Bytes that arrived in the last half second of the receiver's clock."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def update(self, results: Sequence[PacketResult]) -> None:
        """Take a report's packets in."""
        for result in results:
            if result.arrival_us is not None:
                self._arrived.append((result.arrival_us, result.size_bytes))
                self._bytes += result.size_bytes
        if self._arrived:
            newest_us = self._arrived[-1][0]
            while not 0 <= newest_us - self._arrived[0][0] <= WINDOW_US:
                self._bytes -= self._arrived.popleft()[1]

    @property
    def bps(self) -> float:
        """The rate; over at least 100 ms, so that one burst is no rate."""
        if not self._arrived:
            return 0.0
        span_us = min(WINDOW_US, max(_MIN_WINDOW_US, self._arrived[-1][0] - self._arrived[0][0]))
        return self._bytes * 8e6 / span_us


def busy_rate(results: Sequence[PacketResult], base_us: int) -> float | None:
    """Return the bottleneck's rate in bits a second, from packets that arrived behind others they had to wait for.

    `base_us` is the path's least delay. None: too few waited. While a queue stands this is what the link gives us.
    """
    size_bytes = span_us = 0
    last_us: int | None = None
    for result in results:
        if result.arrival_us is None:
            continue
        if last_us is not None and result.arrival_us >= last_us > result.sent_us + base_us:
            size_bytes += result.size_bytes
            span_us += result.arrival_us - last_us
        last_us = result.arrival_us if last_us is None else max(last_us, result.arrival_us)
    if span_us < MIN_BUSY_US:
        return None
    return min(size_bytes * 8e6 / span_us, MAX_RATE_BPS)


class BurstRate:
    """The rate at which whole bursts cross the path: every frame is a probe, no padding is needed.

    A burst's time is from its first packet's sending to its last one's arrival, the path's least delay taken off. Where
    it waits for others, or the path jitters, this says less than the link has, never more.
    """

    def __init__(self) -> None:
        self._rates: deque[tuple[int, float]] = deque(maxlen=BURSTS)

    def update(self, burst: Burst, base_us: int) -> None:
        """Take a burst in; small ones tell nothing."""
        if burst.packets < MIN_BURST_PACKETS or burst.size_bytes < MIN_BURST_BYTES:
            return
        # 250 µs is the resolution of the report.
        span_us = max(250, burst.last_arrival_us - burst.first_sent_us - base_us)
        # The least delay has one packet's own time in it.
        size_bytes = burst.size_bytes * (burst.packets - 1) / burst.packets
        self._rates.append((burst.first_sent_us, min(size_bytes * 8e6 / span_us, MAX_RATE_BPS)))

    def bps(self, since_us: int, now_us: int) -> float | None:
        """Return the median of the bursts sent since then and lately; None when there is none."""
        since_us = max(since_us, now_us - BURST_AGE_US)
        rates = [rate for sent_us, rate in self._rates if sent_us >= since_us]
        return median(rates) if rates else None
