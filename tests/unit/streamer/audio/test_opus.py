# SPDX-License-Identifier: Apache-2.0
"""Opus packets are those of the sound that went in, one a frame."""

from __future__ import annotations

import numpy as np
from av import CodecContext
from av.packet import Packet

from guest_agent.sound import RATE_HZ
from streamer.audio.opus import BITRATE_BPS, OpusEncoder
from streamer.audio.pcm import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, PcmFrame


def test_a_tone_a_channel_survives() -> None:
    encoder = OpusEncoder()
    decoder = CodecContext.create("libopus", "r")
    time_s = np.arange(100 * FRAME_SAMPLES) / RATE_HZ
    samples = np.stack([9000 * np.sin(2 * np.pi * hertz * time_s) for hertz in (500, 1500)], axis=1).astype("<i2")
    data = samples.tobytes()
    decoded = []
    sizes = []
    for index in range(100):
        packet = encoder.encode(PcmFrame(data[index * FRAME_BYTES :][:FRAME_BYTES], index * FRAME_SAMPLES))
        assert packet
        sizes.append(len(packet))
        decoded += [frame.to_ndarray() for frame in decoder.decode(Packet(packet))]
    heard = np.concatenate(decoded, axis=1).reshape(-1, 2)[-RATE_HZ // 2 :].T.astype(float)
    peaks = [int(np.argmax(np.abs(np.fft.rfft(channel)))) * 2 for channel in heard]
    assert peaks == [500, 1500]
    assert sum(sizes) * 8 * 1000 / (100 * FRAME_MS) < 1.2 * BITRATE_BPS


def test_any_bytes_are_sound() -> None:
    encoder = OpusEncoder()
    chance = np.random.default_rng(1)
    for index, level in enumerate((0, 1, 255)):
        data = chance.integers(0, level + 1, FRAME_BYTES, dtype=np.uint8).tobytes()
        assert 0 < len(encoder.encode(PcmFrame(data, index * 2**40))) < 1200
