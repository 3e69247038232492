# SPDX-License-Identifier: Apache-2.0
"""What was sent on one transport, and what its receiver's feedback says about it. No I/O, no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.rtc.congestion.packets import PacketResult
from streamer.rtc.twcc import REFERENCE_SPAN_US, TransportFeedback
from streamer.stream_core.packet_log import PacketLog

_SMOOTHING = 0.1
_MAX_GRADIENT_US = 1_000_000


@dataclass(slots=True)
class TransportStatistics:
    """Sums since the transport began, and smoothed values of late."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_acked: int = 0
    packets_lost: int = 0
    feedbacks: int = 0
    malformed_feedbacks: int = 0
    loss_fraction: float = 0.0
    # How much longer packets take than those before them: positive while a queue grows.
    delay_gradient_us: float = 0.0
    delivered_bps: float = 0.0


class SendHistory:
    """Turns feedback into statistics. Event loop only; `log` numbers packets and remembers them, for all who send."""

    __slots__ = ("_arrival_us", "_last", "_statistics", "log")

    def __init__(self) -> None:
        self.log = PacketLog()
        # Of the newest packet that arrived: times sent and received in µs.
        self._last: tuple[int, int] | None = None
        # The newest arrival, with the wraps of its clock.
        self._arrival_us: int | None = None
        self._statistics = TransportStatistics()

    @property
    def statistics(self) -> TransportStatistics:
        """The sums and smoothed values up to now."""
        self._statistics.packets_sent, self._statistics.bytes_sent = self.log.totals()
        return self._statistics

    def next_sequence(self) -> int:
        """Return the transport-wide number for the next packet."""
        return self.log.number()

    def sent(self, sequence: int, size_bytes: int, sent_ns: int) -> None:
        """Note that a packet has left."""
        self.log.sent(sequence, size_bytes, sent_ns)

    def apply(self, feedback: TransportFeedback) -> list[PacketResult]:
        """Take a report in; return its packets in the order of sending, those that we do not remember left out."""
        results: list[PacketResult] = []
        base_us = self._unwrap(feedback)
        statistics = self._statistics
        statistics.feedbacks += 1
        sent = self.log.take(feedback.base_sequence, len(feedback.arrivals_us))
        acked = lost = acked_bytes = 0
        first_us = last_us = 0
        for offset, arrival_us in enumerate(feedback.arrivals_us):
            packet = sent[offset]
            if packet is None:
                continue
            sequence = (feedback.base_sequence + offset) & 0xFFFF
            size_bytes, sent_us = packet[0], packet[1] // 1000
            if arrival_us is None:
                lost += 1
                results.append(PacketResult(sequence, size_bytes, sent_us, None))
                continue
            arrival_us += base_us
            results.append(PacketResult(sequence, size_bytes, sent_us, arrival_us))
            if self._last is not None:
                gradient = (arrival_us - self._last[1]) - (sent_us - self._last[0])
                if abs(gradient) < _MAX_GRADIENT_US:
                    statistics.delay_gradient_us += _SMOOTHING * (gradient - statistics.delay_gradient_us)
            self._last = (sent_us, arrival_us)
            first_us = first_us or arrival_us
            last_us = arrival_us
            acked += 1
            acked_bytes += size_bytes
        statistics.packets_acked += acked
        statistics.packets_lost += lost
        if acked + lost:
            statistics.loss_fraction += _SMOOTHING * (lost / (acked + lost) - statistics.loss_fraction)
        if acked > 1 and last_us > first_us:
            rate = acked_bytes * 8e6 / (last_us - first_us)
            statistics.delivered_bps += _SMOOTHING * (rate - statistics.delivered_bps)
        return results

    def _unwrap(self, feedback: TransportFeedback) -> int:
        """Return what to add to the report's times so that they go on where the last report's were."""
        newest_us = max((arrival for arrival in feedback.arrivals_us if arrival is not None), default=None)
        if newest_us is None:
            return 0
        base_us = 0
        if self._arrival_us is not None:
            base_us = round((self._arrival_us - newest_us) / REFERENCE_SPAN_US) * REFERENCE_SPAN_US
        self._arrival_us = newest_us + base_us
        return base_us
