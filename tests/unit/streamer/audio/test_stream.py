# SPDX-License-Identifier: Apache-2.0
"""The sound is asked for while somebody listens, encoded once, and never more than a viewer can take."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiortc.mediastreams import MediaStreamError

from streamer.audio.pcm import FRAME_BYTES, FRAME_SAMPLES, HANGOVER_FRAMES
from streamer.audio.stream import AudioStream
from streamer.audio.track import MAX_QUEUED_PACKETS, AudioPacket, AudioTrack
from tests.support.streaming import WAIT_S, wait_until

NOISE = bytes(range(256)) * FRAME_BYTES


class Guest:
    """The other end of the sound link."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(WAIT_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        return sock

    def nobody_comes(self) -> bool:
        try:
            self._listener.accept()
        except BlockingIOError:
            return True
        return False


@asynccontextmanager
async def running_stream(path: Path) -> AsyncIterator[tuple[AudioStream, Guest]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(4)
        listener.setblocking(False)
        stream = AudioStream(str(path))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(stream.run())
            yield stream, Guest(listener)
            running.cancel()


async def send(sock: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(WAIT_S):
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def ended(sock: socket.socket) -> bool:
    async with asyncio.timeout(WAIT_S):
        return await asyncio.get_running_loop().sock_recv(sock, 1) == b""


async def test_the_link_is_there_while_somebody_listens(tmp_path: Path) -> None:
    async with running_stream(tmp_path / "s") as (stream, guest):
        first, second, muted = AudioTrack(), AudioTrack(), AudioTrack()
        await asyncio.sleep(0)
        assert guest.nobody_comes()
        stream.listen(first)
        with await guest.accept() as sock:
            stream.listen(second)
            await send(sock, NOISE[: 5 * FRAME_BYTES])
            packets = [[await track.recv() for _ in range(5)] for track in (first, second)]
            assert [bytes(packet) for packet in packets[0]] == [bytes(packet) for packet in packets[1]]
            times = [packet.pts or 0 for packet in packets[0]]
            assert {after - before for before, after in itertools.pairwise(times)} == {FRAME_SAMPLES}
            # Encoded once for both, and not at all for who does not listen.
            assert stream.statistics.packets == 5
            assert not muted.is_listening
            stream.leave(first)
            assert stream.is_recording
            stream.leave(second)
            assert await ended(sock)
        await wait_until(lambda: not stream.is_recording)
        assert guest.nobody_comes()


async def test_silence_is_not_sent(tmp_path: Path) -> None:
    async with running_stream(tmp_path / "s") as (stream, guest):
        stream.listen(AudioTrack())
        with await guest.accept() as sock:
            await send(sock, bytes(10 * FRAME_BYTES))
            await wait_until(lambda: stream.statistics.frames == 10)
            assert stream.statistics.packets == 0
            await send(sock, NOISE[:FRAME_BYTES] + bytes((HANGOVER_FRAMES + 10) * FRAME_BYTES))
            await wait_until(lambda: stream.statistics.frames == 21 + HANGOVER_FRAMES)
            assert stream.statistics.packets == 1 + HANGOVER_FRAMES


async def test_a_link_that_ends_is_made_again(tmp_path: Path) -> None:
    async with running_stream(tmp_path / "s") as (stream, guest):
        track = AudioTrack()
        stream.listen(track)
        (await guest.accept()).close()
        with await guest.accept() as sock:
            await send(sock, NOISE[:FRAME_BYTES])
            before = await track.recv()
        with await guest.accept() as sock:
            await send(sock, NOISE[:FRAME_BYTES])
            after = await track.recv()
        assert before.pts is not None and after.pts is not None and after.pts > before.pts


async def test_a_flood_costs_no_more_than_sound_does(tmp_path: Path) -> None:
    async with running_stream(tmp_path / "s") as (stream, guest):
        track = AudioTrack()
        stream.listen(track)
        with await guest.accept() as sock:
            for _ in range(20):
                await send(sock, NOISE)
        await wait_until(lambda: not stream.is_recording)
        sent = 20 * len(NOISE) // FRAME_BYTES
        assert stream.statistics.packets < sent // 10
        assert track.dropped == stream.statistics.packets - MAX_QUEUED_PACKETS


async def test_no_link_no_sound() -> None:
    stream = AudioStream(None)
    await stream.run()
    assert not stream.is_possible
    stream.listen(AudioTrack())


async def test_a_track_keeps_the_newest_and_what_is_muted_is_gone() -> None:
    track = AudioTrack()
    track.push(AudioPacket(b"unheard", 0))
    track.is_listening = True
    for number in range(MAX_QUEUED_PACKETS + 3):
        track.push(AudioPacket(b"packet", number))
    assert track.dropped == 3
    assert (await track.recv()).pts == 3
    track.mute()
    track.is_listening = True
    track.push(AudioPacket(b"packet", 99))
    assert (await track.recv()).pts == 99
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()
