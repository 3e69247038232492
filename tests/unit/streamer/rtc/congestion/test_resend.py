# SPDX-License-Identifier: Apache-2.0
"""Which lost packets are sent again."""

from __future__ import annotations

from streamer.rtc.congestion.resend import MAX_REMEMBERED, Resend, ResendBudget


def ask(budget: ResendBudget, sequence: int, now_us: int, target_bps: int = 4_000_000) -> Resend:
    return budget.ask(sequence, 1200, now_us, target_bps=target_bps, round_trip_us=100_000)


def test_a_packet_is_sent_again_once_a_round_trip() -> None:
    budget = ResendBudget()
    assert ask(budget, 1, 0) is Resend.SEND
    assert ask(budget, 1, 50_000) is Resend.WAIT
    assert ask(budget, 1, 120_000) is Resend.SEND


def test_a_twentieth_lost_is_sent_again_and_a_collapse_is_not() -> None:
    budget = ResendBudget()
    # 4 Mb/s are 417 packets a second.
    steady = [ask(budget, index, index * 50_000) for index in range(200)]
    assert steady.count(Resend.SEND) == 200
    collapse = [ask(budget, 1000 + index, 20_000_000) for index in range(400)]
    assert 5 < collapse.count(Resend.SEND) < 30
    assert collapse[-1] is Resend.REFUSE


def test_what_is_remembered_is_bounded() -> None:
    budget = ResendBudget()
    for index in range(3 * MAX_REMEMBERED):
        budget.ask(index & 0xFFFF, 1, index, target_bps=10**9, round_trip_us=0)
    assert len(budget._sent_us) <= MAX_REMEMBERED
