# SPDX-License-Identifier: Apache-2.0
"""The GPU check: conversion and handoff on this machine's device, right and with times by stage. `make gpu-check`.

Prints one line a case, writes JSON, and exits with 1 when a result is wrong or memory was copied instead of imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import reference
from bench.synthetic_guest import SyntheticGuest
from bench.worker_process import WorkerProcess
from render_core import Rect, UnsupportedError
from render_core.bench import BenchResult, ConvertBench

# The last ones are too large for a video: converted at 1/2 and 1/4.
SIZES = ((1280, 720), (1001, 603), (3840, 2160), (7680, 4320), (15360, 8640))
# Every divisor, at a size that none of them divides.
SCALED = ((2003, 1201, 2), (2003, 1201, 3), (2003, 1201, 4), (2003, 1201, 5), (2003, 1201, 6), (3840, 2160, 2))
FORMATS = ("yuv420p", "nv12")
TOLERANCE = 1.0
CARET = Rect(400, 300, 16, 32)


def main() -> int:
    """Run all cases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", default="auto", help="as `heliograph devices` lists them")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--largest", type=int, default=15360, help="leave out pictures wider than this")
    parser.add_argument("--json", type=Path, default=Path("build/bench/gpu_check.json"))
    args = parser.parse_args()
    # NVIDIA's driver can be loaded some 35 times by a process, then no more: held by this one, it stays loaded.
    with ConvertBench(64, 64, gpu=args.gpu):
        cases = _run_cases(args)
    failures = [case for case in cases if case.get("wrong")]
    args.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "processors": os.cpu_count(), "cases": cases}
    args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(cases)} cases, {len(failures)} wrong; {args.json}\n")
    return 1 if failures else 0


def _run_cases(args: argparse.Namespace) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    sizes = [size for size in SIZES if size[0] <= args.largest]
    for size in sizes:
        for pixel_format in FORMATS:
            cases.append(_convert_case(args.gpu, "auto", size, pixel_format, args.repeats))
        cases.append(_convert_case(args.gpu, "cpu", size, "yuv420p", args.repeats))
        for export in ("opaque_fd", "dma_buf"):
            cases.append(_export_case(args.gpu, size, export, args.repeats))
        cases.append(_link_case(args.gpu, size, args.repeats))
    for width, height, divisor in SCALED:
        for path, pixel_format in (("auto", "nv12"), ("auto", "yuv420p"), ("cpu", "yuv420p")):
            cases.append(_convert_case(args.gpu, path, (width, height), pixel_format, args.repeats, divisor))
    return cases


