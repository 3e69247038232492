# SPDX-License-Identifier: Apache-2.0
"""Outputs of a guest's X server get the sizes that viewers want, where the guest's desktop does not see to it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import xcffib.randr

from guest_agent.screen import create_mode, set_screen_size
from guest_agent.x_connection import XConnection, XError

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Output:
    """An output as it is, or shall be; `mode` 0 is off."""

    id: int
    crtc: int = 0
    mode: int = 0
    left: int = 0
    width: int = 0
    height: int = 0
    is_connected: bool = False


class Outputs:
    """The outputs, by their place in the server's list, which is that of QEMU's scanouts; loop thread only."""

    def __init__(self, x: XConnection) -> None:
        self._x = x
        self._randr = x.extension("randr")
        x.reply(self._randr.QueryVersion(1, 5))
        self._own_modes: dict[int, int] = {}  # by output
        self._stamp = 0

    def set_size(self, scanout: int, width: int, height: int) -> bool:
        """Give an output this size (0×0: switch it off), and put the outputs side by side in their order.

        Returns:
            Whether something was changed: not when it has this size, when it is not there or not connected, when the
            server cannot hold it, nor when it is the last one that is on and shall be off.

        Raises:
            XError: the server refused it; what it shows may have changed in part.
        """
        # Asks the driver: without udev nobody has told the server of a change.
        resources = self._x.reply(self._randr.GetScreenResources(self._x.root))
        if scanout >= len(resources.outputs):
            return False
        self._stamp = resources.config_timestamp
        sizes = {mode.id: (mode.width, mode.height) for mode in resources.modes}
        outputs = [self._examine(id_, sizes) for id_ in resources.outputs]
        output = outputs[scanout]
        if (output.width, output.height) == (width, height) or not self._fits(outputs, output, width, height):
            return False
        if width and height:
            if not output.is_connected:
                return False
            output.crtc = output.crtc or self._free_crtc(output.id, outputs)
            if not output.crtc:
                _log.warning("output %d has no CRTC left: it stays off", scanout)
                return False
            output.mode = self._find_mode(output.id, width, height, sizes)
        else:
            output.mode = 0
        output.width, output.height = width, height
        if not any(other.mode for other in outputs):
            return False
        self._apply(outputs)
        self._forget_old_mode(output)
        return True

    def _examine(self, id_: int, sizes: dict[int, tuple[int, int]]) -> _Output:
        info = self._x.reply(self._randr.GetOutputInfo(id_, self._stamp))
        connection: Any = xcffib.randr.Connection
        output = _Output(id_, is_connected=info.connection == connection.Connected)
        if info.crtc:
            crtc = self._x.reply(self._randr.GetCrtcInfo(info.crtc, self._stamp))
            output.crtc, output.mode, output.left = info.crtc, crtc.mode, crtc.x
            output.width, output.height = sizes.get(crtc.mode, (crtc.width, crtc.height))
        return output

    def _fits(self, outputs: list[_Output], output: _Output, width: int, height: int) -> bool:
        """Whether the server's screen can hold the outputs when this one has that size."""
        limits = self._x.reply(self._randr.GetScreenSizeRange(self._x.root))
        others = sum(other.width for other in outputs if other is not output)
        fits = bool(others + width <= limits.max_width and height <= limits.max_height)
        if not fits:
            _log.warning("%d×%d is more than the X server can have", width, height)
        return fits

    def _free_crtc(self, id_: int, outputs: list[_Output]) -> int:
        info = self._x.reply(self._randr.GetOutputInfo(id_, self._stamp))
        taken = {output.crtc for output in outputs}
        return next((int(crtc) for crtc in info.crtcs if crtc not in taken), 0)

    def _find_mode(self, id_: int, width: int, height: int, sizes: dict[int, tuple[int, int]]) -> int:
        """Return a mode of the output with this size, or one that we make for it."""
        info = self._x.reply(self._randr.GetOutputInfo(id_, self._stamp))
        for mode in info.modes:
            if sizes.get(mode) == (width, height):
                return int(mode)
        made = create_mode(self._x, width, height)
        self._x.check(self._randr.AddOutputModeChecked(id_, made))
        return made

    def _apply(self, outputs: list[_Output]) -> None:
        left = height = 0
        for output in outputs:
            if output.mode:
                output.left = left
                left += output.width
                height = max(height, output.height)
        geometry = self._x.reply(self._x.core.GetGeometry(self._x.root))
        self._x.core.GrabServer()
        try:
            # The screen must hold what is there and what comes.
            set_screen_size(self._x, max(left, geometry.width), max(height, geometry.height))
            for output in outputs:
                if output.crtc:
                    self._configure(output)
            set_screen_size(self._x, left, height)
        finally:
            self._x.core.UngrabServer()
            self._x.flush()

    def _configure(self, output: _Output) -> None:
        ids = [output.id] if output.mode else []
        rotation: Any = xcffib.randr.Rotation
        place = (output.left, 0) if output.mode else (0, 0)
        reply = self._x.reply(
            self._randr.SetCrtcConfig(
                output.crtc, 0, self._stamp, *place, output.mode, rotation.Rotate_0, len(ids), ids
            )
        )
        if reply.status:
            _log.warning("the X server did not set an output (status %d)", reply.status)

    def _forget_old_mode(self, output: _Output) -> None:
        """Destroy the mode that we made for this output before, unless it has it still, or another has."""
        old = self._own_modes.pop(output.id, 0)
        if old and old != output.mode:
            try:
                self._x.check(self._randr.DeleteOutputModeChecked(output.id, old))
                self._x.check(self._randr.DestroyModeChecked(old))
            except XError:
                _log.debug("the last mode is still in use")
        if output.mode:
            self._own_modes[output.id] = output.mode
