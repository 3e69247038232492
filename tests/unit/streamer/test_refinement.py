# SPDX-License-Identifier: Apache-2.0
"""When a picture is refined: after stillness, beside motion, then never again."""

from __future__ import annotations

from streamer.refinement import (
    BESIDE_MOTION_NS,
    REFINE_AFTER_NS,
    REFINE_INTERVAL_NS,
    REPEAT_INTERVAL_NS,
    REPEATS,
    Refinement,
)

FRAME_NS = 16_666_667


def test_a_still_picture_is_refined_closed_and_left_alone() -> None:
    refinement = Refinement()
    assert refinement.due_ns is None
    refinement.handle_picture(1000, is_refined=False, follows_damage=True)
    assert refinement.due_ns == 1000 + REFINE_AFTER_NS
    now_ns = refinement.due_ns
    for _ in range(5):
        refinement.handle_refined(now_ns, is_refined=False)
        assert refinement.due_ns == now_ns + REFINE_INTERVAL_NS
        now_ns = refinement.due_ns
    refinement.handle_refined(now_ns, is_refined=True)
    for _ in range(REPEATS):
        assert refinement.due_ns == now_ns + REPEAT_INTERVAL_NS
        now_ns = refinement.due_ns
        refinement.handle_refined(now_ns, is_refined=True)
    assert refinement.due_ns is None


def test_what_is_still_is_refined_beside_motion_only_where_that_is_cheap() -> None:
    for follows_damage in (True, False):
        refinement = Refinement()
        refined = 0
        for frame in range(120):
            now_ns = frame * FRAME_NS
            if refinement.due_ns is not None and refinement.due_ns <= now_ns:
                refined += 1
                refinement.handle_refined(now_ns, is_refined=False)
            refinement.handle_picture(now_ns, is_refined=False, follows_damage=follows_damage)
        assert refined <= 120 * FRAME_NS // BESIDE_MOTION_NS
        assert (refined > 10) == follows_damage


def test_a_moving_picture_that_is_sharp_is_not_repeated() -> None:
    refinement = Refinement()
    for frame in range(120):
        now_ns = frame * FRAME_NS
        assert refinement.due_ns is None or refinement.due_ns > now_ns
        refinement.handle_picture(now_ns, is_refined=True, follows_damage=True)


def test_without_a_picture_nothing_is_due() -> None:
    refinement = Refinement()
    refinement.handle_picture(0, is_refined=False, follows_damage=True)
    refinement.reset()
    assert refinement.due_ns is None
