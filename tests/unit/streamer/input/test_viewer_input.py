# SPDX-License-Identifier: Apache-2.0
"""A viewer's messages become the agent's."""

from __future__ import annotations

from guest_agent.messages import Button, Clipboard, Motion, Relative, Text, Wheel
from streamer.input.messages import (
    ClipboardInput,
    MotionInput,
    PlacedButtonInput,
    RelativeInput,
    TextInput,
    WheelInput,
)
from streamer.input.viewer_input import ViewerInput


def test_motion_that_comes_late_is_dropped() -> None:
    viewer = ViewerInput()
    assert viewer.translate(MotionInput(5, 1, 2)) == [Motion(1, 2)]
    assert viewer.translate(MotionInput(4, 9, 9)) == []
    assert viewer.translate(MotionInput(5, 9, 9)) == []
    viewer.reset_motion()
    assert viewer.translate(MotionInput(0, 3, 3)) == [Motion(3, 3)]


def test_relative_motion_loses_nothing_with_a_lost_message() -> None:
    viewer = ViewerInput()
    moves = [viewer.translate(RelativeInput(seq, x, 0)) for seq, x in ((0, 2), (3, 9), (2, 5), (4, 9), (5, 1e11))]
    assert moves == [[Relative(2, 0)], [Relative(7, 0)], [], [], []]
    assert viewer.translate(RelativeInput(6, 1e11 + 4, 0)) == [Relative(4, 0)]


def test_a_button_goes_where_the_pointer_was() -> None:
    viewer = ViewerInput()
    assert viewer.translate(PlacedButtonInput(1, True, 5, 6)) == [Motion(5, 6), Button(1, True)]
    assert viewer.release_all() == [Button(1, False)]


def test_the_rest_is_passed_on() -> None:
    viewer = ViewerInput()
    assert viewer.translate(TextInput("é")) == [Text("é")]
    assert viewer.translate(TextInput("")) == []
    assert viewer.translate(WheelInput(0.5, -1)) == [Wheel(0.5, -1)]
    assert viewer.translate(ClipboardInput("a", more=True)) == []
    assert viewer.translate(ClipboardInput("b", more=False)) == [Clipboard("ab")]
