# SPDX-License-Identifier: Apache-2.0
"""The default desktop's background: a gradient that costs nothing once it is there."""

from __future__ import annotations

import struct

from xcffib import xproto

from guest_agent.x_connection import XConnection, XError

TOP = (0x1B, 0x2A, 0x49)
BOTTOM = (0x3E, 0x6C, 0x8F)
# The tile is repeated from side to side.
TILE_WIDTH = 16
# Requests have a largest size.
BAND_ROWS = 1024


def gradient(height: int) -> bytes:
    """Return the tile's rows, BGRX, from top to bottom."""
    rows = []
    for row in range(height):
        share = row / max(height - 1, 1)
        red, green, blue = (round(top + (bottom - top) * share) for top, bottom in zip(TOP, BOTTOM, strict=True))
        rows.append(struct.pack("4B", blue, green, red, 0) * TILE_WIDTH)
    return b"".join(rows)


class Wallpaper:
    """Paints the root window's background; again for each new height of the screen."""

    def __init__(self, x: XConnection, height: int) -> None:
        self._x = x
        self._height = 0
        self._pixmap = 0
        # Terminals and panels with see-through backgrounds look for these.
        self._properties = [x.atom(name) for name in ("_XROOTPMAP_ID", "ESETROOT_PMAP_ID")]
        self.paint(height)

    def paint(self, height: int) -> None:
        """Fit the background to the screen's height."""
        if height == self._height:
            return
        try:
            self._paint(height)
        except XError:
            # Only the looks are lost.
            return

    def _paint(self, height: int) -> None:
        x, core = self._x, self._x.core
        depth = x.screen.root_depth
        pixmap, context = x.raw.generate_id(), x.raw.generate_id()
        core.CreatePixmap(depth, pixmap, x.root, TILE_WIDTH, height)
        core.CreateGC(context, pixmap, 0, [])
        pixels, row_bytes = gradient(height), TILE_WIDTH * 4
        for first in range(0, height, BAND_ROWS):
            band = pixels[first * row_bytes : (first + BAND_ROWS) * row_bytes]
            rows = len(band) // row_bytes
            form = xproto.ImageFormat.ZPixmap
            core.PutImage(form, pixmap, context, TILE_WIDTH, rows, 0, first, 0, depth, len(band), band)
        core.FreeGC(context)
        core.ChangeWindowAttributes(x.root, xproto.CW.BackPixmap, [pixmap])
        core.ClearArea(False, x.root, 0, 0, 0, 0)
        for place in self._properties:
            core.ChangeProperty(
                xproto.PropMode.Replace, x.root, place, xproto.Atom.PIXMAP, 32, 1, struct.pack("=I", pixmap)
            )
        if self._pixmap:
            core.FreePixmap(self._pixmap)
        self._pixmap, self._height = pixmap, height
        x.flush()
