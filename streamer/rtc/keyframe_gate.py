# SPDX-License-Identifier: Apache-2.0
"""Which of a browser's keyframe requests to believe. No I/O; times are passed in, CLOCK_MONOTONIC ns."""

from __future__ import annotations

# Chromium asks once when 3 s have passed without a frame, though nothing was lost: a still screen sends none.
SILENCE_NS = 2_500_000_000
# A decoder that really needs one asks again every 200 ms.
AGAIN_NS = 1_000_000_000


class KeyframeGate:
    """One viewer's. A request after silence is passed over, unless another follows soon."""

    def __init__(self) -> None:
        self._frame_ns: int | None = None
        self._ignored_ns: int | None = None

    def handle_frame(self, now_ns: int) -> None:
        """A frame goes to the viewer."""
        self._frame_ns = now_ns
        self._ignored_ns = None

    def lets_pass(self, now_ns: int) -> bool:
        """The viewer asks: whether to make a keyframe."""
        if self._frame_ns is None or now_ns - self._frame_ns < SILENCE_NS:
            return True
        if self._ignored_ns is not None and now_ns - self._ignored_ns <= AGAIN_NS:
            return True
        self._ignored_ns = now_ns
        return False
