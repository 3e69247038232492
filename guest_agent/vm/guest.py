# SPDX-License-Identifier: Apache-2.0
"""The machine, to the streamer's messages: its input, its clipboard, what the streamer is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from guest_agent.messages import Clipboard, Message, Pointer, Shown, Sound
from guest_agent.streamer_server import Send
from guest_agent.vm.input_channel import MachineInput


class ClipboardPort(Protocol):
    """A way to the guest's clipboard."""

    @property
    def guest_text(self) -> str:
        """What the guest has copied; empty: nothing that is known."""

    def set_text(self, text: str) -> None:
        """Offer a viewer's text to the guest; lost where nobody takes it."""


class ShownSizes:
    """What the scanouts show, as the streamer says."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []

    def note(self, shown: Shown) -> None:
        missing = shown.scanout + 1 - len(self._sizes)
        self._sizes += [(0, 0)] * missing
        self._sizes[shown.scanout] = (shown.width, shown.height)

    def __call__(self) -> Sequence[tuple[int, int]]:
        return self._sizes


class MachineGuest:
    """A `streamer_server.Guest`; loop thread only."""

    def __init__(
        self,
        machine_input: MachineInput,
        sizes: ShownSizes,
        clipboards: Sequence[ClipboardPort],
        has_sound: Callable[[], bool] | None,
    ) -> None:
        """`has_sound`: None when the session has no sound at all."""
        self._input = machine_input
        self._sizes = sizes
        self._clipboards = clipboards
        self._has_sound = has_sound

    def greet(self, send: Send) -> None:
        send(Pointer(self._input.takes_touch))
        if self._has_sound is not None:
            send(Sound(self._has_sound()))
        for clipboard in self._clipboards:
            if clipboard.guest_text:
                send(Clipboard(clipboard.guest_text))

    async def handle_input(self, message: Message) -> None:
        match message:
            case Shown():
                self._sizes.note(message)
            case Clipboard(text):
                for clipboard in self._clipboards:
                    clipboard.set_text(text)
            case _:
                await self._input.put(message)

    def reset(self) -> None:
        self._input.reset()
