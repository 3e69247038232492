# SPDX-License-Identifier: Apache-2.0
"""The host's side without a guest's desktop and a browser: display link, convert, encode, send, to a local UDP socket.

A guest that makes its pictures itself ticks in a process of its own; the render worker is a session's own process;
encoder and sender run in this one, as in a streamer; the sink is a process too. Also by itself, where nothing is set up
but Python packages: `python -m bench.pipeline`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench import pipeline_parts, processes, report, svg
from bench.pipeline_guest import SCENES
from bench.report import Result, Table, Value
from bench.summary import Summary
from bench.worker_process import WorkerProcess
from render_core import Ring
from streamer.config import vulkan_environment
from streamer.pipeline import Pipeline
from streamer.rtc.track import StreamFrame

SIZES = ("1280x720", "1920x1080", "3840x2160")
SETTLE_S = 1.5
STAGES = ("convert", "handoff", "queue", "encode", "send", "to the last packet")
_NS_A_MS = 1e6


@dataclass(slots=True)
class Run:
    """One scene at one size. `frames`: with the time (ns) at which `send` had returned; `arrivals`: by RTP time."""

    frames: list[tuple[StreamFrame, int]] = field(default_factory=list)
    arrivals: dict[int, int] = field(default_factory=dict)
    span_s: float = 0.0
    lost: int = 0
    device: str = ""
    encoder: str = ""
    sender: str = ""
    cpu: float = 0.0

    def stages_ms(self) -> dict[str, list[float]]:
        """Return each stage's times, one value a frame that is new."""
        found: dict[str, list[float]] = {name: [] for name in STAGES}
        for frame, sent_ns in self.frames:
            times = (frame.flush_ns, frame.gpu_done_ns, frame.handoff_ns, frame.encode_begin_ns, frame.encode_end_ns)
            ends = (*times[1:], sent_ns)
            for name, begin_ns, end_ns in zip(STAGES, times, ends, strict=False):
                found[name].append((end_ns - begin_ns) / _NS_A_MS)
            found[STAGES[-1]].append((sent_ns - frame.flush_ns) / _NS_A_MS)
        return found

    def arrival_ms(self) -> list[float]:
        """Return the times from the flush to the sink's having the last packet."""
        return [
            (self.arrivals[frame.pts & 0xFFFFFFFF] - frame.flush_ns) / _NS_A_MS
            for frame, _ in self.frames
            if frame.pts & 0xFFFFFFFF in self.arrivals
        ]


