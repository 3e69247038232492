# SPDX-License-Identifier: Apache-2.0
"""Samples of any format that QEMU has, made the sound link's: s16le, 48000 Hz, stereo. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48000
CHANNELS = 2
MAX_CHANNELS = 8
MIN_RATE_HZ, MAX_RATE_HZ = 4000, 384_000


class PcmError(ValueError):
    """The format is none that can be played; the text says why."""


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """How samples come; checked when it is made.

    Raises:
        PcmError: it is not played.
    """

    bits: int
    is_signed: bool
    is_float: bool
    rate_hz: int
    channels: int
    is_big_endian: bool

    def __post_init__(self) -> None:
        if self.bits not in ((32,) if self.is_float else (8, 16, 32)):
            raise PcmError(f"samples of {self.bits} bits are not played")
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise PcmError(f"{self.rate_hz} samples a second are not within {MIN_RATE_HZ}…{MAX_RATE_HZ}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise PcmError(f"{self.channels} channels are not within 1…{MAX_CHANNELS}")

    @property
    def dtype(self) -> np.dtype[np.generic]:
        kind = "f" if self.is_float else "i" if self.is_signed else "u"
        return np.dtype(f"{'>' if self.is_big_endian else '<'}{kind}{self.bits // 8}")

    @property
    def is_links(self) -> bool:
        """Whether it is the sound link's own format."""
        return (self.bits, self.is_signed, self.is_float, self.is_big_endian) == (16, True, False, False) and (
            self.rate_hz,
            self.channels,
        ) == (RATE_HZ, CHANNELS)


class PcmConverter:
    """Converts a stream piece by piece; keeps less than a frame in between."""

    def __init__(self, pcm_format: PcmFormat) -> None:
        self.format = pcm_format
        self.gains = (1.0, 1.0)
        self._rest = b""
        # The last frame of the former piece, and where the next one to make lies after it, in frames.
        self._last: NDArray[np.float32] = np.zeros((0, CHANNELS), np.float32)
        self._phase = 0.0

    def convert(self, data: bytes) -> bytes:
        """Return what the link is to get of `data`."""
        pcm = self.format
        frame_bytes = pcm.bits // 8 * pcm.channels
        data = self._rest + data
        whole = len(data) // frame_bytes * frame_bytes
        data, self._rest = data[:whole], data[whole:]
        if pcm.is_links and self.gains == (1.0, 1.0):
            return data
        frames = np.frombuffer(data, pcm.dtype).reshape(-1, pcm.channels).astype(np.float32)
        if not pcm.is_float:
            half = 2.0 ** (pcm.bits - 1)
            frames = frames / half if pcm.is_signed else frames / half - 1.0
        stereo = np.repeat(frames, 2, axis=1) if pcm.channels == 1 else frames[:, :CHANNELS]
        stereo = self._resampled(np.clip(np.nan_to_num(stereo), -1, 1)) * np.array(self.gains, np.float32)
        return bytes(np.clip(np.rint(stereo * 32768.0), -32768, 32767).astype("<i2").tobytes())

    def _resampled(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Straight lines between samples: enough for a machine that could be told to play at 48 kHz."""
        if self.format.rate_hz == RATE_HZ or not len(frames):
            return frames
        frames = np.concatenate((self._last, frames))
        step = self.format.rate_hz / RATE_HZ
        at = np.arange(self._phase, len(frames) - 1, step)
        below = at.astype(np.int64)
        part = (at - below).astype(np.float32)[:, None]
        made: NDArray[np.float32] = frames[below] * (1 - part) + frames[below + 1] * part
        self._last = frames[-1:]
        self._phase = (float(at[-1]) + step if len(at) else self._phase) - (len(frames) - 1)
        return made
