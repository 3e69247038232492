# SPDX-License-Identifier: Apache-2.0
"""What a guest sends as sound is cut, timed and bounded, whatever it is."""

from __future__ import annotations

import itertools
import random

from streamer.audio.pcm import (
    FRAME_BYTES,
    FRAME_SAMPLES,
    HANGOVER_FRAMES,
    MAX_BURST_FRAMES,
    PcmFrame,
    PcmFramer,
    SilenceGate,
)

MS = 1_000_000


def test_frames_are_cut_whatever_the_pieces() -> None:
    framer = PcmFramer()
    chance = random.Random(1)
    data = chance.randbytes(20 * FRAME_BYTES)
    frames: list[PcmFrame] = []
    position, now_ns = 0, 1000 * MS
    while position < len(data):
        size = chance.randrange(1, 2 * FRAME_BYTES)
        frames += framer.feed(data[position : position + size], now_ns)
        position += size
        now_ns += 10 * MS * size // FRAME_BYTES
    assert b"".join(frame.data for frame in frames) == data
    steps = {after.pts - before.pts for before, after in itertools.pairwise(frames)}
    assert steps == {FRAME_SAMPLES}


def test_jitter_does_not_move_the_clock_and_a_gap_does() -> None:
    framer = PcmFramer()
    second = 1000 * MS
    [first] = framer.feed(bytes(FRAME_BYTES), 10 * second)
    [late] = framer.feed(bytes(FRAME_BYTES), 10 * second + 70 * MS)
    assert late.pts - first.pts == FRAME_SAMPLES
    [after] = framer.feed(bytes(FRAME_BYTES), 13 * second)
    assert after.pts - first.pts == 3 * 48_000


def test_a_flood_is_thrown_away() -> None:
    framer = PcmFramer()
    taken = 0
    last_pts = -1
    # A second in which the guest sends 100 times as much as a second has.
    for millisecond in range(1000):
        for frame in framer.feed(bytes(10 * FRAME_BYTES + 7), 5_000 * MS + millisecond * MS):
            assert frame.pts > last_pts
            last_pts = frame.pts
            taken += 1
    assert taken <= MAX_BURST_FRAMES + 101
    assert framer.dropped > 9000


def test_a_new_connection_begins_with_a_whole_frame() -> None:
    framer = PcmFramer()
    framer.feed(b"\1", MS)
    framer.reset()
    [frame] = framer.feed(bytes(FRAME_BYTES), 2 * MS)
    assert frame.data == bytes(FRAME_BYTES)


def test_silence_closes_the_gate_after_a_while_and_sound_opens_it_at_once() -> None:
    gate = SilenceGate()
    silence, noise = PcmFrame(bytes(FRAME_BYTES), 0), PcmFrame(bytes(FRAME_BYTES - 1) + b"\1", 0)
    assert not gate.is_open(silence)  # nothing has been heard yet
    assert gate.is_open(noise)
    assert all(gate.is_open(silence) for _ in range(HANGOVER_FRAMES))
    assert not gate.is_open(silence)
    assert gate.is_open(noise)
