# SPDX-License-Identifier: Apache-2.0
"""Encoding by itself: milliseconds and bytes by size and preset, on text that scrolls as a terminal scrolls it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.report import Result, Table, Value
from bench.summary import Summary
from streamer.encode.av_encoder import AvEncoder
from streamer.encode.encoder import CLOCK_RATE, EncoderSettings
from streamer.encode.probe import choose
from streamer.pipeline import default_bitrate

SIZES = ((1280, 720), (1920, 1080))
PRESETS = ("ultrafast", "superfast", "veryfast")
FPS = 60
THREADS = 2
WARM_UP = 10
CELL_WIDTH, CELL_HEIGHT = 8, 16


def run(frames: int = 180) -> Result:
    """Measure the software encoder's presets, and the hardware encoder that works here, if one does."""
    rows: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    profile = choose()
    presets = PRESETS if profile.name == "libx264" else ("",)
    for width, height in SIZES:
        # One row of text a frame, and three: a calm and a fast terminal.
        for step in (CELL_HEIGHT, 3 * CELL_HEIGHT):
            pictures = _scrolling_text(width, height, step)
            for preset in presets:
                options = {**profile.options, "preset": preset} if preset else profile.options
                bitrate_bps = default_bitrate(width, height, FPS)
                settings = EncoderSettings(width, height, "yuv420p", FPS, bitrate_bps, THREADS)
                times_ms, sizes = _encode(AvEncoder(replace(profile, options=options), settings), pictures, frames)
                summary = Summary.of(times_ms)
                rows.append(
                    {
                        "encoder": profile.name,
                        "preset": preset or "own",
                        "size": f"{width}x{height}",
                        "rows a frame": step // CELL_HEIGHT,
                        **summary.columns("ms"),
                        "kB a frame": Summary.of(sizes).p50 / 1000,
                    }
                )
                if preset in ("", "ultrafast") and step == CELL_HEIGHT:
                    figures[f"{profile.name} {preset} {height}p p50 ms".replace("  ", " ")] = summary.p50
    settings_shown: dict[str, Value] = {"fps": FPS, "slice threads": THREADS, "frames": frames}
    return Result("encode", settings_shown, figures, (Table("scrolling text, I420", tuple(rows)),))


def _scrolling_text(width: int, height: int, step: int) -> list[npt.NDArray[np.uint8]]:
    """Return a cycle of I420 pictures of black text on white."""
    random = np.random.default_rng(1)
    font = random.random((96, CELL_HEIGHT, CELL_WIDTH)) < 0.25
    count = 48
    page = np.full((height + count * step, width), 235, np.uint8)
    for row in range(page.shape[0] // CELL_HEIGHT):
        for column in range(int(random.integers(20, width // CELL_WIDTH))):
            cell = page[row * CELL_HEIGHT :, column * CELL_WIDTH :][:CELL_HEIGHT, :CELL_WIDTH]
            cell[font[random.integers(0, 96)]] = 16
    pictures = []
    for index in range(count):
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = page[index * step : index * step + height]
        pictures.append(planes)
    return pictures


def _encode(encoder: AvEncoder, pictures: list[npt.NDArray[np.uint8]], frames: int) -> tuple[list[float], list[float]]:
    times_ms, sizes = [], []
    for number in range(WARM_UP + frames):
        begin_ns = time.perf_counter_ns()
        encoded = encoder.encode(pictures[number % len(pictures)], keyframe=False, pts=number * CLOCK_RATE // FPS)
        times_ms.append((time.perf_counter_ns() - begin_ns) / 1e6)
        sizes.append(float(len(encoded.data)))
    encoder.close()
    return times_ms[WARM_UP:], sizes[WARM_UP:]
