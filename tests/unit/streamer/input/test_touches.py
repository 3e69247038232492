# SPDX-License-Identifier: Apache-2.0
"""Fingers of several viewers on one guest."""

from __future__ import annotations

from guest_agent.messages import MAX_TOUCH, Button, Touch
from streamer.input.messages import ButtonInput, ReleaseAllInput, TouchInput
from streamer.input.touches import MAX_FINGERS, HeldTouches, TouchIds
from streamer.input.viewer_input import ViewerInput


def test_viewers_fingers_have_numbers_of_their_own() -> None:
    ids = TouchIds()
    first, second = ViewerInput(ids), ViewerInput(ids)
    second.scanout = 2
    assert first.translate(TouchInput(0, "down", 5, 6)) == [Touch(0, "down", 5, 6, 0)]
    assert second.translate(TouchInput(0, "down", 7, 8)) == [Touch(1, "down", 7, 8, 2)]
    assert first.translate(TouchInput(0, "up", 5, 9)) == [Touch(0, "up", 5, 9, 0)]
    assert second.translate(TouchInput(0, "move", 9, 9)) == [Touch(1, "move", 9, 9, 2)]
    assert first.translate(TouchInput(3, "down", 1, 1)) == [Touch(0, "down", 1, 1, 0)]


def test_what_was_not_put_down_is_not_moved_and_nothing_is_put_down_twice() -> None:
    viewer = ViewerInput()
    for phase in ("move", "up", "cancel"):
        assert viewer.translate(TouchInput(4, phase, 1, 1)) == []
    assert len(viewer.translate(TouchInput(4, "down", 1, 1))) == 1
    assert viewer.translate(TouchInput(4, "down", 2, 2)) == []


def test_who_leaves_has_its_fingers_cancelled_where_they_were() -> None:
    viewer = ViewerInput()
    viewer.translate(TouchInput(9, "down", 1, 2))
    viewer.translate(TouchInput(9, "move", 3, 4))
    viewer.scanout = 5  # it is on the first screen all the same
    viewer.translate(ButtonInput(1, True))
    assert viewer.translate(ReleaseAllInput()) == [Touch(0, "cancel", 3, 4, 0), Button(1, False)]
    assert viewer.release_all() == []


def test_one_viewer_cannot_take_all_fingers() -> None:
    ids = TouchIds()
    greedy, other = HeldTouches(ids), HeldTouches(ids)
    downs = [greedy.touch(TouchInput(number, "down", 0, 0), 0) for number in range(MAX_TOUCH + 1)]
    assert sum(map(len, downs)) == MAX_FINGERS
    assert len(other.touch(TouchInput(0, "down", 0, 0), 0)) == 1
    greedy.release_all()
    assert len(HeldTouches(ids).touch(TouchInput(0, "down", 0, 0), 0)) == 1