@contextmanager
def _child(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module that ends when its standard input does."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """End a child; return what it has still to say."""
    return process.communicate(b"\n", timeout=30)[0]


def _first_line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return stream.readline().decode().strip()


async def measure(size: str, scene: str, fps: int, seconds: float, gpu: str) -> Run:
    """Run all of it for `seconds`."""
    run = Run()
    width, height = size.split("x")
    options = ("--scene", scene, "--fps", str(fps))
    environment = {**os.environ, **vulkan_environment()}
    with WorkerProcess("--gpu", gpu, "--size", size, "--fps", str(fps), environment=environment) as worker:
        with (
            _child("bench.udp_sink") as sink,
            _child("bench.pipeline_guest", worker.display_path, width, height, *options) as guest,
        ):
            worker.next_frame().release()
            assert worker.ring is not None
            sender = pipeline_parts.open_sender(int(_first_line(sink.stdout)))
            try:
                await _stream(run, worker.ring, sender, fps, seconds, (worker.process.pid, os.getpid()))
                run.sender = sender.name
            finally:
                sender.close()
            worker.ring = None  # it was the pipeline's
            _end(guest)
            found: dict[str, Any] = json.loads(_end(sink))
        run.arrivals = {rtp: taken_ns for rtp, taken_ns in found["ends"]}
        run.lost = found["lost"]
    return run


async def _stream(
    run: Run, ring: Ring, sender: pipeline_parts.FrameSender, fps: int, seconds: float, pids: tuple[int, int]
) -> None:
    """Be a streamer with one viewer. `pids`: the worker, and this process."""
    encoders: list[str] = []
    is_measured = False

    def handle_frame(frame: StreamFrame) -> None:
        sender.send(frame.data, frame.pts)
        # The picture of a repeat is no new one.
        if is_measured and frame.flush_ns:
            run.frames.append((frame, time.monotonic_ns()))

    def open_encoder(settings: Any) -> Any:
        encoder = pipeline_parts.open_encoder(settings)
        encoders.append(encoder.name)
        return encoder

    def fail(reason: str) -> None:
        raise RuntimeError(reason)

    pipeline = Pipeline(open_encoder, handle_frame, fail, fps=fps)
    pipeline.set_ring(ring)
    pipeline.set_active(True)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pipeline.run())
        await asyncio.sleep(SETTLE_S)
        begin_s, cpu_s = time.monotonic(), _cpu_s(pids)
        is_measured = True
        await asyncio.sleep(seconds)
        is_measured = False
        run.span_s = time.monotonic() - begin_s
        run.cpu = (_cpu_s(pids) - cpu_s) / run.span_s
        running.cancel()
    run.encoder = encoders[-1] if encoders else "none"


def _cpu_s(pids: tuple[int, int]) -> float:
    return sum(processes.read_usage(pid).cpu_s for pid in pids)


def run(
    sizes: Sequence[str] = SIZES,
    fps: int = 60,
    seconds: float = 5.0,
    gpu: str = "auto",
    scenes: Sequence[str] = SCENES,
) -> Result:
    """Measure each scene at each size."""
    rows: list[dict[str, Value]] = []
    stages: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    stacks: dict[str, dict[str, float]] = {}
    samples: dict[str, list[float]] = {}
    notes: list[str] = []
    parts: dict[str, Value] = {}
    for size in sizes:
        for scene in scenes:
            label = f"{size.partition('x')[2]}p {scene}"
            found = asyncio.run(measure(size, scene, fps, seconds, gpu))
            by_stage = found.stages_ms()
            whole, arrival = Summary.of(by_stage[STAGES[-1]]), Summary.of(found.arrival_ms())
            sizes_kb = Summary.of(len(frame.data) / 1000 for frame, _ in found.frames)
            parts = {"encoder": found.encoder, "sender": found.sender}
            rows.append(
                {
                    "size": size,
                    "scene": scene,
                    **whole.columns("ms"),
                    "arrived p50 ms": arrival.p50,
                    "arrived p99 ms": arrival.p99,
                    "frames/s": len(found.frames) / found.span_s,
                    "kB a frame": sizes_kb.p50,
                    "worker and streamer CPU %": found.cpu * 100,
                }
            )
            stacks[label] = {}
            for name in STAGES[:-1]:
                summary = Summary.of(by_stage[name])
                stages.append({"size": size, "scene": scene, "stage": name, **summary.columns("ms")})
                stacks[label][name] = summary.p50
            figures[f"{label} p50 ms"] = whole.p50
            figures[f"{label} p95 ms"] = whole.p95
            samples[f"{label} ms"] = [round(value, 3) for value in by_stage[STAGES[-1]]]
            if found.lost:
                notes.append(f"{label}: the sink missed {found.lost} packets.")
    return Result(
        "pipeline",
        {"fps": fps, "seconds": seconds, "gpu": gpu, **parts},
        figures,
        (Table("from the guest's flush to the last packet sent", tuple(rows)), Table("by stage", tuple(stages))),
        {"stages": svg.stacks(f"Flush to last packet at {fps}/s: medians by stage", stacks, "ms")},
        tuple(notes),
        samples,
    )


def main() -> int:
    """Run by itself; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--sizes", default=",".join(SIZES), help="%(default)s")
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each scene at each size (5)")
    parser.add_argument("--gpu", default="auto", help="the device to convert on, as `heliograph devices` lists them")
    parser.add_argument("--json", type=Path, default=Path("build/bench/pipeline.json"))
    args = parser.parse_args()
    begin_s, cpu_s = time.monotonic(), processes.machine_cpu_s()
    result = run(args.sizes.split(","), args.fps, args.seconds, args.gpu)
    busy = (processes.machine_cpu_s() - cpu_s) / (time.monotonic() - begin_s) / processes.cores()
    report.show(result, report.save(result, args.json, busy))
    return 0


if __name__ == "__main__":
    sys.exit(main())
