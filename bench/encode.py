# SPDX-License-Identifier: Apache-2.0
"""Encoding by itself: milliseconds, bytes and quality by what changed on the screen.

Ours against libx264 through PyAV, in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from bench.report import Result, Table, Value
from bench.summary import Summary
from bench.text_page import CELL_HEIGHT, CELL_WIDTH, RandomText
from render_core import Rect
from streamer.encode.av_encoder import AvEncoder
from streamer.encode.encoder import CLOCK_RATE, Encoder, EncoderError, EncoderSettings, Planes
from streamer.encode.profiles import profile_by_name
from streamer.pipeline import default_bitrate
from streamer.stream_core.encoder import DamageEncoder

SIZES = ((1280, 720), (1920, 1080))
FPS = 60
WARM_UP = 10
# Quality is that of every so many pictures.
PSNR_STEP = 15
SETTLE = 120

Picture = tuple[Planes, Sequence[Rect]]


@dataclass(frozen=True, slots=True)
class Scene:
    """What changes: `pictures` yields planes (changed in place, from one call to the next) and their damage."""

    name: str
    pictures: Callable[[int, int], Iterator[Picture]]


def run(frames: int = 180) -> Result:
    """Measure all scenes with the encoders for software."""
    rows: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    notes: list[str] = []
    for width, height in SIZES:
        for name, open_encoder in ENCODERS.items():
            settings = EncoderSettings(width, height, "yuv420p", FPS, default_bitrate(width, height, FPS), 2)
            full_ms = 0.0
            for scene in SCENES:
                try:
                    encoder = open_encoder(settings)
                except EncoderError as refusal:
                    notes.append(f"{name}: {refusal}")
                    break
                times_ms, sizes, quality_db = _encode(encoder, scene.pictures(width, height), frames)
                encoder.close()
                summary = Summary.of(times_ms)
                full_ms = full_ms or summary.p50
                rows.append(
                    {
                        "size": f"{width}x{height}",
                        "encoder": name,
                        "change": scene.name,
                        "p50 ms": summary.p50,
                        "p95 ms": summary.p95,
                        "of a full scroll": summary.p50 / full_ms,
                        "kB a frame": sum(sizes) / len(sizes) / 1000,
                        "largest kB": max(sizes) / 1000,
                        "PSNR dB": quality_db,
                    }
                )
                if name in FIGURES and scene.name in ("full scroll", "a caret", "a character"):
                    figures[f"{name} {height}p {scene.name} p50 ms"] = summary.p50
    shown: dict[str, Value] = {"fps": FPS, "frames": frames}
    return Result("encode", shown, figures, (Table("by what changed, I420", tuple(rows)),), notes=tuple(notes))


def _open_pyav(settings: EncoderSettings) -> Encoder:
    profile = profile_by_name("libx264")
    assert profile is not None
    return AvEncoder(profile, settings)


# The first is what there was before; the second is what is used; the others say what its parts give.
ENCODERS: dict[str, Callable[[EncoderSettings], Encoder]] = {
    "libx264 by PyAV": _open_pyav,
    "x264": lambda settings: DamageEncoder(settings),
    "x264, 1 thread": lambda settings: DamageEncoder(settings, threads=1),
    "hints alone": lambda settings: DamageEncoder(settings, path="x264"),
    "hints alone, 1 thread": lambda settings: DamageEncoder(settings, path="x264", threads=1),
    "hints alone, constant QP 26": lambda settings: DamageEncoder(settings, path="x264", constant_qp=26),
    "no hints": lambda settings: DamageEncoder(settings, path="plain"),
}
FIGURES = ("libx264 by PyAV", "x264")


class _Page(RandomText):
    """Planes with black text on white."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(paper=235, ink=16)
        self.planes: npt.NDArray[np.uint8] = np.full((height * 3 // 2, width), 128, np.uint8)
        self.luma = self.planes[:height]
        self.write(self.luma)


def _scroll(rows: int) -> Callable[[int, int], Iterator[Picture]]:
    def pictures(width: int, height: int) -> Iterator[Picture]:
        page = _Page(width, height)
        while True:
            page.scroll(page.luma, rows)
            yield page.planes, [Rect(0, 0, width, height)]

    return pictures


def _window(width: int, height: int) -> Iterator[Picture]:
    """A terminal of 80x24 that scrolls."""
    page = _Page(width, height)
    x, y, w, h = 160, 96, 80 * CELL_WIDTH, 24 * CELL_HEIGHT
    while True:
        page.scroll(page.luma[y : y + h, x : x + w], 1)
        yield page.planes, [Rect(x, y, w, h)]


def _line(width: int, height: int) -> Iterator[Picture]:
    page = _Page(width, height)
    while True:
        y = int(page.random.integers(0, height // CELL_HEIGHT)) * CELL_HEIGHT
        page.write(page.luma[y : y + CELL_HEIGHT])
        yield page.planes, [Rect(0, y, width, CELL_HEIGHT)]


def _character(width: int, height: int) -> Iterator[Picture]:
    page = _Page(width, height)
    while True:
        x = int(page.random.integers(0, width // CELL_WIDTH)) * CELL_WIDTH
        y = int(page.random.integers(0, height // CELL_HEIGHT)) * CELL_HEIGHT
        page.letter(page.luma, x, y)
        yield page.planes, [Rect(x, y, CELL_WIDTH, CELL_HEIGHT)]


def _caret(width: int, height: int) -> Iterator[Picture]:
    page = _Page(width, height)
    x, y = 50 * CELL_WIDTH, 20 * CELL_HEIGHT
    cell = page.luma[y : y + CELL_HEIGHT, x : x + 2]
    while True:
        cell[:] = 251 - cell
        yield page.planes, [Rect(x, y, 2, CELL_HEIGHT)]


def _nothing(width: int, height: int) -> Iterator[Picture]:
    """A program that draws again what is there."""
    page = _Page(width, height)
    while True:
        yield page.planes, [Rect(0, 0, width, height)]


def _noise(width: int, height: int) -> Iterator[Picture]:
    page = _Page(width, height)
    planes = [page.random.integers(16, 235, page.planes.shape, np.uint8) for _ in range(8)]
    while True:
        for each in planes:
            yield each, [Rect(0, 0, width, height)]


SCENES = (
    Scene("full scroll", _scroll(1)),
    Scene("full scroll, 3 rows a frame", _scroll(3)),
    Scene("a window scrolls", _window),
    Scene("a line of text", _line),
    Scene("a character", _character),
    Scene("a caret", _caret),
    Scene("nothing, drawn again", _nothing),
    Scene("noise", _noise),
)


def _encode(encoder: Encoder, pictures: Iterator[Picture], frames: int) -> tuple[list[float], list[float], float]:
    times_ms: list[float] = []
    sizes: list[float] = []
    errors: list[float] = []
    settings = encoder.settings
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    planes, _ = next(pictures)
    # Most changes come to a picture that has become sharp.
    for number in range(SETTLE):
        encoded = encoder.encode(
            planes, damage=() if number else None, keyframe=False, pts=number * 3000, refine=number > 1
        )
        if encoded is not None:
            decoder.decode(av.Packet(encoded.data))
        if encoder.is_refined:
            break
    for number in range(SETTLE, SETTLE + WARM_UP + frames):
        planes, damage = next(pictures)
        pts = SETTLE * 3000 + number * CLOCK_RATE // FPS
        begin_ns = time.perf_counter_ns()
        encoded = encoder.encode(planes, damage=damage, keyframe=False, pts=pts)
        times_ms.append((time.perf_counter_ns() - begin_ns) / 1e6)
        sizes.append(0.0 if encoded is None else float(len(encoded.data)))
        shown = [] if encoded is None else decoder.decode(av.Packet(encoded.data))
        if shown and number >= SETTLE + WARM_UP and number % PSNR_STEP == 0:
            luma = shown[0].to_ndarray(format="yuv420p")[: settings.height].astype(np.int32)
            errors.append(float(np.mean((luma - planes[: settings.height, : settings.width]) ** 2)))
    error = sum(errors) / len(errors) if errors else 0.0
    quality_db = 10 * float(np.log10(255**2 / error)) if error else 99.0
    return times_ms[WARM_UP:], sizes[WARM_UP:], quality_db
