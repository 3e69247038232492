# SPDX-License-Identifier: Apache-2.0
"""The GPU check, Venus: stock Mesa's guest driver on our core, against this machine's driver itself. `make gpu-check`.

Shows what the guest sees, runs the guest programs of the tests (compute, drawing, synchronisation, ...) on both and
compares their results byte by byte, then measures what commands cost. Exits with 1 when something differs, or when the
guest sees less than Vulkan 1.3. On a machine without Mesa 25 `bench/pack_guest_driver.sh` makes what --driver wants.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import commands, report
from guest_agent.graphics import GuestDriver
from tests.support.venus import Run, VenusServer, installed_driver, native_environment, run_guest, venus_environment

_ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("compute", "drawing", "textures", "sync", "recording", "lifetimes")
WANTED_VERSION = [1, 3]


def main() -> int:
    """Run all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", default="auto", help="as `heliograph devices` lists them")
    parser.add_argument("--driver", type=Path, help="a folder that bench/pack_guest_driver.sh has made")
    parser.add_argument("--rounds", type=int, default=commands.ROUNDS)
    parser.add_argument("--json", type=Path, default=Path("build/bench/gpu_check_venus.json"))
    parser.add_argument(
        "--only-shaders", type=Path, metavar="SCRATCH", help="run natively, to fill the shaders' folder"
    )
    args = parser.parse_args()
    if args.only_shaders:
        return _fill_shaders(args.only_shaders)
    driver = packed_driver(args.driver.resolve()) if args.driver else installed_driver()
    native = native_environment() if args.gpu == "cpu" else dict(os.environ)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        folder = Path(name)
        server = VenusServer("--gpu", args.gpu, shared=True, worker_environment=native)
        try:
            venus = venus_environment(server.socket, driver, is_cpu=args.gpu == "cpu")
            seen = {"native": _about(native), "Venus": _about(venus)}
            for side, found in seen.items():
                _say(f"{side}: " + ", ".join(f"{key} {value}" for key, value in found.items() if key != "extensions"))
            if seen["Venus"]["version"][:2] < WANTED_VERSION:
                wrong.append(f"the guest sees Vulkan {seen['Venus']['version']}")
            cases = {program: _compare(program, folder, native, venus) for program in PROGRAMS}
            wrong += [f"{program}: {text}" for program, texts in cases.items() for text in texts]
            result, differences = commands.measure(folder / "vkbench", native, venus, args.rounds, commands.REPEATS)
            wrong += differences
        finally:
            code = server.close()
        if code:
            wrong.append(f"the worker ended with {code}")
        if wrong:
            _say(server.log[-8000:])
    report.show(result)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"seen": seen, "wrong": wrong, "commands": report.as_json(result, 0.0)}
    args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _say(f"{len(wrong)} wrong; {args.json}")
    return 1 if wrong else 0


def _fill_shaders(scratch: Path) -> int:
    """Let everything that compiles shaders do so, into $HELIOGRAPH_TEST_SHADERS."""
    for program in PROGRAMS:
        run_guest(program, scratch / program, native_environment())
    commands.program(scratch / "vkbench")
    return 0


def packed_driver(folder: Path) -> GuestDriver:
    """Use what pack_guest_driver.sh has packed: driver, libraries, shaders and the `vulkan` package."""
    os.environ["HELIOGRAPH_TEST_SHADERS"] = str(folder / "shaders")
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder / 'python'}{':' if path else ''}{path}"
    return GuestDriver(folder / "virtio_icd.json", str(folder / "lib"), None, folder)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _about(environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.guest_programs.venus.about"]
    result = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False, cwd=_ROOT)
    if result.returncode:
        raise RuntimeError(f"no device is seen: {result.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _compare(program: str, folder: Path, native: Mapping[str, str], venus: Mapping[str, str]) -> list[str]:
    """Run a guest program on both; return what is wrong."""
    runs = [run_guest(program, folder / f"{program}-{i}", each) for i, each in enumerate((native, venus))]
    names = sorted(path.stem for path in runs[0].directory.glob("*.json"))
    wrong = [f"ended with {run.code}: {run.output[-1500:]}" for run in runs if run.code]
    for name in names:
        if text := difference(name, *runs):
            wrong.append(f"{name}: {text}")
    _say(f"{program}: {len(names)} cases, {len(wrong)} wrong" + "".join(f"\n  {text}" for text in wrong))
    return wrong


def difference(case: str, native: Run, venus: Run) -> str:
    """Return what of a case differs, "" when nothing does."""
    try:
        expected, found = native.case(case), venus.case(case)
    except AssertionError as error:
        return str(error)
    seen = dict(found["values"])  # type: ignore[call-overload]
    if not all(all(value) for name, value in seen.items() if name.startswith("_zero")):
        return f"memory was not zero at first: {seen}"
    values = [
        {key: value for key, value in dict(each["values"]).items() if not key.startswith("_")}  # type: ignore[call-overload]
        for each in (expected, found)
    ]
    if values[0] != values[1]:
        return f"{values[1]} instead of {values[0]}"
    raw = expected["raw"]
    assert isinstance(raw, list)
    wrong = [key for key in raw if native.raw(case, key) != venus.raw(case, key)]
    return f"other bytes in {', '.join(wrong)}" if wrong else ""


if __name__ == "__main__":
    sys.exit(main())
