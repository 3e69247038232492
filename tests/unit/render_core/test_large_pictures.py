# SPDX-License-Identifier: Apache-2.0
"""The largest screens, and the most of them, through a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import reference
from guest_agent import virtio_gpu
from guest_agent.virtio_gpu import ResponseType
from render_core import Device, Rect, Ring, ScanoutOff
from tests.support.worker_bench import TILE_ROWS, Streamer, WorkerBench, worker_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[WorkerBench]:
    with worker_bench(tmp_path) as bench:
        yield bench
        assert bench.process.poll() is None, "the worker has died"


def test_a_screen_of_15360_by_8640_is_a_quarter_as_large_in_the_ring(bench: WorkerBench) -> None:
    width, height = 15360, 8640
    tiles = np.random.default_rng(1).integers(0, 256, (2, TILE_ROWS, width, 4), np.uint8)
    order = [0] * (height // TILE_ROWS - 1) + [1]
    with bench.guest() as guest, bench.streamer() as streamer:
        streamer.link.set_active(0, True)
        guest.show_tiles(1, height, tiles, order)
        ring = streamer.ring(3840)
        assert (ring.source_width, ring.source_height, ring.divisor) == (width, height, 4)
        assert (ring.height, ring.coded_width, ring.coded_height, ring.stride) == (2160, 3840, 2160, 3840)
        frame = streamer.frame(ring)
        assert frame.damage == (Rect(0, 0, 3840, 2160),)
        y, u, v = reference.planes(frame.planes, ring.format, ring.coded_width, ring.coded_height)
        # A tile at the top, in the middle and at the bottom, all of its samples.
        for tile, row in ((0, 0), (0, 1080), (1, 2160 - TILE_ROWS // 4)):
            expected = reference.convert(tiles[tile], "BGRX", 3840, TILE_ROWS // 4, 4)
            assert np.abs(y[row : row + 4] - expected.y).max() <= 1
            for seen, wanted in ((u, expected.u), (v, expected.v)):
                assert np.abs(seen[row // 2 : row // 2 + 2] - wanted).max() <= 1
        frame.release()
        # What the guest flushes is in its pixels, what the streamer hears in the ring's.
        guest.flush(1, 15355, 8001, 5, 4)
        frame = streamer.frame(ring)
        assert frame.damage == (Rect(3838, 2000, 2, 2),)
        frame.release()
        ring.close()


def _rings(streamer: Streamer, count: int) -> dict[int, Ring]:
    rings: dict[int, Ring] = {}
    while len(rings) < count:
        ring = streamer.next(Ring)
        assert isinstance(ring, Ring)
        rings[ring.scanout_id] = ring
    return rings


def test_sixteen_screens_have_each_their_picture(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as streamer:
        assert isinstance(streamer.next(Device), Device)
        for scanout in range(16):
            streamer.link.set_active(scanout, True)
            guest.show(scanout + 1, 64 + 8 * scanout, 48, colour=16 * scanout, scanout=scanout)
        rings = _rings(streamer, 16)
        assert {number: ring.width for number, ring in rings.items()} == {n: 64 + 8 * n for n in range(16)}
        for number, ring in rings.items():
            frame = streamer.frame(ring)
            luma = frame.planes[: ring.coded_height, : ring.coded_width]
            assert luma.min() == luma.max() == round(16 + 219 / 255 * 16 * number)
            frame.release()
        # One that changes or goes is that one alone.
        guest.flush(6, 8, 8, 4, 4)
        frame = streamer.frame(rings[5])
        assert frame.damage == (Rect(8, 8, 4, 4),)
        frame.release()
        assert [number for number, ring in rings.items() if ring.acquire() is not None] == []
        assert guest.control(virtio_gpu.unref(16)) == ResponseType.OK_NODATA
        assert streamer.next(ScanoutOff) == ScanoutOff(15)
        for ring in rings.values():
            ring.close()
