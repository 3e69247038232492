# SPDX-License-Identifier: Apache-2.0
"""The sound link's PCM, cut into frames with their times. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from guest_agent.sound import CHANNELS, RATE_HZ

FRAME_MS = 10
FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * CHANNELS * 2
_FRAME_NS = FRAME_MS * 1_000_000

# What may come at once, after the streamer or the guest had no time: more is thrown away, the newest first.
MAX_BURST_FRAMES = 50
# Sound that stood still for longer goes on where the clock is; shorter waits are only jitter.
_MAX_LAG_NS = 100_000_000
# Encoders and rooms ring on: silence begins after so much of it.
HANGOVER_FRAMES = 20

_SILENCE = bytes(FRAME_BYTES)


@dataclass(frozen=True, slots=True)
class PcmFrame:
    """FRAME_MS of s16le samples, interleaved. `pts`: the first sample's time in samples of a clock that starts anywhere
    and never steps back."""

    data: bytes
    pts: int


class PcmFramer:
    """Cuts what a guest sends; it may send anything, at any speed."""

    __slots__ = ("_budget", "_budget_ns", "_next_ns", "_rest", "dropped")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._next_ns = 0
        self._budget = float(MAX_BURST_FRAMES)
        self._budget_ns = 0
        self.dropped = 0

    def reset(self) -> None:
        """A new connection begins with a whole frame."""
        self._rest.clear()

    def feed(self, data: bytes, now_ns: int) -> list[PcmFrame]:
        """Add received bytes, return the frames that are complete now. `now_ns`: CLOCK_MONOTONIC."""
        self._refill(now_ns)
        self._rest += data
        count = len(self._rest) // FRAME_BYTES
        taken = min(count, int(self._budget))
        self._budget -= taken
        self.dropped += count - taken
        frames = []
        # The last frame of the batch ended now; it took its length to play.
        begin_ns = now_ns - taken * _FRAME_NS
        if begin_ns > self._next_ns + _MAX_LAG_NS:
            self._next_ns = begin_ns
        for index in range(taken):
            part = bytes(self._rest[index * FRAME_BYTES : (index + 1) * FRAME_BYTES])
            frames.append(PcmFrame(part, self._next_ns * RATE_HZ // 1_000_000_000))
            self._next_ns += _FRAME_NS
        del self._rest[: count * FRAME_BYTES]
        return frames

    def _refill(self, now_ns: int) -> None:
        self._budget = min(MAX_BURST_FRAMES, self._budget + (now_ns - self._budget_ns) / _FRAME_NS)
        self._budget_ns = now_ns


class SilenceGate:
    """Tells sound from silence, which costs nothing."""

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        self._silent = HANGOVER_FRAMES

    def is_open(self, frame: PcmFrame) -> bool:
        """Whether this frame, the next one, is to be sent."""
        self._silent = self._silent + 1 if frame.data == _SILENCE else 0
        return self._silent <= HANGOVER_FRAMES
