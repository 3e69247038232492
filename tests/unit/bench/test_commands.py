# SPDX-License-Identifier: Apache-2.0
"""How runs on two drivers are compared."""

from __future__ import annotations

from bench.commands import OPERATIONS, Run, compare


def a_run(ns: float, checksum: int = 1) -> Run:
    return Run(
        "device", "1.3.0", {name: [ns, ns * 2, ns * 3] for name in OPERATIONS}, dict.fromkeys(OPERATIONS, checksum)
    )


def test_medians_and_ratios() -> None:
    rows, figures, wrong = compare([a_run(1e6), a_run(1e6)], [a_run(2e6), a_run(4e6)])
    assert not wrong
    assert len(rows) == len(figures) == len(OPERATIONS)
    frame = next(row for row in rows if "frame" in str(row["operation"]))
    assert (frame["native"], frame["Venus"], frame["Venus / native"]) == (2.0, 5.0, 3.0)


def test_other_results_are_told() -> None:
    _, _, wrong = compare([a_run(1.0)], [a_run(1.0, checksum=2)])
    assert len(wrong) == len(OPERATIONS) and "draw" in wrong[0]
