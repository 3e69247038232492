# SPDX-License-Identifier: Apache-2.0
"""What a soak of Venus clients finds growing."""

from __future__ import annotations

from bench.processes import Usage
from bench.venus_soak import PROGRAMS, Rest, checks


def rest(time_s: float, rss_bytes: int, fds: int = 12) -> Rest:
    return Rest(time_s, Usage(1, "render worker", 1.0, 1, rss_bytes, 1000, fds, 9))


def test_what_is_flat_is_good() -> None:
    assert all(check.is_good for check in checks([rest(t, 100_000_000 + t % 3 * 10_000) for t in range(0, 300, 20)]))


def test_growing_memory_and_files_are_found() -> None:
    found = checks([rest(t, 100_000_000 + t * 1_000_000, 12 + t // 60) for t in range(0, 300, 20)])
    assert [check.name for check in found if not check.is_good] == ["worker: memory", "worker: files"]


def test_its_programs_have_these_cases() -> None:
    for program, cases in PROGRAMS.items():
        source = __import__(f"tests.support.guest_programs.venus.{program}", fromlist=["Suite"])
        suites = [
            each for each in vars(source).values() if hasattr(each, "names") and each.__module__ == source.__name__
        ]
        assert set(cases) <= set(suites[0].names()), program
