# SPDX-License-Identifier: Apache-2.0
"""How fast packets come, and how fast the link is."""

from __future__ import annotations

import pytest

from streamer.rtc.congestion.packets import Burst, PacketResult, bursts
from streamer.rtc.congestion.rates import MAX_RATE_BPS, AcknowledgedRate, BurstRate, busy_rate


def burst_at(rate_bps: float, packets: int, sent_us: int = 0, wait_us: int = 0) -> list[PacketResult]:
    """A frame sent at once over a link of that rate and 10 ms, behind a queue."""
    each_us = 1200 * 8e6 / rate_bps
    return [
        PacketResult(index, 1200, sent_us + index, int(sent_us + 10_000 + wait_us + (index + 1) * each_us))
        for index in range(packets)
    ]


def test_the_acknowledged_rate_is_that_of_the_last_half_second() -> None:
    rate = AcknowledgedRate()
    for index in range(0, 200):
        rate.update([PacketResult(index, 1250, 0, index * 10_000)])
    assert rate.bps == pytest.approx(1_000_000, rel=0.05)
    rate.update([PacketResult(999, 1250, 0, 10_000_000)])
    assert rate.bps <= 100_000


def test_one_packet_is_no_rate_and_a_clock_that_goes_back_begins_anew() -> None:
    rate = AcknowledgedRate()
    assert rate.bps == 0
    rate.update([PacketResult(0, 1250, 0, 10**9)])
    assert rate.bps == 100_000
    rate.update([PacketResult(1, 1250, 0, 5)])
    assert rate.bps == 100_000


@pytest.mark.parametrize("rate_bps", [1e6, 5e6, 20e6, 100e6])
def test_a_busy_link_tells_its_rate(rate_bps: float) -> None:
    found = busy_rate(burst_at(rate_bps, 100), 10_000)
    assert found == pytest.approx(rate_bps, rel=0.05)


def test_an_idle_link_tells_nothing() -> None:
    results = [PacketResult(index, 1200, index * 50_000, index * 50_000 + 10_000) for index in range(50)]
    assert busy_rate(results, 10_000) is None


def only(results: list[PacketResult]) -> Burst:
    (burst,) = bursts(results)
    return burst


@pytest.mark.parametrize("rate_bps", [1e6, 5e6, 20e6])
def test_a_burst_finds_the_links_rate_and_never_more(rate_bps: float) -> None:
    rate = BurstRate()
    for frame in range(5):
        rate.update(only(burst_at(rate_bps, 8, frame * 200_000)), 10_000 + int(1200 * 8e6 / rate_bps))
    found = rate.bps(0, 1_000_000)
    assert found == pytest.approx(rate_bps, rel=0.02)
    queued = BurstRate()
    queued.update(only(burst_at(rate_bps, 8, 0, wait_us=30_000)), 10_000 + int(1200 * 8e6 / rate_bps))
    waiting = queued.bps(0, 0)
    assert waiting is not None and waiting < rate_bps


def test_small_old_and_earlier_bursts_say_nothing() -> None:
    rate = BurstRate()
    rate.update(only(burst_at(5e6, 2)), 10_000)
    assert rate.bps(0, 0) is None
    rate.update(only(burst_at(5e6, 8, 1000)), 10_000)
    assert rate.bps(0, 2000) is not None
    assert rate.bps(1001, 2000) is None
    assert rate.bps(0, 10_000_000) is None


def test_packets_that_claim_to_come_at_once_make_no_endless_rate() -> None:
    rate = BurstRate()
    rate.update(only([PacketResult(index, 65_000, 0, -(10**9)) for index in range(50)]), 0)
    assert rate.bps(0, 0) == MAX_RATE_BPS
