# SPDX-License-Identifier: Apache-2.0
"""The machine, to the streamer's messages: its input, its clipboard, what the streamer is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from guest_agent.messages import Clipboard, Message, Pointer, Shown, Sound
from guest_agent.streamer_server import Send
from guest_agent.vm.dbus_clipboard import DBusClipboard
from guest_agent.vm.input_channel import MachineInput
from guest_agent.vm.port import AgentPort


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


class MachineClipboard:
    """The guest's clipboard, by our agent inside the machine where there is one, else by QEMU's. Loop thread only.

    Attributes:
        guest_text: what the guest has copied last; empty: nothing that is known.
    """

    def __init__(self, handle_guest_text: Callable[[str], None]) -> None:
        self.guest_text = ""
        self._handle_guest_text = handle_guest_text
        self._port: AgentPort | None = None
        self._by_qemu: DBusClipboard | None = None

    def open_port(self, path: Path) -> AgentPort:
        """Return the port to our agent; the caller runs it."""
        self._port = AgentPort(path, self._take)
        return self._port

    def open_by_qemu(self) -> DBusClipboard:
        """Return QEMU's clipboard, for agents of others (spice-vdagent); the caller runs it."""
        self._by_qemu = DBusClipboard(self._take_by_qemu)
        return self._by_qemu

    def set_text(self, text: str) -> None:
        """Offer a viewer's text to the guest's programs; lost where no agent takes it."""
        self.guest_text = ""
        if self._port is not None:
            self._port.set_text(text)
        if self._by_qemu is not None and not self._has_agent:
            self._by_qemu.set_text(text)

    @property
    def _has_agent(self) -> bool:
        return self._port is not None and self._port.is_present

    def _take_by_qemu(self, text: str) -> None:
        # Two agents in one guest would hear each other, for ever.
        if not self._has_agent:
            self._take(text)

    def _take(self, text: str) -> None:
        self.guest_text = text
        self._handle_guest_text(text)


class MachineGuest:
    """A `streamer_server.Guest`; loop thread only."""

    def __init__(
        self,
        machine_input: MachineInput,
        sizes: ShownSizes,
        clipboard: MachineClipboard,
        has_sound: Callable[[], bool] | None,
    ) -> None:
        """`has_sound`: None when the session has no sound at all."""
        self._input = machine_input
        self._sizes = sizes
        self._clipboard = clipboard
        self._has_sound = has_sound

    def greet(self, send: Send) -> None:
        send(Pointer(self._input.takes_touch))
        if self._has_sound is not None:
            send(Sound(self._has_sound()))
        if self._clipboard.guest_text:
            send(Clipboard(self._clipboard.guest_text))

    async def handle_input(self, message: Message) -> None:
        match message:
            case Shown():
                self._sizes.note(message)
            case Clipboard(text):
                self._clipboard.set_text(text)
            case _:
                await self._input.put(message)

    def reset(self) -> None:
        self._input.reset()
