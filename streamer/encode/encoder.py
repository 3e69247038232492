# SPDX-License-Identifier: Apache-2.0
"""The interface of all encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from render_core import Rect

PixelFormat = Literal["yuv420p", "nv12"]
Planes = NDArray[np.uint8]

CLOCK_RATE = 90_000  # of pts, RTP's clock for video


class EncoderError(Exception):
    """An encoder cannot be opened, or failed on a frame. The encoder must be closed; another one may work."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What an encoder is opened for; anything but the bit rate needs another encoder.

    `width` and `height` are the coded ones: even, height a multiple of 4. `bitrate_bps` is where it starts; for
    FFmpeg's encoders also the most that `set_bitrate()` gives.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    fps: int
    bitrate_bps: int
    # Who opens an encoder decides on its threads: settings that differ in nothing else are the same.
    threads: int = field(default=2, compare=False)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One complete access unit, Annex B; a keyframe starts with SPS and PPS. `pts` is the caller's, 90 kHz."""

    data: bytes
    is_keyframe: bool
    pts: int


class Encoder(Protocol):
    """Encodes one stream: no reordering, no delay (each call returns its own frame), keyframes only on demand.

    One thread at a time; `encode` takes milliseconds and releases the GIL for most of them.
    """

    @property
    def name(self) -> str:
        """As its profile calls it."""

    @property
    def settings(self) -> EncoderSettings:
        """What it was opened for."""

    @property
    def bitrate_bps(self) -> int:
        """The rate it aims at now."""

    @property
    def follows_damage(self) -> bool:
        """Whether a call costs what has changed, so that still parts may be refined while others move."""

    @property
    def is_refined(self) -> bool:
        """Whether the picture that was encoded last cannot get sharper by `encode(refine=True)`."""

    def is_instant(self, damage: Sequence[Rect] | None) -> bool:
        """Whether a picture that differs so much is encoded in less time than another thread takes to wake."""

    def encode(
        self,
        planes: Planes,
        *,
        damage: Sequence[Rect] | None = None,
        keyframe: bool,
        pts: int,
        refine: bool = False,
    ) -> EncodedFrame | None:
        """Encode one picture, read in place. None: nothing is to be sent, as the viewer's picture is as good already.

        Args:
            planes: uint8 (height * 3 // 2, stride), the luma rows and then the chroma rows as the ring has them;
                it is not read any more when the call returns.
            damage: where it may differ from the picture of the call before, in pixels of the coded size; None:
                everywhere. Encoders that cannot use it encode the whole.
            keyframe: make it one; the first frame is one anyway.
            pts: must grow from call to call.
            refine: use what the rate leaves to make still parts sharper; where all are sharp, repeat the picture.

        Raises:
            EncoderError: it failed.
        """

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate from the next frame on, up or down, without a keyframe, as far as the encoder can."""

    def close(self) -> None:
        """Free it. May be called twice."""
