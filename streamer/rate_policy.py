# SPDX-License-Identifier: Apache-2.0
"""What viewers' paths mean for the one encode that they share. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A viewer whose path takes less than this share of the best one's gets an encode of its own kind, and drags nobody.
SLOW_SHARE, RECOVERED_SHARE = 0.5, 0.65
# Fewer bits than this and moving text is mud: rather fewer pictures. Never fewer than the second, though.
MIN_BITS_PER_PIXEL = 0.06
MIN_FPS = 12


@dataclass(frozen=True, slots=True)
class SharedRate:
    """`bps` for the encode; `slow` are the viewers it is too much for, `slow_bps` what the slowest of them takes."""

    bps: int
    slow: frozenset[int]
    slow_bps: int | None


def shared_rate(targets_bps: Mapping[int, int], was_slow: frozenset[int] = frozenset()) -> SharedRate | None:
    """Return the lowest target that is at least half of the best one; None without viewers.

    Those that were slow stay so until they have a little more than half.
    """
    if not targets_bps:
        return None
    best_bps = max(targets_bps.values())
    slow = frozenset(
        viewer
        for viewer, bps in targets_bps.items()
        if bps < best_bps * (RECOVERED_SHARE if viewer in was_slow else SLOW_SHARE)
    )
    return SharedRate(
        min(bps for viewer, bps in targets_bps.items() if viewer not in slow),
        slow,
        min((targets_bps[viewer] for viewer in slow), default=None),
    )


def frame_rate(bps: float, pixels: int, fps: int) -> float:
    """Return how many pictures a second of `pixels` that rate is good for when all of them changes; `fps` at most."""
    return max(min(MIN_FPS, fps), min(float(fps), bps / max(1.0, pixels * MIN_BITS_PER_PIXEL)))


def encoder_rate(bps: int, pixels: int, fps: int) -> int:
    """Return what to tell an encoder that believes in `fps`, so that its frames are as large as fewer may be."""
    return int(bps * fps / frame_rate(bps, pixels, fps))
