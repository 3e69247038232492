# SPDX-License-Identifier: Apache-2.0
"""When a session among others suffers."""

from __future__ import annotations

import pytest

from bench.density import Load, limit_ms, suffers
from bench.summary import Summary


def _load(p95_ms: float, *frames_per_s: float) -> Load:
    return Load(Summary.of([p95_ms]), p95_ms, frames_per_s, cpu=0.2, viewers_cpu=0.1, busy=0.5)


@pytest.mark.parametrize(("alone_ms", "limit"), [(4.0, 1000 / 30), (40.0, 80.0)])
def test_limit_is_a_frame_or_twice_the_time_alone(alone_ms: float, limit: float) -> None:
    assert limit_ms(_load(alone_ms, 30.0)) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (_load(10.0, 30.0, 29.0), ""),
        (_load(50.0, 30.0, 30.0), "p95 over 33 ms"),
        (_load(10.0, 30.0, 12.0), "under 28 frames/s"),
    ],
)
def test_late_or_missing_frames_are_suffering(load: Load, reason: str) -> None:
    assert suffers(load, limit_ms(_load(4.0, 30.0))) == reason
    assert load.row(33.0)["sessions"] == 2
