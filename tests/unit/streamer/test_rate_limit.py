# SPDX-License-Identifier: Apache-2.0
from streamer.rate_limit import RateLimit


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    now = [100.0]
    limit = RateLimit(per_s=2, burst=3, clock_s=lambda: now[0])
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 0.5
    assert [limit.take() for _ in range(2)] == [True, False]
    now[0] += 1000
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
