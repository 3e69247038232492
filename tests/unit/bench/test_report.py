# SPDX-License-Identifier: Apache-2.0
"""Results as tables, JSON and Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report
from bench.report import Result, Table

_RESULT = Result(
    "idle",
    {"size": "1280x720"},
    {"kb/s": 6.8},
    (Table("processes", ({"process": "streamer", "CPU %": 0.9}, {"process": "a", "wake-ups/s": 1234.5})),),
    {"shape": "<svg/>"},
)


def test_table_is_aligned() -> None:
    lines = report.text_table(_RESULT.tables[0])
    assert lines == ["process   CPU %  wake-ups/s", "streamer   0.90", "a                      1234"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.126, "0.13"), (12.34, "12.3"), (12345.6, "12346"), (3, "3"), ("x", "x")]
)
def test_numbers_have_digits_that_mean_something(value: float | str, text: str) -> None:
    assert report.number(value) == text


def test_saved_result_is_compared_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "idle.json"
    assert report.save(_RESULT, path, 0.5) == {}
    assert report.save(_RESULT, path, 0.5) == {"kb/s": 6.8}
    assert (path.parent / "idle-shape.svg").read_text() == "<svg/>"
    saved = json.loads(path.read_text())
    assert {"machine", "versions", "commit", "settings", "tables"} <= set(saved)
    assert saved["machine busy %"] == 50


def test_result_of_another_machine_or_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "idle.json"
    report.save(_RESULT, path, 0.5)
    saved = json.loads(path.read_text())
    saved["machine"]["processor"] = "another"
    path.write_text(json.dumps(saved))
    assert report.save(_RESULT, path, 0.5) == {}
    path.write_text("not JSON")
    assert report.save(_RESULT, path, 0.5) == {}


def test_document_has_what_there_is(tmp_path: Path) -> None:
    report.save(_RESULT, tmp_path / "idle.json", 0.5)
    report.document(tmp_path, ["glass", "idle"], tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "## idle" in text
    assert "50 % busy" in text
    assert "## glass" not in text
    assert "| streamer | 0.90 |  |" in text


def test_document_keeps_what_has_no_newer_result(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## start\nof old\n\n## idle\nof old\n\n## gone\nof old\n")
    report.save(_RESULT, tmp_path / "idle.json", 0.5)
    report.document(tmp_path, ["idle", "start"], page)
    text = page.read_text()
    assert text.count("of old") == 1
    assert text.index("## idle") < text.index("## start")
    assert "## gone" not in text
