# SPDX-License-Identifier: Apache-2.0
"""Messages say what is wrong with them, and come back as they went."""

import json
from typing import Any

import pytest

from guest_agent import messages
from guest_agent.messages import Message, MessageError, MessageSet

GOOD: list[tuple[MessageSet, Message]] = [
    (messages.STREAMER_TO_AGENT, messages.Key(0x20AC, True)),
    (messages.STREAMER_TO_AGENT, messages.Key(0x61, True, "KeyA")),
    (messages.STREAMER_TO_AGENT, messages.Motion(0.0, 1.0, 15)),
    (messages.STREAMER_TO_AGENT, messages.Touch(15, "cancel", 1.0, 2.0, 3)),
    (messages.AGENT_TO_STREAMER, messages.Pointer(True)),
    (messages.STREAMER_TO_AGENT, messages.Text("Grüße 😀")),
    (messages.STREAMER_TO_AGENT, messages.Motion(1.5, -3.0)),
    (messages.STREAMER_TO_AGENT, messages.Relative(-1.0, 0.25)),
    (messages.STREAMER_TO_AGENT, messages.Button(9, False)),
    (messages.STREAMER_TO_AGENT, messages.Wheel(0.0, -0.5)),
    (messages.STREAMER_TO_AGENT, messages.ReleaseAll()),
    (messages.STREAMER_TO_AGENT, messages.Clipboard("a\x00b\n")),
    (messages.AGENT_TO_STREAMER, messages.Clipboard("")),
    (messages.AGENT_TO_STREAMER, messages.Error("key.keysym: is missing")),
    (messages.AGENT_TO_STREAMER, messages.Sound(True)),
    (messages.GATEWAY_TO_AGENT, messages.Stop()),
    (messages.GATEWAY_TO_AGENT, messages.Graphics("gpu", False)),
    (messages.AGENT_TO_GATEWAY, messages.AgentReady(":7")),
    (messages.AGENT_TO_GATEWAY, messages.Exited(143)),
    (messages.WORKER_TO_GATEWAY, messages.WorkerReady("llvmpipe", "cpu", "neon", True)),
    (messages.GATEWAY_TO_STREAMER, messages.ViewerOpened(3, "view")),
    (messages.GATEWAY_TO_STREAMER, messages.Signal(3, {"type": "offer", "sdp": "v=0"})),
    (messages.GATEWAY_TO_STREAMER, messages.ViewerClosed(3)),
    (messages.GATEWAY_TO_STREAMER, messages.MetricsRequest()),
    (messages.STREAMER_TO_GATEWAY, messages.StreamerReady("libx264")),
    (messages.STREAMER_TO_GATEWAY, messages.CloseViewer(3, 1008, "refused")),
    (messages.STREAMER_TO_GATEWAY, messages.Metrics({"viewers": 1, "fps": 59.9})),
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "message.type: must be a string"),
    ({"type": 3}, "message.type: must be a string"),
    ({"type": "ready"}, "message.type: 'ready' is not known here"),
    ({"type": "key", "down": True}, "key.keysym: is missing"),
    ({"type": "key", "keysym": 0, "down": True}, "key.keysym: must be within 1…536870911"),
    ({"type": "key", "keysym": True, "down": True}, "key.keysym: must be an integer"),
    ({"type": "key", "keysym": 65, "down": 1}, "key.down: must be true or false"),
    ({"type": "key", "keysym": 65, "down": True, "code": None}, "key.code: must be a string"),
    (
        {"type": "key", "keysym": 65, "down": True, "code": "x" * 33},
        "key.code: has 33 characters, over the limit of 32",
    ),
    ({"type": "motion", "x": 1, "y": 0, "scanout": 16}, "motion.scanout: must be within 0…15"),
    ({"type": "touch", "id": 16, "phase": "up", "x": 0, "y": 0}, "touch.id: must be within 0…15"),
    (
        {"type": "touch", "id": 0, "phase": "hover", "x": 0, "y": 0},
        "touch.phase: must be one of 'down', 'move', 'up', 'cancel'",
    ),
    ({"type": "text", "text": "x" * 4097}, "text.text: has 4097 characters, over the limit of 4096"),
    ({"type": "text", "text": "\ud800"}, "text.text: is not valid Unicode"),
    ({"type": "motion", "x": 1e999, "y": 0}, "motion.x: must be within ±1e+06"),
    ({"type": "motion", "x": 0, "y": 10**400}, "motion.y: must be within ±1e+06"),
    ({"type": "relative", "dx": "1", "dy": 0}, "relative.dx: must be a number"),
    ({"type": "button", "button": 4, "down": True}, "button.button: must be one of 1, 2, 3, 8, 9"),
    ({"type": "button", "button": True, "down": True}, "button.button: must be one of 1, 2, 3, 8, 9"),
    ({"type": "wheel", "dx": 0, "dy": float("nan")}, "wheel.dy: must be within ±1000"),
    ({"type": "clipboard", "text": "é" * 524289}, "clipboard.text: has 1048578 bytes, over the limit of 1048576"),
    ({"type": "clipboard", "text": None}, "clipboard.text: must be a string"),
]


def test_fields_with_a_default_may_be_left_out() -> None:
    parse = messages.STREAMER_TO_AGENT.parse
    assert parse({"type": "key", "keysym": 97, "down": True}) == messages.Key(97, True, "")
    assert parse({"type": "motion", "x": 1, "y": 2}) == messages.Motion(1.0, 2.0, 0)


@pytest.mark.parametrize(("accepts", "message"), GOOD, ids=lambda value: getattr(value, "type", ""))
def test_message_comes_back_as_it_went(accepts: MessageSet, message: Message) -> None:
    assert accepts.parse(json.loads(json.dumps(message.to_dict()))) == message


@pytest.mark.parametrize(("fields", "error"), BAD, ids=[error.split(" ")[0] for _, error in BAD])
def test_wrong_message_names_message_and_field(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(MessageError) as caught:
        messages.STREAMER_TO_AGENT.parse(fields)
    assert str(caught.value) == error


def test_signal_wants_an_object_and_metrics_numbers() -> None:
    with pytest.raises(MessageError, match=r"^signal\.message: must be an object$"):
        messages.GATEWAY_TO_STREAMER.parse({"type": "signal", "viewer": 1, "message": "x"})
    with pytest.raises(MessageError, match=r"^metrics\.values: must hold numbers only$"):
        messages.STREAMER_TO_GATEWAY.parse({"type": "metrics", "values": {"a": "1"}})
    with pytest.raises(MessageError, match=r"^viewer_opened\.role: must be one of 'control', 'view'$"):
        messages.GATEWAY_TO_STREAMER.parse({"type": "viewer_opened", "viewer": 1, "role": "root"})
