# SPDX-License-Identifier: Apache-2.0
"""The closed loop in virtual time: links of all kinds, and receivers that lie."""

from __future__ import annotations

import random
from functools import partial
from statistics import median

import pytest

from streamer.rtc.congestion.controller import CongestionController, PathState
from streamer.rtc.congestion.packets import PacketResult
from streamer.rtc.send_history import SendHistory
from streamer.rtc.twcc import REFERENCE_SPAN_US, TransportFeedback
from tests.support.link_simulation import SECOND_US, SimulatedFlow, SimulatedLink, simulate, waits_us

MBPS = 1_000_000
MAX_BPS = 30 * MBPS


def flow_on(link: SimulatedLink, seed: int = 3) -> SimulatedFlow:
    return SimulatedFlow(link, CongestionController(MAX_BPS), return_us=link.delay_us, seed=seed)


def share(values: list[float], part: float) -> float:
    return values[int(len(values) * part)]


@pytest.mark.parametrize("delay_us", [1_000, 50_000])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("rate", [2, 5, 20])
def test_a_link_is_used_well_and_its_queue_stays_short(rate: int, loss: float, delay_us: int) -> None:
    link = SimulatedLink(rate * MBPS, loss=loss, delay_us=delay_us)
    flow = flow_on(link)
    simulate([flow], 12)
    assert 0.65 * rate * MBPS < median(flow.targets(3, 12)) < 1.1 * rate * MBPS
    assert max(flow.targets(3, 12)) < 1.3 * rate * MBPS
    assert flow.goodput_bps(3, 12) > 0.7 * (1 - loss) * rate * MBPS
    waits = waits_us(link, 3, 12)
    assert share(waits, 0.5) < 40_000
    assert share(waits, 0.95) < 110_000


@pytest.mark.parametrize("jitter_us", [5_000, 15_000])
def test_jitter_costs_no_more_than_half(jitter_us: int) -> None:
    link = SimulatedLink(5 * MBPS, jitter_us=jitter_us)
    flow = flow_on(link)
    simulate([flow], 12)
    assert median(flow.targets(3, 12)) > 0.5 * link.rate_bps


@pytest.mark.parametrize("delay_us", [1_000, 50_000])
@pytest.mark.parametrize(("narrow", "wide"), [(2, 20), (5, 20), (2, 5)])
def test_a_link_that_widens_is_used_within_two_seconds(narrow: int, wide: int, delay_us: int) -> None:
    for widens_s in (6.0, 7.1, 8.3):
        link = SimulatedLink(narrow * MBPS, delay_us=delay_us)
        flow = flow_on(link)
        simulate([flow], widens_s + 3, {widens_s: partial(link.change, wide * MBPS)})
        assert flow.time_of(0.8 * wide * MBPS, widens_s) < 2.0


@pytest.mark.parametrize("delay_us", [1_000, 50_000])
@pytest.mark.parametrize(("wide", "narrow"), [(20, 2), (20, 5), (5, 2)])
def test_a_queue_of_a_link_that_narrows_is_gone_in_about_a_second(wide: int, narrow: int, delay_us: int) -> None:
    link = SimulatedLink(wide * MBPS, delay_us=delay_us)
    flow = flow_on(link)
    simulate([flow], 12, {8: lambda now_us: link.change(narrow * MBPS, now_us)})
    assert share(waits_us(link, 9.2, 10), 0.95) < 100_000
    assert flow.goodput_bps(10, 12) > 0.7 * narrow * MBPS


@pytest.mark.parametrize("delay_us", [1_000, 50_000])
@pytest.mark.parametrize("rate", [5, 20])
def test_two_flows_share_a_link(rate: int, delay_us: int) -> None:
    link = SimulatedLink(rate * MBPS, delay_us=delay_us)
    flows = [flow_on(link, 3), flow_on(link, 9)]
    simulate(flows, 30)
    goodputs = [flow.goodput_bps(10, 30) for flow in flows]
    assert sum(goodputs) > 0.75 * rate * MBPS
    assert min(goodputs) > 0.25 * sum(goodputs)
    assert share(waits_us(link, 10, 30), 0.95) < 150_000


def test_a_fast_link_gives_its_most_with_the_first_reports() -> None:
    flow = flow_on(SimulatedLink(500 * MBPS, delay_us=200))
    simulate([flow], 1)
    assert flow.time_of(MAX_BPS, 0) < 0.3
    assert flow.frames >= 58


def idle_after_3_s(now_us: float) -> float:
    """Full motion, a minute with a heartbeat a second, full motion."""
    if now_us < 3 * SECOND_US or now_us > 63 * SECOND_US:
        return 1e9
    return 60_000.0 if int(now_us * 60 / SECOND_US) % 60 == 0 else 0.0


