# SPDX-License-Identifier: Apache-2.0
"""Conversion by itself: milliseconds by size, format and path on one device."""

from __future__ import annotations

import numpy as np

from bench.report import Result, Table, Value
from bench.summary import Summary
from render_core import Rect, UnsupportedError
from render_core.bench import BenchResult, ConvertBench

# Width, height, divisor: also a screen that is too large for a video.
CASES = ((1280, 720, 1), (1920, 1080, 1), (3840, 2160, 1), (3840, 2160, 2), (7680, 4320, 2))
FORMATS = ("yuv420p", "nv12")
PATHS = ("cpu", "gpu")
WARM_UP = 3
# A line of text as a terminal scrolls it, and a blinking caret.
LINE = Rect(0, 320, 1280, 17)
CARET = Rect(400, 300, 16, 32)


def run(gpu: str = "auto", repeats: int = 60) -> Result:
    """Measure all cases on the device that `heliograph devices` lists under `gpu`."""
    rows: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    notes: list[str] = []
    device = "none"
    for path in PATHS:
        for width, height, divisor in CASES:
            for pixel_format in FORMATS:
                try:
                    bench = ConvertBench(width, height, gpu=gpu, convert=path, format=pixel_format, divisor=divisor)
                except UnsupportedError as refusal:
                    notes.append(f"{path} {pixel_format} {width}x{height}: {refusal}")
                    continue
                with bench:
                    device = f"{bench.device.name} ({bench.device.kind})"
                    bench.source[...] = np.random.default_rng(7).integers(0, 256, bench.source.shape, np.uint8)
                    whole = Summary.of(_convert_ms(bench, None, repeats))
                    line = Summary.of(_convert_ms(bench, LINE, repeats))
                    caret = Summary.of(_convert_ms(bench, CARET, repeats))
                rows.append(
                    {
                        "path": {"cpu": "CPU", "gpu": "compute shader"}[path],
                        "size": f"{width}x{height}",
                        "at": f"1/{divisor}",
                        "format": pixel_format,
                        **whole.columns("ms"),
                        "line p50 ms": line.p50,
                        "caret p50 ms": caret.p50,
                    }
                )
                if pixel_format == "yuv420p":
                    scale = f" at 1/{divisor}" if divisor > 1 else ""
                    figures[f"{path} {height}p{scale} whole picture p50 ms"] = whole.p50
    settings: dict[str, Value] = {"device": device, "repeats": repeats}
    return Result(
        "convert",
        settings,
        figures,
        (Table("RGBX to YUV: the whole picture, and parts of it", tuple(rows)),),
        notes=tuple(notes),
    )


def _convert_ms(bench: ConvertBench, part: Rect | None, repeats: int) -> list[float]:
    rects = [] if part is None else [part]
    results: list[BenchResult] = [bench.run(rects) for _ in range(WARM_UP + repeats)]
    return [result.convert_ns / 1e6 for result in results[WARM_UP:]]
