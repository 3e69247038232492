# SPDX-License-Identifier: Apache-2.0
"""Opus by PyAV's libopus, one packet a frame."""

from __future__ import annotations

from fractions import Fraction

from av import AudioCodecContext, AudioFrame, CodecContext
from av.error import FFmpegError

from guest_agent.sound import RATE_HZ
from streamer.audio.pcm import FRAME_MS, FRAME_SAMPLES, PcmFrame

BITRATE_BPS = 128_000


class OpusError(Exception):
    """Opus cannot be encoded here."""


class OpusEncoder:
    """Not thread-safe. `lowdelay` is Opus without its speech coder: 2.5 ms of look-ahead rather than 6.5."""

    def __init__(self) -> None:
        """Raises:
        OpusError: there is no libopus.
        """
        try:
            codec = CodecContext.create("libopus", "w")
            assert isinstance(codec, AudioCodecContext)
            codec.bit_rate = BITRATE_BPS
            codec.format = "s16"
            codec.layout = "stereo"
            codec.sample_rate = RATE_HZ
            codec.time_base = Fraction(1, RATE_HZ)
            codec.options = {
                "application": "lowdelay",
                "frame_duration": str(FRAME_MS),
                "vbr": "on",
                "compression_level": "5",
            }
            codec.open()
        except (FFmpegError, ValueError) as error:
            raise OpusError(f"libopus: {error}") from error
        self._codec = codec

    def encode(self, pcm: PcmFrame) -> bytes:
        """Return the packet of a frame; empty when the encoder keeps it back.

        Raises:
            OpusError: it failed.
        """
        frame = AudioFrame("s16", "stereo", FRAME_SAMPLES)
        frame.sample_rate = RATE_HZ
        frame.pts = pcm.pts
        frame.time_base = Fraction(1, RATE_HZ)
        frame.planes[0].update(pcm.data)
        try:
            return b"".join(bytes(packet) for packet in self._codec.encode(frame))
        except (FFmpegError, ValueError) as error:
            raise OpusError(f"libopus: {error}") from error
