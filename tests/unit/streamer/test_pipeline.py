# SPDX-License-Identifier: Apache-2.0
"""The pipeline: newest wins, nothing queues, still pictures get better and then cost next to nothing."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest

from render_core import Rect
from streamer.encode.encoder import CLOCK_RATE, Encoder, EncoderError, EncoderSettings, Planes
from streamer.encode.probe import open_encoder
from streamer.encode.profiles import profile_by_name
from streamer.pipeline import (
    KEYFRAME_INTERVAL_NS,
    MAX_ENCODER_FAILURES,
    Pipeline,
    default_bitrate,
)
from streamer.rtc.track import StreamFrame
from streamer.slow_stream import SlowStream
from tests.support.fake_encoder import FakeEncoder
from tests.support.fake_frame_link import FakeRing, FakeTrace
from tests.support.streaming import wait_until


class Bench:
    def __init__(self, gate: threading.Semaphore | None = None, **options: Any) -> None:
        self.frames: list[StreamFrame] = []
        self.failures: list[str] = []
        self.encoders: list[FakeEncoder] = []
        self._gate = gate
        self.pipeline = Pipeline(self._open, self.frames.append, self.failures.append, fps=60, **options)

    def _open(self, settings: EncoderSettings) -> Encoder:
        self.encoders.append(FakeEncoder(settings, gate=self._gate, follows_damage=True))
        return self.encoders[-1]


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(pipeline.run())
        yield
        task.cancel()


async def test_the_newest_frame_wins_and_at_most_two_are_held() -> None:
    gate = threading.Semaphore(0)
    bench = Bench(gate)
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: bool(bench.encoders) and bench.encoders[0].is_busy)
        for value in range(2, 50):
            ring.publish(ring.picture(value))
        gate.release(2)
        await wait_until(lambda: len(bench.frames) == 2)
        # FakeRing asserts that no more than two are held.
        assert bench.encoders[0].seen[:2] == [1, 49]
        assert ring.acquired[:2] == [1, 49]
        gate.release(100)
    assert ring.held == 0 and ring.is_closed


async def test_an_encoder_with_threads_of_its_own_number_stays_open() -> None:
    bench = Bench()
    opened: list[FakeEncoder] = []

    def open_with_threads(settings: EncoderSettings) -> Encoder:
        opened.append(FakeEncoder(replace(settings, threads=settings.threads + 5), follows_damage=True))
        return opened[-1]

    bench.pipeline._open_encoder = open_with_threads
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        for value in range(1, 4):
            ring.publish(ring.picture(value))
            await wait_until(lambda value=value: len(bench.frames) >= value)  # type: ignore[misc]
    assert len(opened) == 1 and bench.pipeline.statistics.encoder_opens == 1


async def test_a_slot_is_not_given_back_while_it_is_encoded() -> None:
    gate = threading.Semaphore(0)
    bench = Bench(gate)
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: bool(bench.encoders) and bench.encoders[0].is_busy)
        bench.pipeline.set_active(False)
        await asyncio.sleep(0)
        assert ring.held == 1
        gate.release()
        await wait_until(lambda: ring.held == 0)


async def test_keyframe_requests_are_coalesced_and_kept_apart() -> None:
    bench = Bench()
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: len(bench.frames) == 1)
        for _ in range(3):
            count = sum(frame.is_keyframe for frame in bench.frames)
            for _ in range(10):
                bench.pipeline.request_keyframe()
            await wait_until(lambda count=count: sum(f.is_keyframe for f in bench.frames) > count)  # type: ignore[misc]
    keyframes = [frame for frame in bench.frames if frame.is_keyframe]
    assert len(keyframes) == 4
    gaps = [b.encode_begin_ns - a.encode_end_ns for a, b in itertools.pairwise(keyframes)]
    assert all(gap >= KEYFRAME_INTERVAL_NS for gap in gaps)
    assert ring.acquired == [1]


async def test_another_size_takes_another_encoder_and_its_old_ring_is_closed() -> None:
    bench = Bench()
    first, second = FakeRing(64, 64), FakeRing(130, 70)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(first)
        bench.pipeline.set_active(True)
        first.publish(first.picture(1))
        await wait_until(lambda: bool(bench.frames))
        bench.pipeline.set_ring(second)
        second.publish(second.picture(2))
        await wait_until(lambda: len(bench.encoders) == 2)
        assert (bench.encoders[1].settings.width, bench.encoders[1].settings.height) == (130, 72)
        assert first.is_closed and first.held == 0


async def test_the_last_picture_outlives_its_ring() -> None:
    bench = Bench()
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(7))
        await wait_until(lambda: bool(bench.frames))
        bench.pipeline.set_ring(None)
        assert ring.is_closed and bench.pipeline.has_picture
        count = len(bench.frames)
        bench.pipeline.request_keyframe()
        await wait_until(lambda: any(frame.is_keyframe for frame in bench.frames[count:]))
        assert set(bench.encoders[0].seen) == {7}


async def test_times_grow_and_repeats_are_marked() -> None:
    bench = Bench()
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(7))
        await wait_until(lambda: len(bench.frames) >= 4)
    assert bench.frames[0].flush_ns > 0
    assert all(frame.flush_ns == 0 for frame in bench.frames[1:])
    times = [frame.pts for frame in bench.frames]
    assert times == sorted(set(times))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least_db"), [("x264", 45), ("libx264", 42)])
async def test_a_still_picture_is_refined_and_then_nothing_is_sent(name: str, least_db: int) -> None:
    profile = profile_by_name(name)
    assert profile is not None
    frames: list[StreamFrame] = []
    pipeline = Pipeline(lambda settings: open_encoder(profile, settings), frames.append, lambda reason: None, fps=60)
    ring = FakeRing(640, 360)
    async with running(pipeline):
        pipeline.set_ring(ring)
        pipeline.set_active(True)
        picture = letters(ring)
        ring.publish(picture)
        await wait_until(lambda: bool(frames) and pipeline.is_refined)
        count = len(frames)
        assert psnr_db(frames, picture) >= least_db
        # A second without a frame: nothing keeps the stream going but the encoder, and it has nothing to say.
        await asyncio.sleep(1.2)
        assert len(frames) == count
        if name == "x264":
            # The same again is no change, whatever the guest says of it.
            ring.publish(picture)
            await wait_until(lambda: ring.acquired == [1, 2])
            await asyncio.sleep(0.2)
            assert len(frames) == count
        picture = picture.copy()
        picture[100:116, 200:208] = 40
        ring.publish(picture, (Rect(200, 100, 8, 16),))
        await wait_until(lambda: len(frames) > count and pipeline.is_refined)
        assert psnr_db(frames, picture) >= least_db
    assert count > 1
    assert not any(frame.is_keyframe for frame in frames[1:])


async def test_the_encoder_hears_of_all_damage_since_the_frame_it_saw_last() -> None:
    gate = threading.Semaphore(0)
    bench = Bench(gate)
    ring = FakeRing(64, 64)
    first, second, third = Rect(0, 0, 8, 8), Rect(8, 8, 8, 8), Rect(16, 16, 8, 8)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: bool(bench.encoders) and bench.encoders[0].is_busy)
        for value, rect in ((2, first), (3, second)):
            ring.publish(ring.picture(value), (rect,))
        gate.release()
        await wait_until(lambda: ring.acquired == [1, 3] and bench.encoders[0].is_busy)
        ring.publish(ring.picture(4), (third,))
        gate.release(2)
        await wait_until(lambda: ring.acquired == [1, 3, 4] and len(bench.frames) == 3)
        gate.release(1000)
        # Then the same again, for sharpness.
        await wait_until(lambda: len(bench.frames) >= 4)
        assert bench.encoders[0].damages[:4] == [None, (first, second), (third,), ()]


def letters(ring: FakeRing) -> Planes:
    """Letters of which there are only a few, as in text."""
    rng = np.random.default_rng(1)
    shapes = np.where(rng.random((8, 16, 8)) < 0.3, 30, 220).astype(np.uint8)
    picture = ring.picture(220)
    for row in range(0, 352, 16):
        for column in range(0, 640, 8):
            picture[row : row + 16, column : column + 8] = shapes[rng.integers(8)]
    return picture


def psnr_db(frames: list[StreamFrame], picture: Planes) -> float:
    decoder = av.CodecContext.create("h264", "r")
    shown = [each for frame in frames for each in decoder.decode(av.Packet(frame.data))]
    shown += decoder.decode(None)
    assert len(shown) == len(frames)
    luma = shown[-1].to_ndarray(format="yuv420p")[:360, :640].astype(int)
    error = float(np.mean((luma - picture[:360, :640]) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


async def test_a_failing_encoder_is_opened_again_and_told_of_once() -> None:
    failing = True
    opened = 0
    frames: list[StreamFrame] = []
    failures: list[str] = []

    def open_one(settings: EncoderSettings) -> Encoder:
        nonlocal opened
        opened += 1
        if failing:
            raise EncoderError("not today")
        return FakeEncoder(settings, follows_damage=True)

    pipeline = Pipeline(open_one, frames.append, failures.append, fps=60)
    ring = FakeRing(64, 64)
    async with running(pipeline):
        pipeline.set_ring(ring)
        pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: bool(failures))
        assert opened == MAX_ENCODER_FAILURES
        failing = False
        await wait_until(lambda: bool(frames))
        assert failures == ["not today"]
        assert frames[0].is_keyframe


async def test_a_ring_that_breaks_its_rules_is_left() -> None:
    class BrokenRing(FakeRing):
        def acquire(self) -> Any:
            raise LookupError("index 9 of 4")

    broken: list[str] = []
    bench = Bench(ring_errors=(LookupError,), on_ring_failure=broken.append)
    ring = BrokenRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: broken == ["index 9 of 4"])
        assert ring.is_closed


def test_the_default_rate_follows_the_picture() -> None:
    assert default_bitrate(64, 64, 30) == 2_000_000
    assert 8_000_000 < default_bitrate(1280, 720, 60) < 15_000_000
    assert default_bitrate(7680, 4320, 60) == 60_000_000


async def test_a_frame_from_the_future_does_not_stop_the_streams_clock() -> None:
    bench = Bench()
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        now_ns = time.monotonic_ns()
        ring.publish(ring.picture(1))
        assert ring._newest is not None
        ring._newest.trace = FakeTrace(2**64 - 1, 0, 0)
        await wait_until(lambda: bool(bench.frames))
        assert bench.frames[0].pts <= time.monotonic_ns() * CLOCK_RATE // 10**9
        assert bench.frames[0].pts >= now_ns * CLOCK_RATE // 10**9


async def test_a_frame_waits_until_it_may_go_and_is_the_newest_then() -> None:
    ready_ns = [time.monotonic_ns() + 10**12]
    bench = Bench(ready_ns=lambda: ready_ns[0])
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        for value in range(1, 10):
            ring.publish(ring.picture(value))
            bench.pipeline.wake()
            await asyncio.sleep(0)
        assert not bench.encoders
        ready_ns[0] = 0
        bench.pipeline.wake()
        await wait_until(lambda: bool(bench.frames))
        assert bench.encoders[0].seen == [9]


async def test_slow_viewers_pictures_are_fewer_and_of_an_encoder_of_their_own() -> None:
    slow_encoders: list[FakeEncoder] = []

    def open_slow(settings: EncoderSettings) -> Encoder:
        slow_encoders.append(FakeEncoder(settings, follows_damage=True))
        return slow_encoders[-1]

    stream = SlowStream(open_slow)
    slow_frames: list[StreamFrame] = []
    bench = Bench(slow_stream=stream, on_slow_frame=slow_frames.append)
    ring = FakeRing(64, 64)
    async with running(bench.pipeline):
        bench.pipeline.set_ring(ring)
        bench.pipeline.set_active(True)
        ring.publish(ring.picture(1))
        await wait_until(lambda: len(bench.frames) == 1)
        assert not slow_encoders
        stream.set_target(200_000)
        for value in range(2, 30):
            count = len(bench.frames)
            ring.publish(ring.picture(value))
            await wait_until(lambda count=count: len(bench.frames) > count)  # type: ignore[misc]
        assert len(slow_encoders) == 1
        assert 1 <= len(slow_frames) < len(bench.frames)
        assert slow_frames[0].is_keyframe
        pts = [frame.pts for frame in slow_frames]
        assert set(pts) <= {frame.pts for frame in bench.frames} and pts == sorted(set(pts))
        stream.set_target(None)
        ring.publish(ring.picture(99))
        await wait_until(lambda: not stream.is_open)
    assert ring.held == 0
