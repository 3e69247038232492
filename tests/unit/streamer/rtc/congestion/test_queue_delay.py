# SPDX-License-Identifier: Apache-2.0
"""What is queue, and what is path."""

from __future__ import annotations

from streamer.rtc.congestion.queue_delay import BASE_SPAN_US, STANDING_US, QueueDelay

FRAME_US = 16_667


def test_the_queue_is_what_is_above_the_least_delay_whatever_the_clocks() -> None:
    for origin_us in (0, -(10**12), 10**12):
        queue = QueueDelay()
        waits = [queue.update(index * FRAME_US, origin_us + wait) for index, wait in enumerate((30, 0, 7000, 9000))]
        assert waits == [0, 0, 7000, 9000]


def test_a_queue_stands_when_no_burst_gets_around_it() -> None:
    queue = QueueDelay()
    for index in range(60):
        queue.update(index * FRAME_US, 0 if index % 5 == 0 else 80_000)
    assert queue.standing_us == 0
    for index in range(60, 60 + STANDING_US // FRAME_US + 2):
        queue.update(index * FRAME_US, 80_000)
    assert queue.standing_us == 80_000


def test_a_longer_path_becomes_the_base_with_time_and_at_once_when_told() -> None:
    queue = QueueDelay()
    queue.update(0, 0)
    for time_us in range(FRAME_US, 2 * BASE_SPAN_US + 10 * FRAME_US, FRAME_US):
        queue.update(time_us, 60_000)
    assert queue.last_us == 60_000 or queue.base_us == 60_000
    queue.update(3 * BASE_SPAN_US + 20 * FRAME_US, 60_000)
    assert queue.last_us == 0
    quick = QueueDelay()
    quick.update(0, 0)
    for index in range(20):
        quick.update(1_000_000 + index * FRAME_US, 60_000)
    quick.rebase()
    assert quick.last_us == 0
    assert quick.update(2_000_000, 70_000) == 10_000
