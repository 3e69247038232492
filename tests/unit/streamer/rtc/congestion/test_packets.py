# SPDX-License-Identifier: Apache-2.0
"""Which packets were sent together."""

from __future__ import annotations

from streamer.rtc.congestion.packets import MAX_BURST_US, PacketResult, bursts


def test_a_frame_is_a_burst_and_lost_packets_bear_no_time() -> None:
    results = [
        PacketResult(0, 1200, 0, 10_000),
        PacketResult(1, 1200, 30, None),
        PacketResult(2, 600, 60, 12_000),
        PacketResult(3, 1200, 16_000, 27_000),
    ]
    first, second = bursts(results)
    assert (first.packets, first.size_bytes, first.delay_us, first.last_arrival_us) == (2, 1800, 10_000, 12_000)
    assert (second.packets, second.delay_us) == (1, 11_000)


def test_packets_that_overtake_do_not_make_delay() -> None:
    (burst,) = bursts([PacketResult(0, 1200, 0, 13_000), PacketResult(1, 1200, 30, 12_000)])
    assert burst.delay_us == 11_970
    assert burst.last_arrival_us == 13_000


def test_a_paced_stream_is_cut_into_bursts() -> None:
    results = [PacketResult(index, 1200, index * 1000, index * 1000) for index in range(100)]
    found = list(bursts(results))
    assert len(found) > 3
    assert all(burst.last_sent_us - burst.first_sent_us <= MAX_BURST_US for burst in found)
    assert sum(burst.packets for burst in found) == 100


def test_a_sender_whose_clock_goes_back_makes_no_burst_of_negative_length() -> None:
    found = list(bursts([PacketResult(0, 1200, 5000, 0), PacketResult(1, 1200, 0, 0)]))
    assert [burst.packets for burst in found] == [1, 1]
