# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [NAME...]`: measure this build on this machine. See bench/README.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import (
    audio,
    commands,
    convert,
    density,
    encode,
    glass,
    idle,
    links,
    network,
    pipeline,
    processes,
    report,
    scroll,
    sender,
    stages,
    start,
    vm,
)
from bench.report import Result
from streamer.config import vulkan_environment

FOLDER = Path("build/bench")
# What takes so long, or loads the machine so much, that it is measured only when it is named.
LONG = ("density",)


def _benchmarks(args: argparse.Namespace) -> dict[str, Callable[[], Result]]:
    seconds, size, fps = args.seconds, (args.size or "1280x720").split(",")[0], args.fps
    sizes = args.size.split(",") if args.size else glass.SIZES
    sizes_of_pipeline = args.size.split(",") if args.size else pipeline.SIZES
    scenes, only = args.scenes.split(","), args.only.split(",") if args.only else ()
    return {
        "glass": lambda: asyncio.run(
            glass.run(sizes, fps, seconds or 8.0, args.repeats or glass.ROUNDS, scenes, only, args.lock, args.cropped)
        ),
        "stages": lambda: asyncio.run(stages.run(size, fps, seconds or 15.0)),
        "scroll": lambda: asyncio.run(scroll.run(size, fps, seconds or 10.0)),
        "pipeline": lambda: pipeline.run(sizes_of_pipeline, fps, seconds or 5.0, args.gpu),
        "density": lambda: asyncio.run(density.run(size, seconds=seconds or 6.0)),
        "idle": lambda: asyncio.run(idle.run(size, fps, seconds or 30.0)),
        "audio": lambda: asyncio.run(audio.run(size, fps, seconds or 30.0)),
        "links": lambda: asyncio.run(links.run(size, fps, seconds or 5.0)),
        "start": lambda: asyncio.run(start.run(args.repeats or 5)),
        "encode": lambda: encode.run(args.repeats or 180),
        "convert": lambda: convert.run(args.gpu, args.repeats or 60),
        "sender": lambda: sender.run(args.repeats or 60),
        "vm": lambda: asyncio.run(vm.run(size, fps, seconds or 4.0, args.repeats or vm.ROUNDS, only, args.lock)),
        "commands": lambda: commands.run(FOLDER / "vkbench", args.repeats or commands.ROUNDS),
    }


def main() -> int:
    """Run what the command line names; returns the exit code."""
    usual = [
        "glass",
        "stages",
        "scroll",
        "pipeline",
        "idle",
        "audio",
        "links",
        "start",
        "encode",
        "convert",
        "sender",
        "vm",
        "commands",
    ]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [*usual, *LONG]
    about = f"{', '.join(usual)} (these are the default); {', '.join(LONG)}; all"
    parser.add_argument("names", nargs="*", metavar="NAME", help=about)
    parser.add_argument("--size", help="of the sessions that are watched (1280x720; glass: a list, 1280x720,1920x1080)")
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--seconds", type=float, help="how long a session is watched")
    parser.add_argument("--repeats", type=int, help="of starts, conversions, frames, rounds")
    parser.add_argument("--scenes", default=",".join(glass.SCENES), help="of glass (%(default)s)")
    parser.add_argument("--only", help="products of glass, ways of vm, by their names' beginnings (all that are here)")
    parser.add_argument("--lock", type=Path, help="a file to lock during each round of glass and vm")
    parser.add_argument("--cropped", action="store_true", help="glass: convert only the read part of a video to RGB")
    parser.add_argument("--gpu", default="auto", help="the device to convert on, as `heliograph devices` lists them")
    parser.add_argument("--json", type=Path, help="where one benchmark's result goes (build/bench/NAME.json)")
    parser.add_argument("--document", type=Path, help="write the newest results as Markdown to this file at the end")
    args = parser.parse_args()
    chosen = usual if not args.names else names if "all" in args.names else args.names
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"there is no benchmark {unknown[0]}: {', '.join(names)}")
    if args.json and len(chosen) > 1:
        parser.error("--json is for one benchmark")
    if "glass" in chosen:
        network.enter()
    # Whoever ends us ends what we have started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    benchmarks = _benchmarks(args)
    for name in chosen:
        if name == "convert" and (code := _run_with_drivers(args)) is not None:
            if code:
                return code
            continue
        begin_s, cpu_s = time.monotonic(), processes.machine_cpu_s()
        result = benchmarks[name]()
        busy = (processes.machine_cpu_s() - cpu_s) / (time.monotonic() - begin_s) / (os.cpu_count() or 1)
        path = args.json or FOLDER / f"{name}.json"
        report.show(result, report.save(result, path, busy))
    if args.document:
        report.document(FOLDER, [*names, "soak"], args.document)
    return 0


def _run_with_drivers(args: argparse.Namespace) -> int | None:
    """Run `convert` in a process that finds the private Mesa; returns its exit code, or None when this one does."""
    drivers = vulkan_environment()
    if all(os.environ.get(name) == value for name, value in drivers.items()):
        return None
    command = [sys.executable, "-m", "bench", "convert", "--gpu", args.gpu]
    command += ["--repeats", str(args.repeats)] if args.repeats else []
    command += ["--json", str(args.json)] if args.json else []
    return subprocess.run(command, env={**os.environ, **drivers}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
