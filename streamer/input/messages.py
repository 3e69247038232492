# SPDX-License-Identifier: Apache-2.0
"""The client's messages on the data channels (`docs/protocol/client.md`), each a frozen dataclass. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guest_agent.message_fields import boolean, choice, integer, number, string
from guest_agent.messages import (
    MAX_NOTCHES,
    MAX_POSITION,
    MAX_TEXT_CHARACTERS,
    MAX_TOUCH,
    Message,
    MessageError,
    MessageSet,
)

# What SCTP stacks take as one message.
MAX_MESSAGE_BYTES = 262_144
# A longer clipboard goes in parts of this; JSON makes at most 6 bytes of a character.
MAX_CLIPBOARD_PART_CHARACTERS = 32_768
MAX_COUNT = 2**53 - 1
# Cumulative sums grow as long as a session lasts.
MAX_SUM = 1e12
MAX_MILLISECONDS = 1e13


class ClientMessage(Message):
    """A message whose fields may have defaults."""

    __slots__ = ()
    DEFAULTS: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Message:
        return super().from_dict({**cls.DEFAULTS, **fields})


@dataclass(frozen=True, slots=True)
class MotionInput(ClientMessage):
    """The pointer's place in the guest's pixels."""

    type: ClassVar[str] = "motion"
    seq: int = integer(0, MAX_COUNT)
    x: float = number(MAX_POSITION)
    y: float = number(MAX_POSITION)


@dataclass(frozen=True, slots=True)
class RelativeInput(ClientMessage):
    """Pointer movement, summed since the channel opened."""

    type: ClassVar[str] = "relative"
    seq: int = integer(0, MAX_COUNT)
    x: float = number(MAX_SUM)
    y: float = number(MAX_SUM)


@dataclass(frozen=True, slots=True)
class KeyInput(ClientMessage):
    """A KeyboardEvent."""

    type: ClassVar[str] = "key"
    DEFAULTS: ClassVar[Mapping[str, Any]] = {"code": "", "location": 0}
    key: str = string(max_characters=32)
    code: str = string(max_characters=32)
    location: int = integer(0, 3)
    down: bool = boolean()


@dataclass(frozen=True, slots=True)
class TextInput(ClientMessage):
    """Composed text."""

    type: ClassVar[str] = "text"
    text: str = string(max_characters=MAX_TEXT_CHARACTERS)


@dataclass(frozen=True, slots=True)
class ButtonInput(ClientMessage):
    """A mouse button, and where the pointer is (not under pointer lock: then x and y are left out)."""

    type: ClassVar[str] = "button"
    button: int = choice(1, 2, 3, 8, 9)
    down: bool = boolean()


@dataclass(frozen=True, slots=True)
class PlacedButtonInput(ClientMessage):
    """A `button` message that carries the pointer's place."""

    type: ClassVar[str] = "button"
    button: int = choice(1, 2, 3, 8, 9)
    down: bool = boolean()
    x: float = number(MAX_POSITION)
    y: float = number(MAX_POSITION)


@dataclass(frozen=True, slots=True)
class TouchInput(ClientMessage):
    """A finger, in the guest's pixels; `id` is the viewer's own number for it."""

    type: ClassVar[str] = "touch"
    id: int = integer(0, MAX_TOUCH)
    phase: str = choice("down", "move", "up", "cancel")
    x: float = number(MAX_POSITION)
    y: float = number(MAX_POSITION)


@dataclass(frozen=True, slots=True)
class WheelInput(ClientMessage):
    """Wheel movement in notches; positive is right and down."""

    type: ClassVar[str] = "wheel"
    dx: float = number(MAX_NOTCHES)
    dy: float = number(MAX_NOTCHES)


@dataclass(frozen=True, slots=True)
class ReleaseAllInput(ClientMessage):
    """Everything this viewer holds is released."""

    type: ClassVar[str] = "release_all"


@dataclass(frozen=True, slots=True)
class ClipboardInput(ClientMessage):
    """The viewer's clipboard, or a part of it while `more`."""

    type: ClassVar[str] = "clipboard"
    DEFAULTS: ClassVar[Mapping[str, Any]] = {"more": False}
    text: str = string(max_bytes=MAX_MESSAGE_BYTES)
    more: bool = boolean()


