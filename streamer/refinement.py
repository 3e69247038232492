# SPDX-License-Identifier: Apache-2.0
"""When a picture that stands still is made sharper. No I/O; times are passed in, CLOCK_MONOTONIC ns."""

from __future__ import annotations

# So long after the last change; the encoder looks at each part's own age.
REFINE_AFTER_NS = 45_000_000
# From then on; and while something else moves, where that costs only what it changes.
REFINE_INTERVAL_NS = 20_000_000
BESIDE_MOTION_NS = 100_000_000
# The sharp picture is repeated so often before the stream falls silent. A receiver sees that a packet was lost by the
# next one, and some see a frame's end by the next one's beginning: without, the last change might never be shown.
REPEATS = 2
REPEAT_INTERVAL_NS = 200_000_000


class Refinement:
    """Says when to encode the last picture again: for its sharpness, then to close, then never.

    `due_ns` is None when there is nothing to do.
    """

    def __init__(self) -> None:
        self.due_ns: int | None = None
        self._refined_ns = 0
        self._repeats_left = 0

    def reset(self) -> None:
        """There is no picture any more."""
        self.due_ns = None

    def handle_picture(self, now_ns: int, *, is_refined: bool, follows_damage: bool) -> None:
        """A new picture, or a keyframe of the last one, has been encoded."""
        if self.due_ns is None or is_refined:
            self._refined_ns = now_ns
        due_ns = now_ns + REFINE_AFTER_NS
        self.due_ns = min(due_ns, self._refined_ns + BESIDE_MOTION_NS) if follows_damage else due_ns
        self._repeats_left = REPEATS

    def handle_refined(self, now_ns: int, *, is_refined: bool) -> None:
        """The last picture has been encoded again; or it was not, as the rate has nothing left."""
        self._refined_ns = now_ns
        if not is_refined:
            self.due_ns = now_ns + REFINE_INTERVAL_NS
            return
        self._repeats_left -= 1
        self.due_ns = None if self._repeats_left < 0 else now_ns + REPEAT_INTERVAL_NS
