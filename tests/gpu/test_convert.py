# SPDX-License-Identifier: Apache-2.0
"""Conversion and handoff against the NumPy reference, on every path that this machine's device has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bench import reference
from render_core import InvalidError, Rect, UnsupportedError
from render_core.bench import SOURCE_FORMATS, ConvertBench

pytestmark = pytest.mark.gpu

SIZES = [(64, 64), (17, 19), (1, 1), (1001, 603), (1280, 720), (130, 6)]


def filled(bench: ConvertBench, seed: int = 1) -> None:
    bench.source[...] = np.random.default_rng(seed).integers(0, 256, bench.source.shape, np.uint8)


def error(bench: ConvertBench, order: str, pixel_format: str) -> float:
    expected = reference.convert(bench.source, order, bench.coded_width, bench.coded_height, bench.divisor)
    return reference.largest_error(bench.planes, pixel_format, expected)


@pytest.mark.parametrize("path", ["cpu", "gpu"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_sample_is_within_one_of_the_reference(path: str, pixel_format: str, size: tuple[int, int]) -> None:
    with ConvertBench(*size, convert=path, format=pixel_format) as bench:
        filled(bench)
        bench.run(read=True)
        assert error(bench, "BGRX", pixel_format) <= 1


@pytest.mark.parametrize("path", ["cpu", "gpu"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("divisor", [2, 3, 4, 5, 6])
def test_smaller_pictures_are_means_of_blocks(path: str, pixel_format: str, divisor: int) -> None:
    # Multiples of the divisor and not, narrower than a vector, smaller than a block, wider than what is made at a time.
    for size in [(96, 48), (97, 47), (131, 65), (1, 1), (3, 2), (2 * divisor * 512 + 5, 9)]:
        with ConvertBench(*size, convert=path, format=pixel_format, divisor=divisor) as bench:
            filled(bench)
            bench.run(read=True)
            assert error(bench, "BGRX", pixel_format) <= 1, size
            bench.source[...] = (10, 200, 90, 0)  # one colour stays that colour
            bench.run(read=True)
            assert error(bench, "BGRX", pixel_format) <= 0.55, size


@pytest.mark.parametrize("path", ["cpu", "gpu"])
@pytest.mark.parametrize("order", sorted(SOURCE_FORMATS))
def test_every_byte_order_is_understood(path: str, order: str) -> None:
    for divisor in (1, 2):
        with ConvertBench(50, 34, convert=path, source_format=order, divisor=divisor) as bench:
            filled(bench)
            bench.run(read=True)
            assert error(bench, order, "yuv420p") <= 1


def rectangles(rng: np.random.Generator, width: int, height: int) -> Iterator[Rect]:
    for _ in range(int(rng.integers(1, 6))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        yield Rect(x, y, int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1)))


@pytest.mark.parametrize("path", ["cpu", "gpu"])
@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 6])
def test_converting_only_damage_gives_the_whole_picture(path: str, divisor: int) -> None:
    """Slots are reused: whatever was damaged since a slot was written must be in it."""
    rng = np.random.default_rng(3)
    width, height = 203, 101
    with ConvertBench(width, height, convert=path, divisor=divisor) as bench:
        filled(bench)
        bench.run()
        for _ in range(25):
            damage = list(rectangles(rng, width, height))
            for rect in damage:
                part = bench.source[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width]
                part[...] = rng.integers(0, 256, part.shape, np.uint8)
            bench.run(damage, read=True)
            assert error(bench, "BGRX", "yuv420p") <= 1


@pytest.mark.parametrize("path", ["cpu", "gpu"])
def test_undamaged_pixels_are_not_read(path: str) -> None:
    with ConvertBench(256, 64, convert=path) as bench:
        filled(bench)
        for _ in range(4):
            bench.run(read=True)  # every slot is up to date
        before = bench.planes.copy()
        bench.source[...] = 0
        bench.run([Rect(32, 16, 16, 2)], read=True)
        changed = np.argwhere(bench.planes[: bench.coded_height] != before[: bench.coded_height])
        assert changed[:, 0].min() >= 16 and changed[:, 0].max() < 18
        assert changed[:, 1].min() >= 32 and changed[:, 1].max() < 48


@pytest.mark.parametrize(
    ("size", "divisor"),
    [
        ((4096, 2304), 1),
        ((4097, 2304), 2),
        ((8688, 1000), 1),
        ((8689, 1000), 2),
        ((15360, 8640), 4),
        ((16384, 16384), 6),
    ],
)
def test_pictures_are_made_as_small_as_a_video_must_be(size: tuple[int, int], divisor: int) -> None:
    with ConvertBench(*size, convert="cpu") as bench:
        assert bench.divisor == divisor
        assert -(-bench.coded_width // 16) * -(-bench.coded_height // 16) <= 36_864


def test_exported_slots_hold_the_same_planes() -> None:
    for handle in ("opaque_fd", "dma_buf"):
        try:
            bench = ConvertBench(322, 202, convert="gpu", format="nv12", export=handle)
        except UnsupportedError:
            continue
        with bench:
            filled(bench)
            bench.run(read=True)
            assert error(bench, "BGRX", "nv12") <= 1


@pytest.mark.parametrize("size", [(0, 10), (16385, 10)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidError, match="convert bench"):
        ConvertBench(*size)