@dataclass(frozen=True, slots=True)
class ResizeRequest(ClientMessage):
    """The screen's size that the viewer wants, in its device's pixels; clamped later."""

    type: ClassVar[str] = "resize"
    width: int = integer(1, 1_000_000)
    height: int = integer(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Ping(ClientMessage):
    """Answered with `pong`; `t` is the client's clock in ms."""

    type: ClassVar[str] = "ping"
    t: float = number(MAX_MILLISECONDS)


@dataclass(frozen=True, slots=True)
class Presented(ClientMessage):
    """When a frame was received and shown, client's clock in ms."""

    type: ClassVar[str] = "presented"
    rtp: int = integer(0, 2**32 - 1)
    receive_ms: float = number(MAX_MILLISECONDS)
    present_ms: float = number(MAX_MILLISECONDS)


@dataclass(frozen=True, slots=True)
class KeyframeRequest(ClientMessage):
    """The viewer wants a keyframe."""

    type: ClassVar[str] = "keyframe"


@dataclass(frozen=True, slots=True)
class AudioRequest(ClientMessage):
    """The viewer wants to hear the guest, or no longer."""

    type: ClassVar[str] = "audio"
    on: bool = boolean()


Input = (
    MotionInput
    | RelativeInput
    | KeyInput
    | TextInput
    | ButtonInput
    | PlacedButtonInput
    | TouchInput
    | WheelInput
    | ReleaseAllInput
    | ClipboardInput
)


def is_motion(message: Input) -> bool:
    """Whether it only moves something: nobody has pressed anything."""
    return isinstance(message, MotionInput | RelativeInput) or (
        isinstance(message, TouchInput) and message.phase == "move"
    )


_MOTION = MessageSet(MotionInput, RelativeInput)
_CONTROL = MessageSet(
    KeyInput,
    TextInput,
    ButtonInput,
    TouchInput,
    WheelInput,
    ReleaseAllInput,
    ClipboardInput,
    ResizeRequest,
    Ping,
    Presented,
    KeyframeRequest,
    AudioRequest,
)


def parse_client_message(label: str, data: str | bytes) -> Message:
    """Check a message of the "control" or "motion" channel.

    Raises:
        MessageError: it is wrong; the text names message and field.
    """
    if not isinstance(data, str):
        raise MessageError("message: must be text")
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message: is over the limit of {MAX_MESSAGE_BYTES} bytes")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise MessageError("message: is not JSON") from None
    if not isinstance(fields, dict):
        raise MessageError("message: is not a JSON object")
    if label == "motion":
        return _MOTION.parse(fields)
    if fields.get("type") == "button" and (fields.get("x") is not None or fields.get("y") is not None):
        return PlacedButtonInput.from_dict(fields)
    return _CONTROL.parse(fields)


class ClipboardParts:
    """Puts a clipboard text together that came in parts."""

    __slots__ = ("_limit_bytes", "_parts", "_size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[str] = []
        self._size_bytes = 0

    def add(self, part: ClipboardInput) -> str | None:
        """Return the whole text when `part` was its last.

        Raises:
            MessageError: the text is too long; what came of it is forgotten.
        """
        self._size_bytes += len(part.text.encode())
        self._parts.append(part.text)
        if self._size_bytes > self._limit_bytes or len(self._parts) > self._limit_bytes // 1024:
            self._parts.clear()
            self._size_bytes = 0
            raise MessageError(f"clipboard.text: is over the limit of {self._limit_bytes} bytes")
        if part.more:
            return None
        text = "".join(self._parts)
        self._parts.clear()
        self._size_bytes = 0
        return text


def clipboard_parts(text: str) -> list[dict[str, Any]]:
    """Return the `clipboard` messages that carry `text`."""
    size = MAX_CLIPBOARD_PART_CHARACTERS
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)] or [""]
    messages: list[dict[str, Any]] = [{"type": "clipboard", "text": piece, "more": True} for piece in pieces]
    del messages[-1]["more"]
    return messages
