# SPDX-License-Identifier: Apache-2.0
"""A guest program that fills the screen, tells a test what it gets, and does what the test says.

`python -m tests.support.guest_programs.observer SOCKET`; both directions are JSON, a line a message.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import xcffib.xfixes
from xcffib import xproto

from bench.guest_programs.window import BLACK, WHITE, Window

# Name, colour; drawn as squares from the left to the right.
PATCHES = {
    "black": 0x000000,
    "white": 0xFFFFFF,
    "red": 0xFF0000,
    "green": 0x00FF00,
    "blue": 0x0000FF,
    "yellow": 0xFFFF00,
    "cyan": 0x00FFFF,
    "magenta": 0xFF00FF,
    "dark grey": 0x404040,
    "grey": 0x808080,
    "light grey": 0xC0C0C0,
    "skin": 0xE0AC88,
}
PATCH = 48
_TEXT_TOP, _TEXT_LINE = PATCH, 14
_GRADIENT_TOP = 240
_BACKGROUND = 0x303A48
_FONT = b"fixed"


class Observer:
    """The window and the line to the test."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(path)
        self._unread = b""
        self._window = Window(None)
        core, screen = self._window.core, self._window.screen
        mask = xproto.EventMask
        events = mask.KeyPress | mask.KeyRelease | mask.ButtonPress | mask.ButtonRelease | mask.PointerMotion
        self._attributes(self._window.window, events | mask.Exposure | mask.FocusChange)
        self._attributes(screen.root, mask.StructureNotify)
        self._fixes: Any = self._window.x(xcffib.xfixes.key)
        self._fixes.QueryVersion(5, 0).reply()
        clipboard = core.InternAtom(False, 9, b"CLIPBOARD").reply().atom
        self._fixes.SelectSelectionInput(screen.root, clipboard, 1)
        self._draw()
        self._window.map()
        core.SetInputFocus(xproto.InputFocus.PointerRoot, self._window.window, 0)
        self._window.show()
        self._tell("ready", width=self._window.width, height=self._window.height)

    def _attributes(self, window: int, events: int) -> None:
        self._window.core.ChangeWindowAttributes(window, xproto.CW.EventMask, [events])

    def _tell(self, kind: str, **fields: Any) -> None:
        self._sock.sendall(json.dumps({"is": kind, **fields}).encode() + b"\n")

    def _draw(self) -> None:
        """Draw the test card: patches, text, a gradient, a frame of one pixel at the screen's edge."""
        window = self._window
        width, height = window.width, window.height
        window.fill(window.canvas, _BACKGROUND, [(0, 0, width, height)])
        for index, colour in enumerate(PATCHES.values()):
            window.fill(window.canvas, colour, [(index * PATCH, 0, PATCH, PATCH)])
        font, gc = window.x.generate_id(), window.x.generate_id()
        window.core.OpenFont(font, len(_FONT), _FONT)
        window.core.CreateGC(gc, window.canvas, xproto.GC.Font, [font])
        for line, (ink, paper) in enumerate(((BLACK, WHITE), (WHITE, BLACK), (0xE0E0E0, _BACKGROUND))):
            text = f"{line}: The quick brown fox jumps over the lazy dog; 0123456789 (){{}}[]<>|/\\".encode()
            window.core.ChangeGC(gc, xproto.GC.Foreground | xproto.GC.Background, [ink, paper])
            top = _TEXT_TOP + (4 * line + 1) * _TEXT_LINE
            for repeat in range(3):
                window.core.ImageText8(len(text), window.canvas, gc, 8, top + repeat * _TEXT_LINE, text)
        window.core.FreeGC(gc)
        window.core.CloseFont(font)
        for column in range(width):
            grey = column * 255 // max(1, width - 1)
            window.fill(window.canvas, grey * 0x010101, [(column, _GRADIENT_TOP, 1, PATCH)])
        edges = [(0, 0, width, 1), (0, height - 1, width, 1), (0, 0, 1, height), (width - 1, 0, 1, height)]
        window.fill(window.canvas, WHITE, edges)

    def _resize(self, width: int, height: int) -> None:
        window = self._window
        if (width, height) != (window.width, window.height):
            window.resize(width, height)
            self._draw()
            window.show()
            window.core.GetInputFocus().reply()
            self._tell("size", width=width, height=height)

    def _take_x_event(self, event: Any) -> None:
        if isinstance(event, xproto.KeyPressEvent | xproto.KeyReleaseEvent):
            keysym = self._keysym(event.detail)
            self._tell("key", keysym=keysym, down=isinstance(event, xproto.KeyPressEvent))
        elif isinstance(event, xproto.ButtonPressEvent | xproto.ButtonReleaseEvent):
            down = isinstance(event, xproto.ButtonPressEvent)
            self._tell("button", button=event.detail, down=down, x=event.root_x, y=event.root_y)
        elif isinstance(event, xproto.MotionNotifyEvent):
            self._tell("motion", x=event.root_x, y=event.root_y, state=event.state)
        elif isinstance(event, xproto.ConfigureNotifyEvent) and event.window == self._window.screen.root:
            self._resize(event.width, event.height)
        elif isinstance(event, xproto.ExposeEvent):
            self._window.show()
        elif isinstance(event, xcffib.xfixes.SelectionNotifyEvent):
            self._tell("selection")

    def _keysym(self, keycode: int) -> int:
        return int(self._window.core.GetKeyboardMapping(keycode, 1).reply().keysyms[0])

    def _take_order(self, order: dict[str, Any]) -> None:
        if order["do"] == "screenshot":
            core, root = self._window.core, self._window.screen.root
            geometry = core.GetGeometry(root).reply()
            size = geometry.width, geometry.height
            image = core.GetImage(xproto.ImageFormat.ZPixmap, root, 0, 0, *size, 0xFFFFFFFF).reply()
            Path(order["path"]).write_bytes(bytes(image.data.raw))
            self._tell("screenshot", width=geometry.width, height=geometry.height)
        elif order["do"] == "run":
            result = subprocess.run(
                order["command"], input=order["input"].encode(), stdout=subprocess.PIPE, check=False, timeout=60
            )
            self._tell("ran", code=result.returncode, output=result.stdout.decode())
        elif order["do"] == "pointer":
            pointer = self._window.core.QueryPointer(self._window.screen.root).reply()
            self._tell("pointer", x=pointer.root_x, y=pointer.root_y)

    def run(self) -> None:
        """Work until the test goes away."""
        x = self._window.x
        while True:
            while (event := x.poll_for_event()) is not None:
                self._take_x_event(event)
            x.flush()
            readable, _, _ = select.select([x.get_file_descriptor(), self._sock], [], [])
            if self._sock in readable:
                data = self._sock.recv(1 << 20)
                if not data:
                    return
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._take_order(json.loads(line))


if __name__ == "__main__":
    os.umask(0o077)
    Observer(sys.argv[1]).run()
