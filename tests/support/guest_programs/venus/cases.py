# SPDX-License-Identifier: Apache-2.0
"""What a guest program consists of: cases, whose numbers and bytes must not depend on the driver."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case found. Native and Venus must agree on all bytes of `raw` and on all `values` without a leading _."""

    values: Mapping[str, Value] = field(default_factory=dict)
    raw: Mapping[str, bytes] = field(default_factory=dict)


class Unsupported(Exception):
    """The device lacks what a case needs; the text says what. Both drivers must say the same."""


def write(directory: Path, name: str, outcome: Outcome | str) -> None:
    """Write an outcome, or the reason why there is none."""
    if isinstance(outcome, str):
        report: dict[str, object] = {"error": outcome}
    else:
        report = {"values": outcome.values, "raw": sorted(outcome.raw)}
        for key, data in outcome.raw.items():
            (directory / f"{name}.{key}.raw").write_bytes(data)
    (directory / f"{name}.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def run(cases: Mapping[str, Callable[[], Outcome]]) -> int:
    """Run the cases that the command line names (all without names) into its directory; returns the exit code.

    Each starts with a line `CASE NAME` on stdout. A case that raises is written as an error; the others still run.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    for name in args.cases or cases:
        sys.stdout.write(f"CASE {name}\n")
        sys.stdout.flush()
        try:
            write(args.directory, name, cases[name]())
        except Unsupported as reason:
            write(args.directory, name, Outcome({"unsupported": str(reason)}))
        except Exception:
            write(args.directory, name, traceback.format_exc())
    return 0
