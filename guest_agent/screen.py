# SPDX-License-Identifier: Apache-2.0
"""The size of the guest's screen, by RandR: set to any size, and followed when the guest sets it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import xcffib.randr
from xcffib import xproto

from guest_agent.x_connection import XConnection, XConnectionError, XError

MIN_SIZE = 16
DEFAULT_REFRESH_MHZ = 60_000
MILLIMETRES_PER_PIXEL = 25.4 / 96
# Blanking as in CVT's reduced form; nothing shows it, but clients compute the refresh rate from it.
H_BLANK = 160
V_BLANK = 30
MAX_DOT_CLOCK_HZ = 0xFFFFFFFF

_log = logging.getLogger(__name__)


class Screen:
    """The guest's one screen. `handle_resized(width, height)` is called after each change, whoever made it."""

    def __init__(self, x: XConnection, handle_resized: Callable[[int, int], None]) -> None:
        self._x = x
        self._randr = x.extension("randr")
        self._handle_resized = handle_resized
        x.reply(self._randr.QueryVersion(1, 5))
        geometry = x.reply(x.core.GetGeometry(x.root))
        self.width: int = geometry.width
        self.height: int = geometry.height
        self._own_mode = 0
        self._is_announced = False
        x.on(xproto.ConfigureNotifyEvent, self._handle_configure)
        x.core.ChangeWindowAttributes(x.root, xproto.CW.EventMask, [xproto.EventMask.StructureNotify])
        limits = x.reply(self._randr.GetScreenSizeRange(x.root))
        self.max_width: int = limits.max_width
        self.max_height: int = limits.max_height

    def _handle_configure(self, event: Any) -> None:
        if event.window != self._x.root or (event.width, event.height) == (self.width, self.height):
            return
        self.width, self.height = event.width, event.height
        # A change may go through sizes in between, whose events come together.
        if not self._is_announced:
            self._is_announced = True
            asyncio.get_running_loop().call_soon(self._announce)

    def _announce(self) -> None:
        self._is_announced = False
        _log.info("the guest's screen is %d×%d now", self.width, self.height)
        self._handle_resized(self.width, self.height)

    def set_size(self, width: int, height: int, refresh_mhz: int = DEFAULT_REFRESH_MHZ) -> None:
        """Give the screen exactly this size, within the server's limits.

        Raises:
            XConnectionError: the server refused it; the screen may have kept its size.
        """
        width = min(max(width, MIN_SIZE), self.max_width)
        height = min(max(height, MIN_SIZE), self.max_height)
        if (width, height) == (self.width, self.height):
            return
        self._x.core.GrabServer()
        try:
            self._change(width, height, refresh_mhz)
        except XError as error:
            raise XConnectionError(f"the size {width}×{height} was refused: {error!r}") from error
        finally:
            self._x.core.UngrabServer()
            self._x.flush()

    def _change(self, width: int, height: int, refresh_mhz: int) -> None:
        """Clients see sizes in between as little as may be: the server is grabbed."""
        x, randr = self._x, self._randr
        resources = x.reply(randr.GetScreenResourcesCurrent(x.root))
        output, crtc = self._output(resources)
        old_mode, old_width, old_height = self._own_mode, self.width, self.height
        mode = create_mode(x, width, height, refresh_mhz)
        x.check(randr.AddOutputModeChecked(output, mode))
        # The screen must hold both modes while one replaces the other.
        set_screen_size(x, max(width, old_width), max(height, old_height))
        stamp = resources.config_timestamp
        x.reply(randr.SetCrtcConfig(crtc, 0, stamp, 0, 0, mode, xcffib.randr.Rotation.Rotate_0, 1, [output]))
        set_screen_size(x, width, height)
        self._own_mode = mode
        if old_mode:
            # The guest may have gone to another mode meanwhile, or use ours elsewhere: then it stays.
            try:
                x.check(randr.DeleteOutputModeChecked(output, old_mode))
                x.check(randr.DestroyModeChecked(old_mode))
            except XError:
                _log.debug("the last mode is still in use")

    def _output(self, resources: Any) -> tuple[int, int]:
        """Return the output and CRTC that are on, or the first ones."""
        for output in resources.outputs:
            info = self._x.reply(self._randr.GetOutputInfo(output, resources.config_timestamp))
            if info.crtc:
                return output, info.crtc
        return resources.outputs[0], resources.crtcs[0]


def create_mode(x: XConnection, width: int, height: int, refresh_mhz: int = DEFAULT_REFRESH_MHZ) -> int:
    """Make a RandR mode of this size and return its id. Who makes it destroys it.

    Raises:
        XError: the server refused it.
    """
    h_total, v_total = width + H_BLANK, height + V_BLANK
    clock = min(h_total * v_total * refresh_mhz // 1000, MAX_DOT_CLOCK_HZ)
    # Names must differ while the last mode of the same size is still there.
    name = f"{width}x{height}_{clock}_{x.raw.generate_id():x}".encode()
    mode_info: Any = xcffib.randr.ModeInfo
    info = mode_info.synthetic(
        0, width, height, clock, width + 48, width + 80, h_total, 0, height + 3, height + 9, v_total, len(name), 0
    )
    mode: int = x.reply(x.extension("randr").CreateMode(x.root, info, len(name), name)).mode
    return mode


def set_screen_size(x: XConnection, width: int, height: int) -> None:
    """Give the root window a size, if it has another.

    Raises:
        XError: the server refused it.
    """
    geometry = x.reply(x.core.GetGeometry(x.root))
    if (geometry.width, geometry.height) != (width, height):
        millimetres = [max(round(size * MILLIMETRES_PER_PIXEL), 1) for size in (width, height)]
        x.check(x.extension("randr").SetScreenSizeChecked(x.root, width, height, *millimetres))
