# SPDX-License-Identifier: Apache-2.0
"""The table of ours and the peers'."""

from __future__ import annotations

from bench.glass import Round, Standing, result
from bench.probe import Shown, Sight, Sights


def _round(glass_ms: float, click_ms: float, unseen: int = 0, page_width: float = 1280.0) -> Round:
    sights = tuple(Sight(t, t + glass_ms - 1, t + glass_ms) for t in (0.0, 16.0, 33.0))
    shown = Shown("canvas", 1280, 720, 0.0, 0.0, page_width, 720.0)
    return Round(Sights(sights, 4, 1), 0.05, 0.25, 2e6, 0.5, (click_ms,), unseen, shown)


def test_ratio_is_ours_to_theirs_over_all_rounds() -> None:
    standings = {
        ("1280x720", "small"): [
            Standing("heliograph", [_round(10.0, 20.0), _round(12.0, 22.0)]),
            Standing("other", [_round(22.0, 42.0)]),
        ]
    }
    found = result(standings, {}, [])
    ours, other = found.tables[0].rows
    assert (ours["glass p50 ms"], ours["ours / this"], ours["p50 by round"]) == (11.0, 1.0, "10.0 12.0")
    assert (other["ours / this"], other["click, ours / this"]) == (0.5, 0.5)
    assert (other["distinct/s"], other["server CPU %"], other["Mb/s"]) == (60.0, 25.0, 2.0)
    assert other["to frame p50 ms"] == 21.0
    assert found.figures["720p small other click p50 ms"] == 42.0
    assert found.notes == ()
    assert "other" in found.pictures["720p-small"]


def test_what_went_wrong_is_said() -> None:
    standings = {
        ("1280x720", "scroll"): [
            Standing("heliograph", [_round(10.0, 20.0, unseen=2, page_width=640.0)]),
            Standing("other", [], ["it did not start"]),
        ]
    }
    found = result(standings, {}, ["network"])
    assert list(found.notes) == [
        "network",
        "720p scroll, heliograph: 2 clicks were not seen within 2 s.",
        "720p scroll, heliograph: its canvas of 1280x720 is shown scaled, 640x720.",
        "720p scroll, other: a round failed: it did not start",
    ]
    assert found.tables[0].rows[1] == {"product": "other"}


def test_there_is_a_table_without_ours() -> None:
    found = result({("1280x720", "small"): [Standing("other", [_round(22.0, 42.0)])]}, {}, [])
    assert found.tables[0].rows[0]["ours / this"] == "-"
