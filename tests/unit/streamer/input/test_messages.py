# SPDX-License-Identifier: Apache-2.0
"""Data-channel messages: good ones, wrong ones by name, and anything at all."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from guest_agent.messages import MessageError
from streamer.input.messages import (
    MAX_CLIPBOARD_PART_CHARACTERS,
    MAX_MESSAGE_BYTES,
    AudioRequest,
    ButtonInput,
    ClipboardInput,
    ClipboardParts,
    KeyInput,
    MotionInput,
    Ping,
    PlacedButtonInput,
    ResizeRequest,
    clipboard_parts,
    parse_client_message,
)

GOOD: list[tuple[str, dict[str, Any], object]] = [
    ("motion", {"type": "motion", "seq": 1, "x": 1.5, "y": -2}, MotionInput(1, 1.5, -2.0)),
    ("control", {"type": "key", "key": "a", "down": True}, KeyInput("a", "", 0, True)),
    ("control", {"type": "button", "button": 1, "down": False}, ButtonInput(1, False)),
    ("control", {"type": "button", "button": 1, "down": True, "x": 3, "y": 4}, PlacedButtonInput(1, True, 3.0, 4.0)),
    ("control", {"type": "button", "button": 1, "down": True, "x": None, "y": None}, ButtonInput(1, True)),
    ("control", {"type": "clipboard", "text": "é"}, ClipboardInput("é", False)),
    ("control", {"type": "resize", "width": 800, "height": 600}, ResizeRequest(800, 600)),
    ("control", {"type": "ping", "t": 12.25}, Ping(12.25)),
    ("control", {"type": "audio", "on": True}, AudioRequest(True)),
]


@pytest.mark.parametrize(("label", "fields", "message"), GOOD)
def test_good_messages(label: str, fields: dict[str, Any], message: object) -> None:
    assert parse_client_message(label, json.dumps(fields)) == message


@pytest.mark.parametrize(
    ("label", "data", "field"),
    [
        ("control", b"{}", "message"),
        ("control", "", "message"),
        ("control", "[]", "message"),
        ("control", "[" * 100_000, "message"),
        ("control", "x" * (MAX_MESSAGE_BYTES + 1), "message"),
        ("control", "{}", "message.type"),
        ("control", '{"type": "motion", "seq": 1, "x": 1, "y": 1}', "message.type"),
        ("motion", '{"type": "key", "key": "a", "down": true}', "message.type"),
        ("motion", '{"type": "motion", "seq": -1, "x": 1, "y": 1}', "motion.seq"),
        ("motion", '{"type": "motion", "seq": 1, "x": NaN, "y": 1}', "motion.x"),
        ("motion", '{"type": "motion", "seq": 1, "x": 1e999, "y": 1}', "motion.x"),
        ("control", '{"type": "key", "key": "a"}', "key.down"),
        ("control", '{"type": "key", "key": "a", "down": 1}', "key.down"),
        ("control", '{"type": "key", "key": "a", "down": true, "location": 9}', "key.location"),
        ("control", '{"type": "key", "key": "\\ud800", "down": true}', "key.key"),
        ("control", '{"type": "button", "button": 4, "down": true}', "button.button"),
        ("control", '{"type": "button", "button": 1, "down": true, "x": 1}', "button.y"),
        ("control", '{"type": "resize", "width": 0, "height": 5}', "resize.width"),
        ("control", '{"type": "wheel", "dx": 1e9, "dy": 0}', "wheel.dx"),
        ("control", '{"type": "audio"}', "audio.on"),
        ("control", '{"type": "touch", "id": 16, "phase": "down", "x": 1, "y": 1}', "touch.id"),
        ("control", '{"type": "touch", "id": 1, "phase": "", "x": 1, "y": 1}', "touch.phase"),
        ("motion", '{"type": "touch", "id": 1, "phase": "move", "x": 1, "y": 1}', "message.type"),
        ("control", '{"type": "audio", "on": 1}', "audio.on"),
        ("motion", '{"type": "audio", "on": true}', "message.type"),
    ],
)
def test_wrong_messages_are_named(label: str, data: str | bytes, field: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_client_message(label, data)
    assert str(caught.value).startswith(f"{field}:")


def test_anything_else_raises_the_same_error_only() -> None:
    rng = random.Random(3)
    values: list[Any] = [None, True, -1, 0, 2**70, 1.5, 1e308, "", "x" * 100, [], {}, "\ud800", "0"]
    names = [
        "type",
        "seq",
        "x",
        "y",
        "key",
        "code",
        "location",
        "down",
        "text",
        "button",
        "dx",
        "dy",
        "more",
        "t",
        "on",
        "id",
        "phase",
    ]
    kinds = [fields["type"] for _, fields, _ in GOOD] + [
        "relative",
        "touch",
        "text",
        "wheel",
        "presented",
        "keyframe",
        "nope",
    ]
    for _ in range(20_000):
        fields = {rng.choice(names): rng.choice(values) for _ in range(rng.randrange(8))}
        fields["type"] = rng.choice(kinds)
        data = json.dumps(fields)
        if rng.random() < 0.3:
            cut = rng.randrange(len(data))
            data = data[:cut] + chr(rng.randrange(0x300)) + data[cut + 1 :]
        try:
            parse_client_message(rng.choice(("control", "motion")), data)
        except MessageError:
            pass


@pytest.mark.parametrize(
    "text", ["", "short", "x" * MAX_CLIPBOARD_PART_CHARACTERS, "\u0001é😀" * 50_000, "\u0001" * 50_000]
)
def test_a_clipboard_survives_its_parts(text: str) -> None:
    parts = ClipboardParts(2_000_000)
    whole = None
    for fields in clipboard_parts(text):
        data = json.dumps(fields, ensure_ascii=False)
        assert len(data.encode()) <= MAX_MESSAGE_BYTES
        assert whole is None
        message = parse_client_message("control", data)
        assert isinstance(message, ClipboardInput)
        whole = parts.add(message)
    assert whole == text


def test_a_clipboard_without_end_is_refused_and_forgotten() -> None:
    parts = ClipboardParts(100_000)
    with pytest.raises(MessageError, match=r"clipboard\.text"):
        for _ in range(100):
            parts.add(ClipboardInput("x" * 5000, more=True))
    with pytest.raises(MessageError, match=r"clipboard\.text"):
        for _ in range(1000):
            parts.add(ClipboardInput("", more=True))
    assert parts.add(ClipboardInput("fine", more=False)) == "fine"
