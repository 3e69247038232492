# SPDX-License-Identifier: Apache-2.0
"""What feedback says about what was sent."""

from __future__ import annotations

from streamer.rtc.send_history import SendHistory
from streamer.rtc.twcc import TransportFeedback
from streamer.stream_core.packet_log import ENTRIES

MS = 1_000_000


def send(history: SendHistory, count: int, interval_ns: int = MS) -> list[int]:
    sequences = []
    for index in range(count):
        sequences.append(history.next_sequence())
        history.sent(sequences[-1], 1200, MS + index * interval_ns)
    return sequences


def test_arrivals_and_losses_are_counted_once() -> None:
    history = SendHistory()
    send(history, 4)
    report = TransportFeedback(0, 0, (0, None, 2000, 3000))
    history.apply(report)
    history.apply(report)
    assert (history.statistics.packets_acked, history.statistics.packets_lost) == (3, 1)
    assert history.statistics.packets_sent == 4
    assert history.statistics.feedbacks == 2
    assert 0 < history.statistics.loss_fraction < 0.25


def test_a_growing_queue_shows_as_a_gradient() -> None:
    history = SendHistory()
    send(history, 50)
    history.apply(TransportFeedback(0, 0, tuple(index * 1500 for index in range(50))))
    assert 300 < history.statistics.delay_gradient_us <= 500
    assert history.statistics.delivered_bps > 0


def test_the_numbers_wrap_and_old_packets_are_forgotten() -> None:
    history = SendHistory()
    sequences = send(history, 70_000)
    assert sequences[65_535:65_537] == [65_535, 0]
    assert history.log.take(0, 65_536).count(None) == 65_536 - ENTRIES
    history.apply(TransportFeedback(20_000, 0, (1, None)))
    assert history.statistics.packets_lost == 0
