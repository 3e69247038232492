# SPDX-License-Identifier: Apache-2.0
"""One desktop and its viewers: wires the frame link, the encoder, the viewers and the agent link together."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guest_agent.messages import CloseViewer, Message, MessageError, Metrics, Signal
from render_core import CursorImage, CursorMove, Device, ScanoutOff
from streamer.audio.stream import AudioStream
from streamer.audio.track import AudioTrack
from streamer.config import version
from streamer.cursor import encode_png
from streamer.encode.encoder import Encoder, EncoderSettings
from streamer.encode.probe import open_encoder, software_after
from streamer.encode.profiles import EncoderProfile
from streamer.frames import FrameRing, FrameSource, LinkMessage, WorkerLink
from streamer.input.agent_link import AgentLink
from streamer.input.messages import Input, MotionInput, RelativeInput
from streamer.pipeline import Pipeline
from streamer.rtc.congestion.controller import Decision
from streamer.rtc.peer import RtcSettings
from streamer.rtc.track import StreamFrame
from streamer.slow_stream import SlowStream
from streamer.viewer import Role, Viewer
from streamer.viewer_rates import ViewerRates

_log = logging.getLogger(__name__)

MIN_SCREEN, MAX_SCREEN = 64, 8192
MAX_VIEWERS = 64
MAX_CURSOR = 256
# Each costs a PNG; animated cursors change 10 to 30 times a second.
CURSOR_INTERVAL_S = 0.03
# What browsers take of H.264, level 5.2. The worker makes larger pictures smaller.
MAX_MACROBLOCKS = 36_864
SCANOUT = 0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the command line says."""

    frames_path: str
    agent_path: str
    rtc: RtcSettings = field(default_factory=RtcSettings)
    fps: int = 60
    bitrate_bps: int | None = None
    is_resizable: bool = True
    sound_path: str | None = None


