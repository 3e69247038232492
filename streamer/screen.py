# SPDX-License-Identifier: Apache-2.0
"""One of the guest's outputs: its pictures, its cursor, its size, and the viewers that watch it."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from render_core import CursorImage
from streamer.cursor import encode_png
from streamer.encode.encoder import Encoder, EncoderSettings
from streamer.encode.probe import open_encoder
from streamer.encode.profiles import EncoderProfile
from streamer.frames import FrameRing, FrameSource
from streamer.newest import Newest
from streamer.pipeline import Pipeline, PipelineStatistics
from streamer.rtc.track import StreamFrame
from streamer.slow_stream import SlowStream
from streamer.viewer import Viewer
from streamer.viewer_rates import ViewerRates

_log = logging.getLogger(__name__)

MIN_SCREEN, MAX_SCREEN = 64, 8192
MAX_CURSOR = 256
# Each costs a PNG; animated cursors change 10 to 30 times a second.
CURSOR_INTERVAL_S = 0.03
# What browsers take of H.264, level 5.2. The worker makes larger pictures smaller.
MAX_MACROBLOCKS = 36_864
# A window that is closed and opened again, or a network that fails for a while, must not rearrange the guest's desktop.
UNPLUG_S = 30.0
# A guest that changes its mode shows nothing for a moment: not worth telling.
OFF_S = 0.7


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """What all screens of a session have in common.

    `outputs`: how many the guest may be asked to have; `size`: what others than the first have where viewers may not
    choose.
    """

    fps: int = 60
    bitrate_bps: int | None = None
    is_resizable: bool = True
    outputs: int = 1
    size: tuple[int, int] = (1280, 720)


class ScreenHost(Protocol):
    """What a screen needs of its session."""

    @property
    def encoder_profile(self) -> EncoderProfile:
        """What encoders are opened as. Any thread."""

    def replace_encoder(self, profile: EncoderProfile) -> bool:
        """`profile` keeps failing; whether there is another one now."""

    def handle_size_changed(self, screen: Screen) -> None:
        """It is shown in another size, or has come or gone."""


class Screen:
    """Owns what is encoded of one scanout. Event loop only.

    Nothing is converted or encoded while none of `viewers` is connected. `add()` a viewer before anything else is told
    of it.
    """

    def __init__(
        self,
        scanout_id: int,
        settings: ScreenSettings,
        source: FrameSource,
        host: ScreenHost,
        ring_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self.scanout_id = scanout_id
        self._settings = settings
        self._source = source
        self._host = host
        self._viewers: dict[int, Viewer] = {}
        self.rates = ViewerRates(self._viewers, settings.fps, settings.bitrate_bps)
        self._slow_stream = SlowStream(self._open_encoder, self.rates.slow_ready_ns)
        self._pipeline = Pipeline(
            self._open_encoder,
            self._handle_frame,
            self._handle_encoder_failure,
            fps=settings.fps,
            bitrate_bps=settings.bitrate_bps,
            ring_errors=ring_errors,
            on_ring_failure=source.drop,
            ready_ns=self.rates.ready_ns,
            slow_stream=self._slow_stream,
            on_slow_frame=self._handle_slow_frame,
        )
        self.rates.drive(self._pipeline, self._slow_stream)
        self._task: asyncio.Task[None] | None = None
        self._profile = host.encoder_profile
        self._is_active = False
        self._owner: Viewer | None = None
        # What the guest was asked for; None: nothing, or the worker that was told is gone.
        self._asked_size: tuple[int, int] | None = None
        self._unplug_timer: asyncio.TimerHandle | None = None
        self._off_timer: asyncio.TimerHandle | None = None
        self._size: tuple[int, int] | None = None
        # What a viewer that comes later is told as well.
        self._screen: dict[str, Any] | None = None
        self._cursor: dict[str, Any] | None = None
        self._status: dict[str, Any] | None = None
        self._cursors = Newest(CURSOR_INTERVAL_S, self._send_cursor)

    def __str__(self) -> str:
        return f"screen {self.scanout_id + 1}"

    @property
    def size(self) -> tuple[int, int] | None:
        """What the guest shows, in pixels; None when that is nothing."""
        return self._size

    @property
    def is_active(self) -> bool:
        """Whether somebody watches."""
        return self._is_active

    @property
    def statistics(self) -> PipelineStatistics:
        """Of its encoding."""
        return self._pipeline.statistics

    @property
    def bitrate_bps(self) -> int:
        """What its encoder aims at; 0 while there is none."""
        return self._pipeline.bitrate_bps

    def close(self) -> None:
        """Free what the pipeline's task has not, if it was ever started."""
        self._cursors.cancel()
        self._cancel_unplugging()
        if self._off_timer is not None:
            self._off_timer.cancel()
        if self._task is None:
            self._pipeline.set_ring(None)

    # Its viewers

    def add(self, viewer: Viewer) -> None:
        """The viewer watches this screen from now on."""
        self._viewers[viewer.number] = viewer
        viewer.wanted_size = None

    def remove(self, viewer: Viewer) -> None:
        """The viewer is gone, or watches another screen."""
        self._viewers.pop(viewer.number, None)
        self.handle_viewer_lost()
        if self._owner is viewer:
            self._owner = None
            # A single viewer that is left gets the size it asked for, without having to do something first.
            rest = [other for other in self._viewers.values() if other.role == "control" and other.wanted_size]
            if len(rest) == 1:
                self._set_owner(rest[0])

    def handle_viewer_connected(self, viewer: Viewer, tasks: asyncio.TaskGroup) -> None:
        """It can be sent pictures. The first one starts the pipeline, in `tasks`."""
        if self._task is None:
            self._task = tasks.create_task(self._pipeline.run(), name=f"pipeline of {self}")
        self.rates.add(viewer)
        self._update_active()
        self._pipeline.request_keyframe()

    def handle_viewer_lost(self) -> None:
        """One of its viewers is not connected any more."""
        self.rates.share()
        self._update_active()

    def welcome(self, viewer: Viewer) -> None:
        """Tell a viewer what there is."""
        for message in (self._screen, self._cursor, self._status):
            if message is not None:
                viewer.send(message)
        if self._owner is not None:
            viewer.send({"type": "owner", "viewer": self._owner.number})

    def handle_keyframe_wanted(self, viewer: Viewer) -> None:
        """The viewer cannot show anything without a keyframe."""
        if self.rates.is_slow(viewer.number):
            self._slow_stream.request_keyframe()
        else:
            self._pipeline.request_keyframe()

    def handle_rate(self) -> None:
        """A viewer's path takes more or less than before."""
        self.rates.share()
        self._pipeline.wake()

    def handle_input(self, viewer: Viewer, *, is_motion: bool) -> None:
        """The viewer uses the guest: it owns the size."""
        # A pointer that passes over a window is not yet a hand on it.
        if viewer is not self._owner and (self._owner is None or not is_motion):
            self._set_owner(viewer)

    def expect_picture(self) -> None:
        """Somebody has pressed something: what comes of it is waited for, and not held to the frame rate's beat."""
        if self._is_active:
            self._source.expect_picture(self.scanout_id)

    # The size

    def handle_resize(self, viewer: Viewer, width: int, height: int) -> None:
        """The viewer wants the guest's screen in that size."""
        viewer.wanted_size = (_clamp(width), _clamp(height))
        if self._owner is None:
            self._set_owner(viewer)
        elif self._owner is viewer:
            self._ask_for_size()

    def _set_owner(self, viewer: Viewer) -> None:
        self._owner = viewer
        self._broadcast({"type": "owner", "viewer": viewer.number})
        self._ask_for_size()

    def _ask_for_size(self) -> None:
        """Ask the guest for the size that the owner wants: an output that it does not have yet is plugged in so."""
        size = self._owner.wanted_size if self._owner is not None else None
        if size is not None and not self._settings.is_resizable:
            size = self._settings.size if self.scanout_id > 0 else None
        self._ask(size)

    def _ask(self, size: tuple[int, int] | None) -> None:
        if size is not None and size != self._asked_size and self.scanout_id < self._settings.outputs:
            self._asked_size = size
            self._source.set_display(self.scanout_id, *size)

    def _unplug(self) -> None:
        """Nobody has watched for a while: the guest's windows shall not stay where nobody sees them."""
        self._unplug_timer = None
        self._asked_size = None
        _log.info("%s: nobody watches it any more", self)
        self._source.set_display(self.scanout_id, 0, 0)

    def _cancel_unplugging(self) -> None:
        if self._unplug_timer is not None:
            self._unplug_timer.cancel()
            self._unplug_timer = None

    def _update_active(self) -> None:
        self._is_active = any(viewer.is_connected for viewer in self._viewers.values())
        self._pipeline.set_active(self._is_active)
        self._source.set_active(self.scanout_id, self._is_active)
        if self._is_active:
            self._cancel_unplugging()
        elif self.scanout_id > 0 and self._asked_size is not None and self._unplug_timer is None:
            self._unplug_timer = asyncio.get_running_loop().call_later(UNPLUG_S, self._unplug)

    # What the frame link tells

    def handle_link_up(self) -> None:
        """There is a worker, which knows nothing of what was asked before."""
        before, self._asked_size = self._asked_size, None
        if self.scanout_id > 0:
            self._ask(before)
        self._ask_for_size()
        self._update_active()

    def handle_link_down(self) -> None:
        """The worker is gone."""
        self._pipeline.set_ring(None)
        if self._set_size(None) or self.scanout_id == 0:
            self._set_status("warning", "The render worker has stopped and is being started again.")

    def handle_off(self) -> None:
        """The guest shows nothing here."""
        self._pipeline.set_ring(None)
        self._screen = None
        self._set_size(None)
        if self._off_timer is None:
            self._off_timer = asyncio.get_running_loop().call_later(OFF_S, self._tell_off)

    def _tell_off(self) -> None:
        self._off_timer = None
        if self._size is None:
            self._set_status("warning", "The guest shows nothing.")

    def handle_ring(self, ring: FrameRing) -> None:
        """Take frames from `ring`, now the screen's, from here on."""
        self._set_size((ring.source_width, ring.source_height))
        if -(-ring.coded_width // 16) * -(-ring.coded_height // 16) > MAX_MACROBLOCKS:
            _log.error("%s: %dx%d is too large for H.264", self, ring.width, ring.height)
            ring.close()
            self._pipeline.set_ring(None)
            self._set_status("error", f"A screen of {ring.width}×{ring.height} is too large to be shown.")
            return
        _log.info("%s: %dx%d at 1/%d, %s", self, ring.source_width, ring.source_height, ring.divisor, ring.format)
        self.rates.set_pixels(ring.coded_width * ring.coded_height)
        self._screen = {
            "type": "screen",
            "width": ring.source_width,
            "height": ring.source_height,
            "coded_width": ring.coded_width,
            "coded_height": ring.coded_height,
            "divisor": ring.divisor,
            "resizable": self._settings.is_resizable and self.scanout_id < self._settings.outputs,
        }
        self._broadcast(self._screen)
        if self._status is not None:
            self._set_status("info", "The picture is back.")
        self._pipeline.set_ring(ring)
        self._pipeline.request_keyframe()

    def handle_cursor(self, image: CursorImage) -> None:
        """The guest's cursor looks different now."""
        self._cursors.put(image)

    def _send_cursor(self, image: CursorImage) -> None:
        png = None
        if image.pixels is not None and 0 < image.width <= MAX_CURSOR and 0 < image.height <= MAX_CURSOR:
            try:
                png = base64.b64encode(encode_png(image.width, image.height, image.pixels)).decode()
            except ValueError as error:
                _log.warning("a cursor is malformed: %s", error)
                return
        self._cursor = {
            "type": "cursor",
            "png": png,
            "hot_x": min(image.hot_x, max(image.width - 1, 0)),
            "hot_y": min(image.hot_y, max(image.height - 1, 0)),
            "width": image.width,
            "height": image.height,
        }
        self._broadcast(self._cursor)

    def _set_size(self, size: tuple[int, int] | None) -> bool:
        """Whether it is another one."""
        if size == self._size:
            return False
        self._size = size
        self._host.handle_size_changed(self)
        return True

    def _set_status(self, level: str, text: str) -> None:
        status = {"type": "status", "level": level, "message": text}
        # Good news are told once.
        self._status = None if level == "info" else status
        self._broadcast(status)

    def _broadcast(self, message: Mapping[str, Any]) -> None:
        for viewer in self._viewers.values():
            viewer.send(message)

    # What the pipeline tells

    def _open_encoder(self, settings: EncoderSettings) -> Encoder:
        self._profile = self._host.encoder_profile
        return open_encoder(self._profile, settings)

    def _handle_frame(self, frame: StreamFrame) -> None:
        for number, viewer in self._viewers.items():
            if not self.rates.is_slow(number):
                viewer.push(frame)

    def _handle_slow_frame(self, frame: StreamFrame) -> None:
        for number, viewer in self._viewers.items():
            if self.rates.is_slow(number):
                viewer.push(frame)

    def _handle_encoder_failure(self, reason: str) -> None:
        if not self._host.replace_encoder(self._profile):
            self._set_status("error", f"The picture cannot be encoded: {reason}")


def _clamp(pixels: int) -> int:
    return max(MIN_SCREEN, min(pixels, MAX_SCREEN))
