# SPDX-License-Identifier: Apache-2.0
"""One viewer's input: its client messages become the agent's. No I/O."""

from __future__ import annotations

from guest_agent.messages import MAX_CLIPBOARD_BYTES, MAX_POSITION, Clipboard, Message, Motion, Relative, Text, Wheel
from streamer.input.held import HeldInput
from streamer.input.messages import (
    ButtonInput,
    ClipboardInput,
    ClipboardParts,
    Input,
    KeyInput,
    MotionInput,
    PlacedButtonInput,
    RelativeInput,
    ReleaseAllInput,
    TextInput,
    TouchInput,
    WheelInput,
)
from streamer.input.touches import HeldTouches, TouchIds


class ViewerInput:
    """Keeps what a viewer holds, where its relative motion stood, and parts of its clipboard.

    `scanout` is the output that the viewer watches: its places are that one's pixels.
    """

    __slots__ = ("_clipboard", "_held", "_last_seq", "_relative_x", "_relative_y", "_touches", "scanout")

    def __init__(self, touch_ids: TouchIds | None = None) -> None:
        self.scanout = 0
        self._held = HeldInput()
        self._touches = HeldTouches(touch_ids or TouchIds())
        self._clipboard = ClipboardParts(MAX_CLIPBOARD_BYTES)
        self.reset_motion()

    def reset_motion(self) -> None:
        """A new motion channel begins to count."""
        self._last_seq = -1
        self._relative_x = self._relative_y = 0.0

    def translate(self, message: Input) -> list[Message]:
        """Return what the agent is to be told.

        Raises:
            MessageError: a clipboard is too long.
        """
        match message:
            case MotionInput():
                return [Motion(message.x, message.y, self.scanout)] if self._is_newer(message.seq) else []
            case RelativeInput():
                return self._relative(message)
            case KeyInput():
                return self._held.key(message)
            case TextInput():
                return [Text(message.text)] if message.text else []
            case PlacedButtonInput():
                place = Motion(message.x, message.y, self.scanout)
                return [place, *self._held.button(message.button, message.down)]
            case ButtonInput():
                return self._held.button(message.button, message.down)
            case TouchInput():
                return self._touches.touch(message, self.scanout)
            case WheelInput():
                return [Wheel(message.dx, message.dy)]
            case ReleaseAllInput():
                return self.release_all()
            case ClipboardInput():
                text = self._clipboard.add(message)
                return [] if text is None else [Clipboard(text)]

    def release_all(self) -> list[Message]:
        """Return what releases all that the viewer holds."""
        return [*self._touches.release_all(), *self._held.release_all()]

    def _is_newer(self, seq: int) -> bool:
        if seq <= self._last_seq:
            return False
        self._last_seq = seq
        return True

    def _relative(self, message: RelativeInput) -> list[Message]:
        if not self._is_newer(message.seq):
            return []
        dx, dy = message.x - self._relative_x, message.y - self._relative_y
        self._relative_x, self._relative_y = message.x, message.y
        if abs(dx) > MAX_POSITION or abs(dy) > MAX_POSITION or not (dx or dy):
            return []
        return [Relative(dx, dy)]