def _fill(pixels: reference.Bytes) -> None:
    """Noise in one corner, slow gradients elsewhere: fast to make, and every value occurs."""
    height, width, _ = pixels.shape
    pixels[..., 0] = np.arange(width, dtype=np.uint32) * 255 // max(width - 1, 1)
    pixels[..., 1] = (np.arange(height, dtype=np.uint32) * 255 // max(height - 1, 1))[:, None]
    pixels[..., 2] = 255 - pixels[..., 0]
    corner = pixels[: height // 4, : width // 4]
    corner[...] = np.random.default_rng(7).integers(0, 256, corner.shape, np.uint8)


def _median_ms(values: list[int]) -> float:
    return round(statistics.median(values) / 1e6, 4)


def _expected(bench: ConvertBench) -> reference.Yuv:
    return reference.convert(bench.source, "BGRX", bench.coded_width, bench.coded_height, bench.divisor)


def _times(results: list[BenchResult]) -> dict[str, float]:
    return {
        "convert_ms": _median_ms([r.convert_ns for r in results]),
        "gpu_ms": _median_ms([r.gpu_ns for r in results]),
        "handoff_ms": _median_ms([r.handoff_ns for r in results]),
    }


def _report(case: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write(" ".join(f"{key}={value}" for key, value in case.items()) + "\n")
    sys.stdout.flush()
    return case


def _convert_case(
    gpu: str, path: str, size: tuple[int, int], pixel_format: str, repeats: int, divisor: int = 0
) -> dict[str, Any]:
    width, height = size
    with ConvertBench(width, height, gpu=gpu, convert=path, format=pixel_format, divisor=divisor) as bench:
        _fill(bench.source)
        bench.run(read=True)
        expected = _expected(bench)
        error = reference.largest_error(bench.planes, pixel_format, expected)
        full = [bench.run() for _ in range(repeats)]
        bench.source[300:332, 400:416] = 255
        small = [bench.run([CARET]) for _ in range(repeats)]
        bench.run([CARET], read=True)
        expected = _expected(bench)
        error = max(error, reference.largest_error(bench.planes, pixel_format, expected))
        device = bench.device
        case = {
            "case": "convert",
            "size": f"{width}x{height}",
            "divisor": bench.divisor,
            "format": pixel_format,
            "device": device.name,
            "path": device.convert,
            "memory": "imported host memory"
            if device.convert == "gpu" and device.import_host
            else "mapped host memory",
            "error": round(error, 3),
            "full": _times(full),
            "caret": _times(small),
        }
        if error > TOLERANCE or (path == "auto" and device.kind == "gpu" and device.convert != "gpu"):
            case["wrong"] = True
        return _report(case)


def _export_case(gpu: str, size: tuple[int, int], export: str, repeats: int) -> dict[str, Any]:
    """Slots in device memory, exported and imported by a second device, as an encoder in another process would."""
    width, height = size
    case: dict[str, Any] = {"case": "export", "size": f"{width}x{height}", "handle": export}
    try:
        bench = ConvertBench(width, height, gpu=gpu, convert="gpu", format="nv12", export=export)
    except UnsupportedError as refusal:
        return _report(case | {"skipped": str(refusal)})
    with bench:
        _fill(bench.source)
        bench.run(read=True)
        expected = _expected(bench)
        error = reference.largest_error(bench.planes, "nv12", expected)
        case |= {
            "device": bench.device.name,
            "error": round(error, 3),
            "full": _times([bench.run() for _ in range(repeats)]),
        }
        if error > TOLERANCE:
            case["wrong"] = True
        return _report(case)


def _link_case(gpu: str, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """A sandboxed worker, a guest's memfd on its display link, the frame ring's memfd at the other end."""
    width, height = size
    spans: dict[str, list[int]] = {"flush_to_convert": [], "convert": [], "publish": [], "wake": []}
    with WorkerProcess("--gpu", gpu, "--size", f"{width}x{height}", "--fps", "1000", "--format", "nv12") as worker:
        with SyntheticGuest(worker.display_path, width, height) as guest:
            worker.next_frame().release()
            error = 0.0
            for turn in range(repeats):
                _fill(guest.pixels) if turn == 0 else guest.pixels[turn].fill(turn)
                guest.flush(0, 0, width, height)
                frame = worker.next_frame()
                woken_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                trace = frame.trace
                spans["flush_to_convert"].append(trace.convert_begin_ns - trace.flush_ns)
                spans["convert"].append(trace.gpu_done_ns - trace.convert_begin_ns)
                spans["publish"].append(trace.handoff_ns - trace.gpu_done_ns)
                spans["wake"].append(woken_ns - trace.handoff_ns)
                if turn in (0, repeats - 1):
                    ring = frame.ring
                    expected = reference.convert(
                        guest.pixels, "BGRX", ring.coded_width, ring.coded_height, ring.divisor
                    )
                    error = max(error, reference.largest_error(frame.planes, "nv12", expected))
                frame.release()
    case = {"case": "link", "size": f"{width}x{height}", "error": round(error, 3)}
    case |= {f"{name}_ms": _median_ms(values) for name, values in spans.items()}
    if error > TOLERANCE:
        case["wrong"] = True
    return _report(case)


if __name__ == "__main__":
    sys.exit(main())
