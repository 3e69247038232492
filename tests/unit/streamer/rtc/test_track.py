# SPDX-License-Identifier: Apache-2.0
"""A viewer's queue: bounded, and decodable whatever it loses."""

from __future__ import annotations

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamError

from streamer.rtc.track import MAX_QUEUED_FRAMES, MAX_UNSENT_BYTES, SentFrame, StreamFrame, ViewerTrack


def frame(number: int, is_keyframe: bool = False) -> StreamFrame:
    return StreamFrame(bytes((number,)), is_keyframe, number, 1, 2, 3, 4, 5)


class Bench:
    def __init__(self) -> None:
        self.wanted = 0
        self.sent: list[SentFrame] = []
        self.unsent = 0
        self.track = ViewerTrack(self._want, self.sent.append, lambda: self.unsent)

    def _want(self) -> None:
        self.wanted += 1

    async def take(self) -> int:
        async with asyncio.timeout(60):
            return bytes(await self.track.recv())[0]


async def test_nothing_goes_out_before_a_keyframe() -> None:
    bench = Bench()
    bench.track.push(frame(1))
    bench.track.push(frame(2, is_keyframe=True))
    bench.track.push(frame(3))
    assert [await bench.take(), await bench.take()] == [2, 3]


async def test_who_falls_behind_loses_frames_until_a_keyframe_that_it_asks_for_once() -> None:
    bench = Bench()
    bench.track.push(frame(0, is_keyframe=True))
    for number in range(1, 40):
        bench.track.push(frame(number))
        assert len(bench.track._queue) <= MAX_QUEUED_FRAMES
    assert bench.wanted == 1
    bench.track.push(frame(50, is_keyframe=True))
    bench.track.push(frame(51))
    assert [await bench.take(), await bench.take()] == [50, 51]
    assert bench.track.dropped == 40


async def test_a_kernel_that_takes_no_more_counts_as_being_behind() -> None:
    bench = Bench()
    bench.track.push(frame(0, is_keyframe=True))
    bench.unsent = MAX_UNSENT_BYTES + 1
    bench.track.push(frame(1))
    assert bench.wanted == 1 and not bench.track._queue


async def test_a_keyframe_replaces_what_is_older() -> None:
    bench = Bench()
    for number in range(3):
        bench.track.push(frame(number, is_keyframe=number == 0))
    bench.track.push(frame(9, is_keyframe=True))
    assert await bench.take() == 9


async def test_a_frame_is_reported_when_it_has_gone() -> None:
    bench = Bench()
    bench.track.push(frame(0, is_keyframe=True))
    bench.track.mark_sent(77, 88)
    assert bench.sent == []
    await bench.take()
    bench.track.mark_sent(77, 88)
    bench.track.mark_sent(78, 89)
    assert [(sent.frame.pts, sent.rtp, sent.sent_ns) for sent in bench.sent] == [(0, 77, 88)]


async def test_a_stopped_track_wakes_its_reader() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(_ended(bench.track))
        await asyncio.sleep(0)
        bench.track.stop()
    assert reader.result()


async def _ended(track: ViewerTrack) -> bool:
    with pytest.raises(MediaStreamError):
        await track.recv()
    return True


async def test_who_is_asked_for_a_keyframe_may_push_frames_at_once() -> None:
    bench = Bench()
    bench.track.push(frame(0, is_keyframe=True))
    assert await bench.take() == 0

    def answer() -> None:
        assert not bench.track.push(frame(1))
        bench.track.push(frame(2, is_keyframe=True))

    bench.track._on_keyframe_wanted = answer
    bench.track.switch()
    bench.track.push(frame(3))
    assert [await bench.take(), await bench.take()] == [2, 3]
