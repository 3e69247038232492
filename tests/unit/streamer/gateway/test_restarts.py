# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from streamer.gateway.restarts import RestartPolicy


def test_first_restart_is_at_once_later_ones_wait_and_the_limit_ends_it() -> None:
    policy = RestartPolicy(max_crashes=5, window_s=30)
    delays = [policy.record_crash(float(second)) for second in range(5)]
    assert delays[0] == 0.0
    assert delays[-1] is None
    waits = [delay for delay in delays[1:4] if delay is not None]
    assert len(waits) == 3
    assert waits == sorted(waits)
    assert waits[0] > 0


def test_crashes_of_long_ago_do_not_count() -> None:
    policy = RestartPolicy(max_crashes=2, window_s=30)
    assert [policy.record_crash(second * 31.0) for second in range(6)] == [0.0] * 6
