# SPDX-License-Identifier: Apache-2.0
"""What Vulkan commands cost a guest: the same program on the host's driver and on Venus, in turns."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.report import Result, Table, Value
from bench.summary import quantile
from tests.support.guest_programs.venus.shaders import compile_glsl
from tests.support.venus import VenusServer, native_environment

_ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("vkbench.c", "vkbench_gpu.c", "vkbench_draw.c", "vkbench_compute.c")
ROUNDS = 7
REPEATS = 10
TIMEOUT_S = 300.0

# What each is, its unit in nanoseconds, the unit's name, what is aimed at.
OPERATIONS: Mapping[str, tuple[str, float, str, str]] = {
    "draw": ("(a) draw of 32 pixels' height", 1e3, "µs", "native + 5 %"),
    "speck": ("(a) draw of 3 pixels' height", 1e3, "µs", "-"),
    "submit": ("(b) empty submit and fence wait", 1e3, "µs", "80 µs"),
    "frame": ("(c) 720p frame with read-back", 1e6, "ms", "native + 5 %"),
    "upload": ("(d) upload of 64 MiB", 1e6, "ms", "native"),
    "map": ("(e) buffer create, map, free", 1e3, "µs", "40 µs"),
    "pipeline": ("(f) compute pipeline", 1e6, "ms", "native"),
    "dispatch": ("(g) dispatch", 1e3, "µs", "native + 5 %"),
    "allocate": ("device-local allocate and free", 1e3, "µs", "-"),
}

_SHADERS = {
    "vert": """
layout(push_constant) uniform Push { vec4 at; };
layout(location = 0) out vec4 color;
void main() {
	vec2 corner = vec2(gl_VertexIndex & 1, gl_VertexIndex >> 1);
	gl_Position = vec4(at.xy + corner * at.z, 0.0, 1.0);
	color = vec4(corner, at.w, 1.0);
}
""",
    "frag": """
layout(location = 0) in vec4 color;
layout(location = 0) out vec4 result;
void main() { result = color; }
""",
    "comp": """
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint salt = 0;
layout(set = 0, binding = 0) buffer Data { uint values[]; };
layout(push_constant) uniform Push { uint turn; };
void main() { atomicAdd(values[(gl_GlobalInvocationID.x + turn) & 1023], turn + (turn == salt ? 2 : 1)); }
""",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the program. `ns`: by operation, what each repeat took."""

    device: str
    version: str
    ns: Mapping[str, list[float]]
    checksums: Mapping[str, int]


def program(folder: Path) -> Path:
    """Compile vkbench and its shaders into `folder` unless they are there; return the program."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage, source in _SHADERS.items():
        (folder / f"vkbench_{stage}.spv").write_bytes(compile_glsl(stage, source))
    built, sources = folder / "vkbench", [_ROOT / "bench/guest_programs" / name for name in SOURCES]
    newest = max(path.stat().st_mtime for path in (*sources, sources[0].with_suffix(".h")))
    if not built.exists() or built.stat().st_mtime < newest:
        compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
        subprocess.run([compiler, "-std=gnu11", "-O2", "-Wall", "-o", built, *sources, "-ldl"], check=True)
    return built


def run_program(built: Path, environment: Mapping[str, str], repeats: int) -> Run:
    """Run vkbench once.

    Raises:
        RuntimeError: it failed; the text has what it said.
    """
    command = [str(built), str(built.parent), str(repeats)]
    result = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if result.returncode:
        raise RuntimeError(f"vkbench ended with {result.returncode}: {result.stderr[-2000:]}")
    found = json.loads(result.stdout)
    operations = found["operations"]
    return Run(
        found["device"],
        found["version"],
        {name: each["ns"] for name, each in operations.items()},
        {name: each["checksum"] for name, each in operations.items()},
    )


def compare(native: list[Run], venus: list[Run]) -> tuple[list[dict[str, Value]], dict[str, float], list[str]]:
    """Return rows, figures and what is wrong. No I/O."""
    rows: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    for name, (title, unit, unit_name, aim) in OPERATIONS.items():
        times = [[value / unit for run in runs for value in run.ns[name]] for runs in (native, venus)]
        medians = [statistics.median(each) for each in times]
        # Each round's own ratio, so that what slows the whole machine for a while slows both.
        ratios = [
            statistics.median(b.ns[name]) / statistics.median(a.ns[name]) for a, b in zip(native, venus, strict=True)
        ]
        rows.append(
            {
                "operation": title,
                "unit": unit_name,
                "native": medians[0],
                "Venus": medians[1],
                "Venus / native": statistics.median(ratios),
                "native p10": quantile(times[0], 0.1),
                "Venus p10": quantile(times[1], 0.1),
                "Venus p95": quantile(times[1], 0.95),
                "aim": aim,
            }
        )
        figures[f"{title}, {unit_name}"] = medians[1]
    wrong = [
        f"{name}: Venus computed something else than the driver"
        for name in OPERATIONS
        if len({run.checksums[name] for run in (*native, *venus)}) > 1
    ]
    return rows, figures, wrong


def run(folder: Path, rounds: int = ROUNDS, repeats: int = REPEATS) -> Result:
    """Measure with a server of our own and the software driver.

    Raises:
        RuntimeError: the program failed, or gave other results on Venus.
    """
    server = VenusServer()
    try:
        result, wrong = measure(folder, native_environment(), server.environment, rounds, repeats)
    finally:
        server.close()
    if wrong:
        raise RuntimeError("; ".join(wrong))
    return result


def measure(
    folder: Path, native: Mapping[str, str], venus: Mapping[str, str], rounds: int, repeats: int
) -> tuple[Result, list[str]]:
    """Run the program in both environments in turns; return the result and what is wrong."""
    built = program(folder)
    runs: tuple[list[Run], list[Run]] = ([], [])
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            runs[side].append(run_program(built, (native, venus)[side], repeats))
    rows, figures, wrong = compare(*runs)
    settings: dict[str, Value] = {
        "native": runs[0][0].device,
        "Venus": f"{runs[1][0].device}, Vulkan {runs[1][0].version}",
        "rounds": rounds,
        "repeats": repeats,
    }
    samples = {
        f"{side} {name} ns": [value for each in found for value in each.ns[name]]
        for side, found in zip(("native", "Venus"), runs, strict=True)
        for name in OPERATIONS
    }
    table = Table(
        "what a command costs a program: medians, and when others left the processors alone (p10)", tuple(rows)
    )
    return Result("commands", settings, figures, (table,), notes=tuple(wrong), samples=samples), wrong
