# SPDX-License-Identifier: Apache-2.0
"""What changed from one frame that was encoded to the next. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from render_core import Rect
from streamer.frames import FrameRing, HeldFrame


class DamageChain:
    """Remembers which frame the encoder has seen last.

    A frame's damage is relative to its `base_sequence`: what changed since that frame. The ring's producer keeps it as
    old as the frame that was taken last, or older; so it serves as long as all frames taken from a ring are encoded.
    Anything else is unknown damage: everything.
    """

    def __init__(self) -> None:
        self._ring: FrameRing | None = None
        self._sequence = 0

    def since_last(self, ring: FrameRing | None, frame: HeldFrame) -> Sequence[Rect] | None:
        """Return where `frame` differs from the frame of the last `handle_encoded()`; None: perhaps everywhere."""
        if ring is None or ring is not self._ring:
            return None
        if frame.sequence == self._sequence:
            return ()
        return frame.damage if frame.base_sequence <= self._sequence < frame.sequence else None

    def handle_encoded(self, ring: FrameRing | None, frame: HeldFrame) -> None:
        """The encoder has seen `frame`."""
        self._ring = ring
        self._sequence = frame.sequence

    def break_off(self) -> None:
        """What the encoder has seen last is not known."""
        self._ring = None
