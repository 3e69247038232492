# SPDX-License-Identifier: Apache-2.0
"""The guest's mouse: Xorg's inputtest driver where there is one (smooth wheel), XTEST else (whole notches)."""

from __future__ import annotations

import logging
import select
import socket
from pathlib import Path
from typing import Protocol

from guest_agent import inputtest
from guest_agent.x_connection import XConnection

SYNC_SECONDS = 0.5
# The driver's socket buffer holds many events; a server that takes none for so long is stuck.
SEND_SECONDS = 1.0

_BUTTON_PRESS, _BUTTON_RELEASE, _MOTION = 4, 5, 6
_WHEEL_UP, _WHEEL_DOWN, _WHEEL_LEFT, _WHEEL_RIGHT = 4, 5, 6, 7

_log = logging.getLogger(__name__)


class PointerDevice(Protocol):
    """A mouse. Nothing here waits longer than a moment; errors are logged."""

    def move_to(self, x: float, y: float) -> None:
        """Go to a place in pixels of the screen."""

    def move_by(self, dx: float, dy: float) -> None:
        """Move by pixels."""

    def button(self, number: int, *, down: bool) -> None:
        """Press or release an X button."""

    def wheel(self, dx: float, dy: float) -> None:
        """Turn the wheel by notches, positive right and down."""

    def sync(self) -> None:
        """Wait until the server has taken all of it in."""

    def close(self) -> None:
        """End the use of the device. May be called twice."""


class InputtestPointer:
    """A mouse of the inputtest driver.

    Its connection stays open as long as the server lives: the driver spins when its client leaves.
    """

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(SEND_SECONDS)
            self._sock.connect(str(path))
            self._received = b""
            self._send(inputtest.client_version())
            if not self._wait_for(inputtest.RESPONSE_VERSION):
                raise OSError("the inputtest driver does not answer")
        except (OSError, ValueError):
            self._sock.close()
            raise

    def move_to(self, x: float, y: float) -> None:
        self._send(inputtest.motion({inputtest.AXIS_X: x, inputtest.AXIS_Y: y}, absolute=True))

    def move_by(self, dx: float, dy: float) -> None:
        self._send(inputtest.motion({inputtest.AXIS_X: dx, inputtest.AXIS_Y: dy}, absolute=False))

    def button(self, number: int, *, down: bool) -> None:
        self._send(inputtest.button(number, down=down))

    def wheel(self, dx: float, dy: float) -> None:
        axes = {inputtest.AXIS_SCROLL_X: dx, inputtest.AXIS_SCROLL_Y: dy}
        turned = {axis: notches * inputtest.SCROLL_UNITS_PER_NOTCH for axis, notches in axes.items() if notches}
        if turned:
            self._send(inputtest.motion(turned, absolute=False))

    def sync(self) -> None:
        self._send(inputtest.wait_for_sync())
        if not self._wait_for(inputtest.RESPONSE_SYNC_FINISHED):
            _log.debug("the pointer did not synchronise in time")

    def _send(self, event: bytes) -> None:
        try:
            self._sock.sendall(event)
        except OSError as error:
            _log.warning("a pointer event is lost: %s", error)

    def _wait_for(self, wanted: int) -> bool:
        while True:
            kind, self._received = inputtest.parse_response(self._received)
            if kind == wanted:
                return True
            if kind is not None:
                continue
            if not select.select([self._sock], [], [], SYNC_SECONDS)[0]:
                return False
            try:
                data = self._sock.recv(4096)
            except OSError:
                data = b""
            if not data:
                return False
            self._received += data

    def close(self) -> None:
        self._sock.close()


class XtestPointer:
    """A mouse by XTEST, whose wheel moves by whole notches: parts of one are added up."""

    def __init__(self, x: XConnection) -> None:
        self._x = x
        self._xtest = x.extension("xtest")
        self._turned_x = self._turned_y = 0.0
        self._moved_x = self._moved_y = 0.0

    def move_to(self, x: float, y: float) -> None:
        self._moved_x = self._moved_y = 0.0
        self._fake(_MOTION, 0, int(x), int(y))

    def move_by(self, dx: float, dy: float) -> None:
        self._moved_x += dx
        self._moved_y += dy
        whole_x, whole_y = int(self._moved_x), int(self._moved_y)
        self._moved_x -= whole_x
        self._moved_y -= whole_y
        self._fake(_MOTION, 1, whole_x, whole_y)

    def button(self, number: int, *, down: bool) -> None:
        self._fake(_BUTTON_PRESS if down else _BUTTON_RELEASE, number)

    def wheel(self, dx: float, dy: float) -> None:
        self._turned_x = self._turn(self._turned_x + dx, _WHEEL_LEFT, _WHEEL_RIGHT)
        self._turned_y = self._turn(self._turned_y + dy, _WHEEL_UP, _WHEEL_DOWN)

    def _turn(self, notches: float, negative: int, positive: int) -> float:
        whole = int(notches)
        for _ in range(min(abs(whole), 100)):
            self.button(positive if whole > 0 else negative, down=True)
            self.button(positive if whole > 0 else negative, down=False)
        return notches - whole

    def sync(self) -> None:
        self._x.reply(self._x.core.GetInputFocus())

    def _fake(self, kind: int, detail: int, x: int = 0, y: int = 0) -> None:
        limits = (min(max(value, -32768), 32767) for value in (x, y))
        self._xtest.FakeInput(kind, detail, 0, 0, *limits, 0)
        self._x.flush()

    def close(self) -> None:
        pass


def open_pointer(x: XConnection, socket_path: Path | None) -> PointerDevice:
    """Return the best mouse that the server has."""
    if socket_path is not None:
        try:
            return InputtestPointer(socket_path)
        except (OSError, ValueError) as error:
            _log.warning("the inputtest driver cannot be used (%s): the wheel moves by whole notches", error)
    return XtestPointer(x)
