# SPDX-License-Identifier: Apache-2.0
"""The messages of the JSON links (`docs/protocol/agent-link.md`), each a frozen dataclass with checked fields. No I/O.

A `type` may mean different messages on different links, so each receiving end has its MessageSet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guest_agent.message_fields import boolean, choice, integer, mapping, number, numbers, string

MAX_TEXT_CHARACTERS = 4096
MAX_CLIPBOARD_BYTES = 1_048_576
# Far beyond any screen (16384); keeps sums of positions exact.
MAX_POSITION = 1_000_000
MAX_NOTCHES = 1000
MAX_VIEWER = 2**53 - 1
MAX_CODE_CHARACTERS = 32
MAX_SCANOUT = 15
MAX_TOUCH = 15
MAX_SIDE = 16384
# Of the port to an agent inside a virtual machine.
PORT_VERSION = 1


class MessageError(ValueError):
    """A message is wrong; the text names message and field."""


class Message:
    """What all messages have."""

    __slots__ = ()
    type: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, `type` first."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"type": self.type} | {field.name: getattr(self, field.name) for field in fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Message:
        """Check every field; fields that are not known are ignored.

        Raises:
            MessageError: a field is missing or wrong.
        """
        values = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name not in fields:
                if field.default is not dataclasses.MISSING:
                    continue
                raise MessageError(f"{cls.type}.{field.name}: is missing")
            try:
                values[field.name] = field.metadata["check"](fields[field.name])
            except ValueError as error:
                raise MessageError(f"{cls.type}.{field.name}: {error}") from None
        return cls(**values)


class MessageSet:
    """The messages that one end of a link takes; `error` is always one of them."""

    __slots__ = ("_classes",)

    def __init__(self, *classes: type[Message]) -> None:
        known: tuple[type[Message], ...] = (*classes, Error)
        self._classes = {cls.type: cls for cls in known}

    def parse(self, fields: Mapping[str, Any]) -> Message:
        """Return the checked message.

        Raises:
            MessageError: the type is not known here, or a field is wrong.
        """
        kind = fields.get("type")
        if not isinstance(kind, str):
            raise MessageError("message.type: must be a string")
        cls = self._classes.get(kind)
        if cls is None:
            # The name is the peer's: show only a harmless start of it.
            raise MessageError(f"message.type: {kind[:32]!a} is not known here")
        return cls.from_dict(fields)


@dataclass(frozen=True, slots=True)
class Error(Message):
    """Says what was wrong with a message of the receiver's, or of its work."""

    type: ClassVar[str] = "error"
    message: str = string(max_characters=4096)


# Streamer ↔ agent


@dataclass(frozen=True, slots=True)
class Key(Message):
    """A key by its X keysym, and by its place on the keyboard (KeyboardEvent.code, "" where that is not known)."""

    type: ClassVar[str] = "key"
    keysym: int = integer(1, 0x1FFFFFFF)
    down: bool = boolean()
    code: str = string(max_characters=MAX_CODE_CHARACTERS, default="")


