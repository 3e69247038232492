# SPDX-License-Identifier: Apache-2.0
"""Damage is covered by few rectangles that do not cover much more."""

from __future__ import annotations

import random

from guest_agent.damage import MAX_FLUSHES, WASTE_PIXELS, merge_damage
from guest_agent.virtio_gpu import Rect


def covers(rects: list[Rect], rect: Rect) -> bool:
    return any(found.union(rect) == found for found in rects)


def test_neighbours_become_one() -> None:
    assert merge_damage([Rect(0, 0, 100, 10), Rect(0, 10, 100, 10)]) == [Rect(0, 0, 100, 20)]
    assert merge_damage([]) == []


def test_far_corners_stay_apart() -> None:
    corners = [Rect(0, 0, 20, 20), Rect(1900, 1060, 20, 20)]
    assert merge_damage(corners) == corners


def test_everything_is_covered_by_few() -> None:
    chance = random.Random(7)
    for count in (1, 5, 50, 500):
        rects = [Rect(chance.randrange(1900), chance.randrange(1000), 15, 15) for _ in range(count)]
        merged = merge_damage(rects)
        assert len(merged) <= MAX_FLUSHES
        assert all(covers(merged, rect) for rect in rects)
        if len(merged) < MAX_FLUSHES:
            assert sum(rect.area for rect in merged) <= sum(rect.area for rect in rects) + count * WASTE_PIXELS