def test_an_idle_minute_leaves_the_estimate_nearly_and_the_next_burst_finds_it_again() -> None:
    link = SimulatedLink(20 * MBPS)
    flow = SimulatedFlow(link, CongestionController(15 * MBPS), idle_after_3_s)
    simulate([flow], 65)
    assert flow.targets(2, 3)[-1] == 15 * MBPS
    assert 5 * MBPS < flow.targets(60, 63)[-1] < 12 * MBPS
    assert flow.time_of(0.95 * 15 * MBPS, 63) < 0.5


def test_a_link_that_narrowed_while_idle_is_not_flooded_for_long() -> None:
    link = SimulatedLink(20 * MBPS)
    flow = SimulatedFlow(link, CongestionController(15 * MBPS), idle_after_3_s)
    simulate([flow], 66, {40: lambda now_us: link.change(2 * MBPS, now_us)})
    assert share(waits_us(link, 64.2, 66), 0.95) < 100_000


def test_keyframes_are_no_congestion() -> None:
    link = SimulatedLink(20 * MBPS)
    flow = SimulatedFlow(link, CongestionController(8 * MBPS), lambda now_us: 4 * MBPS)
    flow.keyframe_at = [second * SECOND_US for second in range(2, 12)]
    simulate([flow], 13)
    assert not [each for at, each in flow.decisions if at > SECOND_US and each.state is PathState.DECREASE]
    assert min(flow.targets(1, 13)) > 7 * MBPS


def test_a_path_that_becomes_longer_is_accepted() -> None:
    link = SimulatedLink(5 * MBPS, delay_us=10_000)
    flow = flow_on(link)

    def lengthen(now_us: float) -> None:
        link.delay_us = 130_000

    simulate([flow], 20, {6: lengthen})
    assert median(flow.targets(12, 20)) > 0.6 * 5 * MBPS


def test_feedback_that_stays_away_lowers_the_rate_and_lets_a_frame_through_now_and_then() -> None:
    link = SimulatedLink(20 * MBPS)
    flow = flow_on(link)

    def cut(now_us: float) -> None:
        link.loss = 1.0

    def mend(now_us: float) -> None:
        link.loss = 0.0

    frames: list[int] = []
    simulate([flow], 12, {3: cut, 5: lambda now_us: frames.append(flow.frames), 6: mend})
    assert flow.controller.decision.target_bps > 0.7 * 20 * MBPS
    # Some at a time, each time fewer bits; not the 120 of two seconds.
    assert 2 < frames[0] - 180 < 70


def test_the_target_never_leaves_its_bounds_whatever_is_reported() -> None:
    noise = random.Random(4)
    for seed in range(30):
        noise.seed(seed)
        controller = CongestionController(10 * MBPS, min_bps=100_000)
        now_us = 0
        for _ in range(300):
            now_us += noise.choice([0, 1, 1000, 50_000, 10_000_000])
            results = [
                PacketResult(
                    noise.randrange(65_536),
                    noise.choice([0, 1, 1200, 10**9]),
                    now_us - noise.randrange(10**6),
                    noise.choice([None, 0, now_us, -(10**15), 10**15, noise.randrange(10**9)]),
                )
                for _ in range(noise.choice([0, 1, 5, 200]))
            ]
            decision = controller.apply(results, now_us)
            controller.window.add(noise.choice([0, 10**7]), now_us)
            controller.tick(now_us)
            assert 100_000 <= decision.target_bps <= 10 * MBPS
            assert decision.target_bps <= decision.drain_bps <= 1_000_000_000
            assert controller.window.ready_us(now_us) < now_us + 60_000_000


def test_acknowledgements_of_what_was_never_sent_change_nothing() -> None:
    controller, history = CongestionController(10 * MBPS), SendHistory()
    before = controller.decision
    for base in range(0, 65_536, 8192):
        assert controller.apply(history.apply(TransportFeedback(base, 0, (0,) * 8192)), base) == before


def test_a_receivers_clock_may_wrap() -> None:
    controller, history = CongestionController(10 * MBPS), SendHistory()
    start_us = REFERENCE_SPAN_US // 2 - 2_000_000
    for frame in range(240):
        first = history.next_sequence()
        for sequence in (first, *(history.next_sequence() for _ in range(5))):
            history.sent(sequence, 1200, frame * 16_667_000)
        arrival_us = start_us + frame * 16_667
        wrapped_us = arrival_us - REFERENCE_SPAN_US if arrival_us >= REFERENCE_SPAN_US // 2 else arrival_us
        report = TransportFeedback(first, 0, tuple(wrapped_us + index * 250 for index in range(6)))
        decision = controller.apply(history.apply(report), frame * 16_667 + 20_000)
    assert decision.queue_us < 1000
    assert decision.target_bps == 10 * MBPS
