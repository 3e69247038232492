# SPDX-License-Identifier: Apache-2.0
"""A window without a frame at the screen's left upper corner, drawn apart and shown in one step."""

from __future__ import annotations

import random
import select
from collections.abc import Sequence
from typing import Any

import xcffib
from xcffib import xproto

# xcffib has no types to speak of.
_xcffib: Any = xcffib

_MAX_REQUEST_BYTES = 200_000

BLACK, WHITE = 0x000000, 0xFFFFFF


class Window:
    """The pictures are drawn into `canvas`, a pixmap, and shown by `show()`."""

    def __init__(self, size: tuple[int, int] | None, takes_clicks: bool = False) -> None:
        """`size` None: as large as the screen. `takes_clicks`: presses of pointer buttons are counted in `clicks`."""
        self.clicks = 0
        self.x: Any = _xcffib.connect()
        self.core: Any = self.x.core
        self.screen: Any = self.x.get_setup().roots[0]
        if self.screen.root_depth != 24:
            raise SystemExit(f"the screen's depth is {self.screen.root_depth}, not 24")
        self.width: int
        self.height: int
        self.width, self.height = size or (self.screen.width_in_pixels, self.screen.height_in_pixels)
        self.window = self.x.generate_id()
        # Not for window managers to place.
        mask = xproto.CW.BackPixel | xproto.CW.OverrideRedirect | xproto.CW.EventMask
        self.core.CreateWindow(
            24,
            self.window,
            self.screen.root,
            0,
            0,
            self.width,
            self.height,
            0,
            xproto.WindowClass.InputOutput,
            self.screen.root_visual,
            mask,
            [BLACK, 1, xproto.EventMask.Exposure | (xproto.EventMask.ButtonPress if takes_clicks else 0)],
        )
        self.canvas = self.pixmap(self.width, self.height)
        self.gc = self.x.generate_id()
        self.core.CreateGC(self.gc, self.canvas, xproto.GC.GraphicsExposures, [0])
        self.fill(self.canvas, BLACK, [(0, 0, self.width, self.height)])

    def pixmap(self, width: int, height: int) -> int:
        """Return a new pixmap, with anything in it."""
        pixmap: int = self.x.generate_id()
        self.core.CreatePixmap(24, pixmap, self.window, width, height)
        return pixmap

    def resize(self, width: int, height: int) -> None:
        """Take another size; the canvas is a new one, with anything in it."""
        self.width, self.height = width, height
        self.core.FreePixmap(self.canvas)
        self.canvas = self.pixmap(width, height)
        mask = xproto.ConfigWindow.Width | xproto.ConfigWindow.Height
        self.core.ConfigureWindow(self.window, mask, [width, height])

    def fill(self, drawable: int, colour: int, rectangles: Sequence[tuple[int, int, int, int]]) -> None:
        """Fill rectangles (x, y, width, height) with 0xRRGGBB."""
        rectangle: Any = xproto.RECTANGLE
        self.core.ChangeGC(self.gc, xproto.GC.Foreground, [colour])
        self.core.PolyFillRectangle(
            drawable, self.gc, len(rectangles), [rectangle.synthetic(*values) for values in rectangles]
        )

    def copy(self, source: int, target: int, x: int, y: int, to_x: int, to_y: int, width: int, height: int) -> None:
        """Copy a rectangle."""
        self.core.CopyArea(source, target, self.gc, x, y, to_x, to_y, width, height)

    def put_noise(self, drawable: int, width: int, height: int) -> None:
        """Fill a pixmap with the same random bytes at every run."""
        noise = random.Random(1)
        rows = max(1, _MAX_REQUEST_BYTES // (4 * width))
        for top in range(0, height, rows):
            count = min(rows, height - top)
            data = noise.randbytes(4 * width * count)
            self.core.PutImage(
                xproto.ImageFormat.ZPixmap, drawable, self.gc, width, count, 0, top, 0, 24, len(data), data
            )

    def map(self) -> None:
        """Show the window, and wait until it is there."""
        self.core.MapWindow(self.window)
        self.core.GetInputFocus().reply()

    def show(self, x: int = 0, y: int = 0, width: int | None = None, height: int | None = None) -> None:
        """Bring a part of the canvas to the screen in one step."""
        width = self.width - x if width is None else width
        height = self.height - y if height is None else height
        self.copy(self.canvas, self.window, x, y, x, y, width, height)
        self.x.flush()

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something comes from the X server, or the time is over."""
        select.select([self.x.get_file_descriptor()], [], [], timeout_s)

    def take_events(self) -> bool:
        """Take what has come; return whether the picture must be shown again."""
        is_exposed = False
        while (event := self.x.poll_for_event()) is not None:
            self.clicks += isinstance(event, xproto.ButtonPressEvent)
            is_exposed = is_exposed or isinstance(event, xproto.ExposeEvent)
        return is_exposed