class Session:
    """Owns everything of the streamer process. Event loop only.

    `send` carries messages to the gateway; `open_link` takes a connected socket over and makes the frame link of it,
    whose end is told by one of `link_errors`.
    """

    def __init__(
        self,
        settings: SessionSettings,
        profile: EncoderProfile,
        send: Callable[[Message], None],
        open_link: Callable[[socket.socket], WorkerLink],
        link_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._send = send
        self._source = FrameSource(settings.frames_path, open_link, link_errors)
        self._agent = AgentLink(settings.agent_path, self._handle_guest_clipboard, self._handle_guest_sound)
        self._audio = AudioStream(settings.sound_path)
        self._viewers: dict[int, Viewer] = {}
        self._rates = ViewerRates(self._viewers, settings.fps, settings.bitrate_bps)
        self._slow_stream = SlowStream(self._open_encoder, self._rates.slow_ready_ns)
        self._pipeline = Pipeline(
            self._open_encoder,
            self._handle_frame,
            self._handle_encoder_failure,
            fps=settings.fps,
            bitrate_bps=settings.bitrate_bps,
            ring_errors=link_errors,
            on_ring_failure=self._source.drop,
            ready_ns=self._rates.ready_ns,
            slow_stream=self._slow_stream,
            on_slow_frame=self._handle_slow_frame,
        )
        self._rates.drive(self._pipeline, self._slow_stream)
        self._owner: Viewer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._is_worker_up = False
        self._asked_size: tuple[int, int] | None = None
        # What a viewer that comes later is told as well.
        self._screen: dict[str, Any] | None = None
        self._cursor: dict[str, Any] | None = None
        self._next_cursor: CursorImage | None = None
        self._cursor_timer: asyncio.TimerHandle | None = None
        self._status: dict[str, Any] | None = None
        self._sound: dict[str, Any] = {"type": "audio", "available": self._audio.is_possible}

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._source.run(self), name="frame link")
                tasks.create_task(self._agent.run(), name="agent link")
                tasks.create_task(self._audio.run(), name="audio")
                tasks.create_task(self._pipeline.run(), name="pipeline")
                tasks.create_task(self._rates.run(), name="rates")
        finally:
            self._tasks = None
            if self._cursor_timer is not None:
                self._cursor_timer.cancel()

    # The gateway's messages

    def open_viewer(self, number: int, role: Role) -> None:
        """A viewer's WebSocket is open."""
        if self._tasks is None or number in self._viewers or len(self._viewers) >= MAX_VIEWERS:
            self._send(CloseViewer(number, 1008, "no more viewers can be taken"))
            return
        viewer = Viewer(number, role, self._settings.rtc, self)
        self._viewers[number] = viewer
        self._tasks.create_task(viewer.run(), name=str(viewer))
        servers = [
            {"urls": server.urls, "username": server.username, "credential": server.credential}
            if server.username
            else {"urls": server.urls}
            for server in self._settings.rtc.ice_servers
        ]
        self.send_signal(
            viewer,
            {"type": "welcome", "viewer": number, "role": role, "ice_servers": servers, "version": version()},
        )

    def signal(self, number: int, message: Mapping[str, Any]) -> None:
        """A signalling message of a viewer's; one that has left is passed over."""
        viewer = self._viewers.get(number)
        if viewer is not None:
            viewer.signal(message)

    def remove_viewer(self, number: int) -> None:
        """A viewer's WebSocket is gone."""
        viewer = self._viewers.pop(number, None)
        if viewer is None:
            return
        viewer.leave()
        self.handle_viewer_lost(viewer)
        if self._owner is viewer:
            self._owner = None
            # A single viewer that is left gets the size it asked for, without having to do something first.
            rest = [other for other in self._viewers.values() if other.role == "control" and other.wanted_size]
            if len(rest) == 1:
                self._set_owner(rest[0])

    def metrics(self) -> Metrics:
        """Return the session's numbers."""
        statistics = self._pipeline.statistics
        values: dict[str, float] = {
            "viewers": len(self._viewers),
            "viewers_connected": sum(viewer.is_connected for viewer in self._viewers.values()),
            "worker_connected": int(self._is_worker_up),
            "agent_connected": int(self._agent.is_connected),
            "frames_encoded": statistics.frames,
            "frames_repeated": statistics.repeats,
            "keyframes": statistics.keyframes,
            "encoded_bytes": statistics.bytes,
            "encode_seconds": statistics.encode_ns / 1e9,
            "encoder_opens": statistics.encoder_opens,
            "encoder_failures": statistics.encoder_failures,
            "bitrate_target_bps": self._pipeline.bitrate_bps,
        }
        audio = self._audio.statistics
        values |= {
            "audio_listeners": self._audio.listeners,
            "audio_recording": int(self._audio.is_recording),
            "audio_frames": audio.frames,
            "audio_packets": audio.packets,
            "audio_bytes": audio.bytes,
            "audio_encode_seconds": audio.encode_ns / 1e9,
        }
        peers = [viewer.peer for viewer in self._viewers.values() if viewer.peer is not None]
        sums = [peer.statistics for peer in peers]
        values |= {
            "packets_sent": sum(each.packets_sent for each in sums),
            "packets_lost": sum(each.packets_lost for each in sums),
            "feedbacks": sum(each.feedbacks for each in sums),
            "loss_fraction_max": max((each.loss_fraction for each in sums), default=0.0),
            "frames_dropped": sum(peer.track.dropped for peer in peers),
        }
        return Metrics(values | self._rates.metrics())

    # What viewers tell us (ViewerHost)

    def send_signal(self, viewer: Viewer, message: Mapping[str, Any]) -> None:
        self._send(Signal(viewer.number, dict(message)))

    def close_viewer(self, viewer: Viewer, reason: str) -> None:
        # 1012: the client comes again.
        short = reason.encode()[:120].decode(errors="ignore")
        self._send(CloseViewer(viewer.number, 1012, short))

    def handle_viewer_connected(self, viewer: Viewer) -> None:
        self._rates.add(viewer)
        self._update_active()
        self._pipeline.request_keyframe()

    def handle_viewer_lost(self, viewer: Viewer) -> None:
        self._agent.send(viewer.input.release_all())
        self._rates.share()
        self._update_active()

    def handle_control_open(self, viewer: Viewer) -> None:
        for message in (self._screen, self._cursor, self._status, self._sound):
            if message is not None:
                viewer.send(message)
        if self._owner is not None:
            viewer.send({"type": "owner", "viewer": self._owner.number})

    def handle_keyframe_wanted(self, viewer: Viewer) -> None:
        if self._rates.is_slow(viewer.number):
            self._slow_stream.request_keyframe()
        else:
            self._pipeline.request_keyframe()

    def handle_rate(self, viewer: Viewer, decision: Decision) -> None:
        self._rates.share()
        self._pipeline.wake()

    def handle_input(self, viewer: Viewer, message: Input) -> None:
        try:
            messages = viewer.input.translate(message)
        except MessageError as error:
            viewer.send_error(str(error))
            return
        if messages:
            if not isinstance(message, MotionInput | RelativeInput):
                # What comes of it is waited for, and not held to the frame rate's beat.
                self._source.expect_picture(SCANOUT)
            self._agent.send(messages)
        # A pointer that passes over a window is not yet a hand on it.
        if viewer is not self._owner and (self._owner is None or not isinstance(message, MotionInput | RelativeInput)):
            self._set_owner(viewer)

    def handle_resize(self, viewer: Viewer, width: int, height: int) -> None:
        viewer.wanted_size = (_clamp(width), _clamp(height))
        if self._owner is None:
            self._set_owner(viewer)
        elif self._owner is viewer:
            self._ask_for_size()

    def handle_audio(self, track: AudioTrack, is_on: bool) -> None:
        if is_on:
            self._audio.listen(track)
        else:
            self._audio.leave(track)

    def _set_owner(self, viewer: Viewer) -> None:
        self._owner = viewer
        self._broadcast({"type": "owner", "viewer": viewer.number})
        self._ask_for_size()

    def _ask_for_size(self) -> None:
        """Ask the guest for the size that the owner wants."""
        size = self._owner.wanted_size if self._owner is not None else None
        if size is None or not self._settings.is_resizable or size == self._asked_size:
            return
        self._asked_size = size
        self._source.set_display(SCANOUT, *size)

    def _update_active(self) -> None:
        active = any(viewer.is_connected for viewer in self._viewers.values())
        self._pipeline.set_active(active)
        self._source.set_active(SCANOUT, active)

    def _broadcast(self, message: Mapping[str, Any]) -> None:
        for viewer in self._viewers.values():
            viewer.send(message)

    def _set_status(self, level: str, text: str) -> None:
        status = {"type": "status", "level": level, "message": text}
        # Good news are told once.
        self._status = None if level == "info" else status
        self._broadcast(status)

    # What the frame link tells us (FrameListener)

    def handle_link_up(self) -> None:
        self._asked_size = None
        self._update_active()
        self._ask_for_size()

    def handle_link_down(self, reason: str) -> None:
        self._is_worker_up = False
        self._pipeline.set_ring(None)
        self._set_status("warning", "The render worker has stopped and is being started again.")

    def handle_link_message(self, message: LinkMessage) -> None:
        match message:
            case CursorImage():
                self._handle_cursor(message)
            case CursorMove():
                pass  # the viewer's own pointer is where it is
            case ScanoutOff(scanout_id):
                if scanout_id == SCANOUT:
                    self._set_status("warning", "The guest shows nothing.")
            case Device():
                _log.info("frames come from %s (%s, convert on %s)", message.name, message.kind, message.convert)
            case _:
                self._handle_ring(message)

    def _handle_ring(self, ring: FrameRing) -> None:
        if ring.scanout_id != SCANOUT:
            ring.close()
            return
        if -(-ring.coded_width // 16) * -(-ring.coded_height // 16) > MAX_MACROBLOCKS:
            _log.error("a screen of %dx%d is too large for H.264", ring.width, ring.height)
            ring.close()
            self._pipeline.set_ring(None)
            self._set_status("error", f"A screen of {ring.width}×{ring.height} is too large to be shown.")
            return
        _log.info("screen %dx%d at 1/%d, %s", ring.source_width, ring.source_height, ring.divisor, ring.format)
        self._is_worker_up = True
        self._rates.set_pixels(ring.coded_width * ring.coded_height)
        self._screen = {
            "type": "screen",
            "width": ring.source_width,
            "height": ring.source_height,
            "coded_width": ring.coded_width,
            "coded_height": ring.coded_height,
            "divisor": ring.divisor,
            "resizable": self._settings.is_resizable,
        }
        self._broadcast(self._screen)
        if self._status is not None:
            self._set_status("info", "The picture is back.")
        self._pipeline.set_ring(ring)
        self._pipeline.request_keyframe()

    def _handle_cursor(self, image: CursorImage) -> None:
        if image.scanout_id == SCANOUT:
            self._next_cursor = image
            if self._cursor_timer is None:
                self._send_cursor()

    def _send_cursor(self) -> None:
        """Send the newest cursor; what comes soon after waits."""
        self._cursor_timer = None
        image, self._next_cursor = self._next_cursor, None
        if image is None:
            return
        self._cursor_timer = asyncio.get_running_loop().call_later(CURSOR_INTERVAL_S, self._send_cursor)
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

    # What the pipeline and the agent tell us

    def _open_encoder(self, settings: EncoderSettings) -> Encoder:
        return open_encoder(self._profile, settings)

    def _handle_frame(self, frame: StreamFrame) -> None:
        for number, viewer in self._viewers.items():
            if not self._rates.is_slow(number):
                viewer.push(frame)

    def _handle_slow_frame(self, frame: StreamFrame) -> None:
        for number, viewer in self._viewers.items():
            if self._rates.is_slow(number):
                viewer.push(frame)

    def _handle_encoder_failure(self, reason: str) -> None:
        software = software_after(self._profile.name)
        if software is not None:
            _log.error("encoder %s keeps failing: going on with %s", self._profile.name, software.name)
            self._profile = software
            return
        self._set_status("error", f"The picture cannot be encoded: {reason}")

    def _handle_guest_clipboard(self, text: str) -> None:
        for viewer in self._viewers.values():
            if viewer.role == "control":
                viewer.send_clipboard(text)

    def _handle_guest_sound(self, is_available: bool) -> None:
        sound = {"type": "audio", "available": is_available and self._audio.is_possible}
        if sound != self._sound:
            self._sound = sound
            self._broadcast(sound)


def _clamp(pixels: int) -> int:
    return max(MIN_SCREEN, min(pixels, MAX_SCREEN))
