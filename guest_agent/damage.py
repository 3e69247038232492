# SPDX-License-Identifier: Apache-2.0
"""What changed of a picture, in few rectangles. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from guest_agent.virtio_gpu import Rect

# A flush has one rectangle; each costs a message and its answer.
MAX_FLUSHES = 8
# Below this many pixels too much, one rectangle around all is cheaper than several.
WASTE_PIXELS = 32768


def merge_damage(rects: Sequence[Rect], limit: int = MAX_FLUSHES) -> list[Rect]:
    """Return at most `limit` rectangles that cover `rects`, without covering much more."""
    merged: list[Rect] = []
    for rect in rects:
        # The union that adds the fewest pixels; rectangles come sorted by rows, so neighbours are late in the list.
        best, best_waste = -1, WASTE_PIXELS + 1
        for index in range(len(merged) - 1, -1, -1):
            waste = merged[index].union(rect).area - merged[index].area - rect.area
            if waste < best_waste:
                best, best_waste = index, waste
        if best >= 0:
            merged[best] = merged[best].union(rect)
        elif len(merged) < limit:
            merged.append(rect)
        else:
            merged[-1] = merged[-1].union(rect)
    return merged
