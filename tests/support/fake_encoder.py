# SPDX-License-Identifier: Apache-2.0
"""An encoder that encodes nothing, and remembers what it was given."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from render_core import Rect
from streamer.encode.encoder import EncodedFrame, EncoderError, EncoderSettings, Planes

FRAME_BYTES = 10_000


class FakeEncoder:
    """The first frame is a keyframe. `seen`: each picture's first luma sample."""

    name = "fake"

    def __init__(
        self,
        settings: EncoderSettings,
        *,
        gate: threading.Semaphore | None = None,
        fails: bool = False,
        follows_damage: bool = False,
    ) -> None:
        """Each frame waits for `gate`. One that follows damage never says that all is refined."""
        self.settings = settings
        self.bitrate_bps = settings.bitrate_bps
        self.follows_damage = follows_damage
        self.is_refined = not follows_damage
        self.seen: list[int] = []
        self.damages: list[Sequence[Rect] | None] = []
        self.keyframes: list[bool] = []
        self.is_busy = False
        self.is_closed = False
        self._gate = gate
        self._fails = fails

    def is_instant(self, damage: Sequence[Rect] | None) -> bool:
        return False

    def encode(
        self,
        planes: Planes,
        *,
        damage: Sequence[Rect] | None = None,
        keyframe: bool,
        pts: int,
        refine: bool = False,
    ) -> EncodedFrame | None:
        if self._fails:
            raise EncoderError("it fails")
        self.damages.append(damage)
        self.is_busy = True
        if self._gate is not None:
            assert self._gate.acquire(timeout=60)
        self.seen.append(int(planes[0, 0]))
        self.keyframes.append(keyframe or not self.keyframes)
        self.is_busy = False
        return EncodedFrame(b"x" * FRAME_BYTES, self.keyframes[-1], pts)

    def set_bitrate(self, bitrate_bps: int) -> None:
        self.bitrate_bps = bitrate_bps

    def close(self) -> None:
        self.is_closed = True
