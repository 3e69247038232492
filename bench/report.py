# SPDX-License-Identifier: Apache-2.0
"""Results: as tables on the terminal, as JSON and pictures in a folder, as a page of the documents."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

Value = str | float | int
_PACKAGES = ("heliograph", "aiortc", "av", "aiohttp", "numpy", "xcffib", "playwright")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind; each maps columns (with their unit) to values."""

    title: str
    rows: tuple[Mapping[str, Value], ...]

    @property
    def columns(self) -> list[str]:
        """All columns, in the order in which they appear first."""
        return list(dict.fromkeys(column for row in self.rows for column in row))


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found. `figures` are the few numbers that are compared from run to run."""

    name: str
    settings: Mapping[str, Value]
    figures: Mapping[str, float]
    tables: tuple[Table, ...]
    pictures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)


def machine() -> dict[str, Value]:
    """Return what this machine is."""
    model = "unknown"
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory_bytes / 1e9, 1),
        "kernel": platform.release(),
        "system": _system(),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit that is measured, with a plus when files of it were changed."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")


def as_json(result: Result, busy: float) -> dict[str, Any]:
    """Return a result with all that is needed to read it later."""
    return {
        "name": result.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "machine busy %": round(busy * 100),
        "settings": dict(result.settings),
        "figures": dict(result.figures),
        "tables": [{"title": table.title, "rows": [dict(row) for row in table.rows]} for table in result.tables],
        "notes": list(result.notes),
        "samples": {name: list(values) for name, values in result.samples.items()},
    }


def save(result: Result, path: Path, busy: float) -> dict[str, float]:
    """Write JSON to `path`, the pictures beside it; return the figures of the last result of the same machine.

    `busy`: the share of all processors that was in use meanwhile, by whomever.
    """
    before: dict[str, float] = {}
    if path.exists():
        try:
            last = json.loads(path.read_text(encoding="utf-8"))
            if (
                last["machine"]["processor"] == machine()["processor"]
                and last["machine"]["cores"] == machine()["cores"]
            ):
                before = dict(last["figures"])
        except (ValueError, KeyError, TypeError):
            before = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(result, busy), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, picture in result.pictures.items():
        path.with_name(f"{path.stem}-{name}.svg").write_text(picture, encoding="utf-8")
    return before


def show(result: Result, before: Mapping[str, float] = {}) -> None:
    """Print a result, and how its figures were the last time."""
    lines = [f"{result.name}: " + ", ".join(f"{name} {value}" for name, value in result.settings.items())]
    for table in result.tables:
        lines += ["", f"  {table.title}", *(f"  {line}" for line in text_table(table))]
    lines.append("")
    for name, value in result.figures.items():
        was = f"   (last time {number(before[name])})" if name in before else ""
        lines.append(f"  {name}: {number(value)}{was}")
    lines += [f"  {note}" for note in result.notes]
    sys.stdout.write("\n".join(lines) + "\n\n")
    sys.stdout.flush()


def number(value: Value) -> str:
    """Write a number with as many digits as mean something."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    size = abs(value)
    return f"{value:.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def text_table(table: Table) -> list[str]:
    """Return a table's lines, columns aligned."""
    columns = table.columns
    cells = [columns, *([number(row.get(column, "")) for column in columns] for row in table.rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    is_text = [any(isinstance(row.get(column), str) for row in table.rows) for column in columns]
    return [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in cells
    ]


def markdown_table(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return a table's lines in Markdown."""
    columns = Table("", tuple(rows)).columns
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(number(row.get(column, "")) for column in columns) + " |" for row in rows]


_INTRODUCTION = """<!-- SPDX-License-Identifier: Apache-2.0 -->
# Benchmarks

Written by `make bench ARGS="--document docs/benchmarks.md"` from the newest results in `build/bench`.
`bench/README.md` says what each number means.
Compare numbers of one machine only.
"""


# What is compared there is the tables' rows: they say all that the figures say.
_WITHOUT_FIGURES = ("glass",)


def document(folder: Path, names: Sequence[str], path: Path) -> None:
    """Write a page of the newest results in `folder`; of what has none there, the page keeps what it said."""
    lines = [_INTRODUCTION]
    before = _sections(path)
    for name in names:
        source = folder / f"{name}.json"
        if not source.exists():
            lines += before.get(name, [])
            continue
        found = json.loads(source.read_text(encoding="utf-8"))
        host = found["machine"]
        lines += [
            f"## {name}",
            f"{found['date'][:10]}, commit {found['commit']}; {host['processor']}, {host['cores']} cores, "
            f"{host['memory GB']} GB, {host['system']}, Linux {host['kernel']}; "
            f"all processors {found['machine busy %']} % busy meanwhile, others' work included. "
            + ", ".join(f"{key} {value}" for key, value in found["settings"].items())
            + ".",
            "",
        ]
        if name not in _WITHOUT_FIGURES:
            rows = [{"figure": key, "value": value} for key, value in found["figures"].items()]
            lines += [*markdown_table(rows), ""]
        for table in found["tables"]:
            lines += [f"{table['title']}:", "", *markdown_table(table["rows"]), ""]
        lines += [f"- {note}" for note in found["notes"]] + ([""] if found["notes"] else [])
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _sections(path: Path) -> dict[str, list[str]]:
    """Return a page's sections by their names, headings included."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.startswith("## "):
            name = line.removeprefix("## ")
        if name:
            found.setdefault(name, []).append(line)
    return found
