# SPDX-License-Identifier: Apache-2.0
"""When the next frame may go."""

from __future__ import annotations

from streamer.rtc.congestion.window import MAX_DRAIN_US, MAX_FRAMES, SendWindow

MBPS = 1_000_000


def test_a_frame_waits_for_the_one_before_and_never_for_long() -> None:
    window = SendWindow(1 * MBPS)
    assert window.ready_us(0) <= 0
    window.add(12_500, 0)
    assert 80_000 < window.ready_us(0) <= 115_000
    window.add(10_000_000, 0)
    assert window.ready_us(0) <= MAX_DRAIN_US


def test_a_fast_link_is_not_waited_for() -> None:
    window = SendWindow(10 * MBPS)
    window.drain_bps = 500 * MBPS
    window.add(40_000, 0)
    assert window.ready_us(0) <= 0


def test_too_much_under_way_holds_frames_until_it_is_reported_on() -> None:
    window = SendWindow(1 * MBPS)
    window.drain_bps = 1000 * MBPS
    window.acknowledge(0, 0)
    for index in range(20):
        window.add(5000, index * 1000)
    assert window.ready_us(20_000) > 100_000
    window.acknowledge(19_500, 60_000)
    assert window.in_flight_bytes == 0
    assert window.ready_us(60_000) <= 60_000


def test_without_any_report_ever_frames_go_at_their_pace() -> None:
    window = SendWindow(1 * MBPS)
    for index in range(5000):
        now_us = window.ready_us(index) + 1
        window.add(5000, now_us)
    assert len(window._frames) == MAX_FRAMES
    assert not window.is_silent(10**12)


def test_silence_is_noticed_once_and_opens_the_window() -> None:
    window = SendWindow(1 * MBPS)
    window.drain_bps = 1000 * MBPS
    window.acknowledge(0, 0)
    for _ in range(20):
        window.add(5000, 1000)
    assert not window.is_silent(400_000)
    assert window.is_silent(600_000)
    window.forget(600_000)
    assert not window.is_silent(600_000)
    assert window.ready_us(600_000) <= 600_000


def test_nothing_under_way_is_no_silence() -> None:
    window = SendWindow(1 * MBPS)
    window.acknowledge(0, 0)
    assert not window.is_silent(10**10)