@dataclass(frozen=True, slots=True)
class Text(Message):
    """Text that is typed as if by keys."""

    type: ClassVar[str] = "text"
    text: str = string(max_characters=MAX_TEXT_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Motion(Message):
    """The pointer's place in pixels of the guest's screen that `scanout` shows; the agent clamps it."""

    type: ClassVar[str] = "motion"
    x: float = number(MAX_POSITION)
    y: float = number(MAX_POSITION)
    scanout: int = integer(0, MAX_SCANOUT, default=0)


@dataclass(frozen=True, slots=True)
class Relative(Message):
    """The pointer's movement in pixels."""

    type: ClassVar[str] = "relative"
    dx: float = number(MAX_POSITION)
    dy: float = number(MAX_POSITION)


@dataclass(frozen=True, slots=True)
class Button(Message):
    """A mouse button: 1 left, 2 middle, 3 right, 8 back, 9 forward."""

    type: ClassVar[str] = "button"
    button: int = choice(1, 2, 3, 8, 9)
    down: bool = boolean()


@dataclass(frozen=True, slots=True)
class Wheel(Message):
    """Wheel movement in notches; positive is right and down."""

    type: ClassVar[str] = "wheel"
    dx: float = number(MAX_NOTCHES)
    dy: float = number(MAX_NOTCHES)


@dataclass(frozen=True, slots=True)
class Touch(Message):
    """A finger on the screen that `scanout` shows: `id` is the finger's from "down" to "up" or "cancel"."""

    type: ClassVar[str] = "touch"
    id: int = integer(0, MAX_TOUCH)
    phase: str = choice("down", "move", "up", "cancel")
    x: float = number(MAX_POSITION)
    y: float = number(MAX_POSITION)
    scanout: int = integer(0, MAX_SCANOUT, default=0)


@dataclass(frozen=True, slots=True)
class ReleaseAll(Message):
    """Release every key, button and finger that is held."""

    type: ClassVar[str] = "release_all"


@dataclass(frozen=True, slots=True)
class Clipboard(Message):
    """The clipboard's new text."""

    type: ClassVar[str] = "clipboard"
    text: str = string(max_bytes=MAX_CLIPBOARD_BYTES)


@dataclass(frozen=True, slots=True)
class Sound(Message):
    """Whether the session has sound that can be listened to, at the sound socket."""

    type: ClassVar[str] = "sound"
    available: bool = boolean()


@dataclass(frozen=True, slots=True)
class Shown(Message):
    """The size in which a scanout is shown, in pixels; 0×0: nothing is. Positions are in these pixels."""

    type: ClassVar[str] = "shown"
    scanout: int = integer(0, MAX_SCANOUT)
    width: int = integer(0, MAX_SIDE)
    height: int = integer(0, MAX_SIDE)


@dataclass(frozen=True, slots=True)
class Pointer(Message):
    """What the guest takes besides the mouse. Without this message: no touch."""

    type: ClassVar[str] = "pointer"
    touch: bool = boolean()


# VM agent ↔ the agent inside the virtual machine


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Who begins says it with `reply` false, and hears it with `reply` true."""

    type: ClassVar[str] = "hello"
    version: int = integer(1, 0xFFFF)
    reply: bool = boolean()


@dataclass(frozen=True, slots=True)
class Size(Message):
    """An output's wanted size in pixels; 0×0: it is not looked at."""

    type: ClassVar[str] = "size"
    scanout: int = integer(0, MAX_SCANOUT)
    width: int = integer(0, MAX_SIDE)
    height: int = integer(0, MAX_SIDE)


@dataclass(frozen=True, slots=True)
class HostTime(Message):
    """The host's clock: ns since 1970, UTC."""

    type: ClassVar[str] = "time"
    unix_ns: int = integer(0, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Clock(Message):
    """How far the guest's clock was behind the host's, and whether it was set right."""

    type: ClassVar[str] = "clock"
    behind_ms: float = number(1e15)
    was_set: bool = boolean()


# Gateway ↔ its children


@dataclass(frozen=True, slots=True)
class AgentReady(Message):
    """The guest's screen is up and its first frame was handed over."""

    type: ClassVar[str] = "ready"
    display: str = string(max_characters=64)


@dataclass(frozen=True, slots=True)
class Exited(Message):
    """The guest program ended; 128 + n for a signal."""

    type: ClassVar[str] = "exited"
    code: int = integer(0, 255)


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """End in order."""

    type: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True)
class WorkerReady(Message):
    """The render worker serves; what it runs on."""

    type: ClassVar[str] = "ready"
    device: str = string(max_characters=256)
    kind: str = choice("cpu", "gpu")
    convert: str = string(max_characters=64)
    venus: bool = boolean()


@dataclass(frozen=True, slots=True)
class Graphics(Message):
    """What the render worker's device is, and whether it executes guest programs' graphics."""

    type: ClassVar[str] = "graphics"
    kind: str = choice("cpu", "gpu")
    venus: bool = boolean()


@dataclass(frozen=True, slots=True)
class StreamerReady(Message):
    """The streamer serves; the encoder that it found."""

    type: ClassVar[str] = "ready"
    encoder: str = string(max_characters=256)


@dataclass(frozen=True, slots=True)
class ViewerOpened(Message):
    """A viewer's WebSocket is open. `viewer` is never used twice."""

    type: ClassVar[str] = "viewer_opened"
    viewer: int = integer(0, MAX_VIEWER)
    role: str = choice("control", "view")


@dataclass(frozen=True, slots=True)
class Signal(Message):
    """A signalling message of `client.md` from or to a viewer; the streamer checks what is in it."""

    type: ClassVar[str] = "signal"
    viewer: int = integer(0, MAX_VIEWER)
    message: dict[str, Any] = mapping()  # noqa: RUF009  (makes a dataclass field)


@dataclass(frozen=True, slots=True)
class ViewerClosed(Message):
    """A viewer's WebSocket is gone."""

    type: ClassVar[str] = "viewer_closed"
    viewer: int = integer(0, MAX_VIEWER)


@dataclass(frozen=True, slots=True)
class CloseViewer(Message):
    """The gateway shall close this viewer's WebSocket with `code` and `reason`."""

    type: ClassVar[str] = "close_viewer"
    viewer: int = integer(0, MAX_VIEWER)
    code: int = integer(1000, 4999)
    # A WebSocket close frame has room for 123 bytes.
    reason: str = string(max_bytes=123)


@dataclass(frozen=True, slots=True)
class MetricsRequest(Message):
    """The gateway wants the streamer's numbers."""

    type: ClassVar[str] = "metrics"


@dataclass(frozen=True, slots=True)
class Metrics(Message):
    """The streamer's numbers, by name."""

    type: ClassVar[str] = "metrics"
    values: dict[str, float] = numbers()  # noqa: RUF009  (makes a dataclass field)


STREAMER_TO_AGENT = MessageSet(Key, Text, Motion, Relative, Button, Wheel, Touch, ReleaseAll, Clipboard, Shown)
AGENT_TO_STREAMER = MessageSet(Clipboard, Sound, Pointer)
HOST_TO_GUEST = MessageSet(Hello, Clipboard, Size, HostTime)
GUEST_TO_HOST = MessageSet(Hello, Clipboard, Clock)
GATEWAY_TO_AGENT = MessageSet(Graphics, Stop)
AGENT_TO_GATEWAY = MessageSet(AgentReady, Exited)
GATEWAY_TO_WORKER = MessageSet()
WORKER_TO_GATEWAY = MessageSet(WorkerReady)
GATEWAY_TO_STREAMER = MessageSet(ViewerOpened, Signal, ViewerClosed, MetricsRequest, Stop)
STREAMER_TO_GATEWAY = MessageSet(StreamerReady, Signal, CloseViewer, Metrics)
