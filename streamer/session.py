# SPDX-License-Identifier: Apache-2.0
"""One desktop: wires its screens, their viewers, the frame link, the agent link and the sound together."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guest_agent.messages import CloseViewer, Message, MessageError, Metrics, Shown, Signal
from render_core import CursorImage, CursorMove, Device, ScanoutOff
from streamer.audio.stream import AudioStream
from streamer.audio.track import AudioTrack
from streamer.config import version
from streamer.encode.probe import software_after
from streamer.encode.profiles import EncoderProfile
from streamer.frames import FrameSource, LinkMessage, WorkerLink
from streamer.input.agent_link import AgentLink
from streamer.input.messages import Input, TouchInput, is_motion
from streamer.input.touches import TouchIds
from streamer.newest import Newest
from streamer.rtc.congestion.controller import Decision
from streamer.rtc.peer import RtcSettings
from streamer.screen import Screen, ScreenSettings
from streamer.viewer import Role, Viewer
from streamer.viewer_rates import TICK_S, path_metrics

_log = logging.getLogger(__name__)

MAX_VIEWERS = 64
# A guest can plug its devices in and out as fast as it likes.
OUTPUTS_INTERVAL_S = 0.1
POINTER_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the command line says."""

    frames_path: str
    agent_path: str
    rtc: RtcSettings = field(default_factory=RtcSettings)
    screen: ScreenSettings = field(default_factory=ScreenSettings)
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
        self._link_errors = link_errors
        self._source = FrameSource(settings.frames_path, open_link, link_errors)
        self._agent = AgentLink(
            settings.agent_path,
            self._handle_guest_clipboard,
            self._handle_guest_sound,
            self._handle_guest_touch,
            self._handle_agent_connected,
        )
        self._audio = AudioStream(settings.sound_path)
        self._viewers: dict[int, Viewer] = {}
        # By scanout: 16 at most, as the link and offer.output name no others.
        self._screens: dict[int, Screen] = {}
        # By viewer, from its first offer on.
        self._watched: dict[int, Screen] = {}
        self._touch_ids = TouchIds()
        self._tasks: asyncio.TaskGroup | None = None
        self._is_worker_up = False
        # What a viewer that comes later is told as well.
        self._sound: dict[str, Any] = {"type": "audio", "available": self._audio.is_possible}
        self._outputs = Newest(OUTPUTS_INTERVAL_S, self._broadcast)
        self._pointers = Newest(POINTER_INTERVAL_S, self._broadcast)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._source.run(self), name="frame link")
                tasks.create_task(self._agent.run(), name="agent link")
                tasks.create_task(self._audio.run(), name="audio")
                tasks.create_task(self._tick(), name="rates")
        finally:
            self._tasks = None
            self._outputs.cancel()
            self._pointers.cancel()
            for screen in self._screens.values():
                screen.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for screen in self._screens.values():
                screen.rates.tick()

    # The gateway's messages

    def open_viewer(self, number: int, role: Role) -> None:
        """A viewer's WebSocket is open."""
        if self._tasks is None or number in self._viewers or len(self._viewers) >= MAX_VIEWERS:
            self._send(CloseViewer(number, 1008, "no more viewers can be taken"))
            return
        viewer = Viewer(number, role, self._settings.rtc, self, self._touch_ids)
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
        self._agent.send(viewer.input.release_all())
        screen = self._watched.pop(number, None)
        if screen is not None:
            screen.remove(viewer)

    def metrics(self) -> Metrics:
        """Return the session's numbers."""
        screens = self._screens.values()
        encoding = [screen.statistics for screen in screens]
        values: dict[str, float] = {
            "viewers": len(self._viewers),
            "viewers_connected": sum(viewer.is_connected for viewer in self._viewers.values()),
            "worker_connected": int(self._is_worker_up),
            "agent_connected": int(self._agent.is_connected),
            "outputs": sum(screen.size is not None for screen in screens),
            "outputs_watched": sum(screen.is_active for screen in screens),
            "frames_encoded": sum(each.frames for each in encoding),
            "frames_repeated": sum(each.repeats for each in encoding),
            "keyframes": sum(each.keyframes for each in encoding),
            "encoded_bytes": sum(each.bytes for each in encoding),
            "encode_seconds": sum(each.encode_ns for each in encoding) / 1e9,
            "encoder_opens": sum(each.encoder_opens for each in encoding),
            "encoder_failures": sum(each.encoder_failures for each in encoding),
            "bitrate_target_bps": sum(screen.bitrate_bps for screen in screens),
            "target_bps": sum(screen.rates.shared_bps for screen in screens),
            "viewers_slow": sum(screen.rates.slow_count for screen in screens),
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
        return Metrics(values | path_metrics(self._viewers.values()))

    # What viewers tell us (ViewerHost)

    def send_signal(self, viewer: Viewer, message: Mapping[str, Any]) -> None:
        self._send(Signal(viewer.number, dict(message)))

    def close_viewer(self, viewer: Viewer, reason: str) -> None:
        # 1012: the client comes again.
        short = reason.encode()[:120].decode(errors="ignore")
        self._send(CloseViewer(viewer.number, 1012, short))

    def handle_output(self, viewer: Viewer, output: int) -> None:
        screen, before = self._screen(output), self._watched.get(viewer.number)
        # One whose WebSocket is gone is served to the end of what it has begun.
        if screen is before or viewer.number not in self._viewers:
            return
        if before is not None:
            before.remove(viewer)
        self._watched[viewer.number] = screen
        screen.add(viewer)

    def handle_viewer_connected(self, viewer: Viewer) -> None:
        screen = self._watched.get(viewer.number)
        if screen is not None and self._tasks is not None:
            screen.handle_viewer_connected(viewer, self._tasks)

    def handle_viewer_lost(self, viewer: Viewer) -> None:
        self._agent.send(viewer.input.release_all())
        screen = self._watched.get(viewer.number)
        if screen is not None:
            screen.handle_viewer_lost()

    def handle_control_open(self, viewer: Viewer) -> None:
        screen = self._watched.get(viewer.number)
        if screen is not None:
            screen.welcome(viewer)
        for message in (self._sound, self._pointer_message(), self._outputs_message()):
            viewer.send(message)

    def handle_keyframe_wanted(self, viewer: Viewer) -> None:
        screen = self._watched.get(viewer.number)
        if screen is not None:
            screen.handle_keyframe_wanted(viewer)

    def handle_rate(self, viewer: Viewer, decision: Decision) -> None:
        screen = self._watched.get(viewer.number)
        if screen is not None:
            screen.handle_rate()

    def handle_input(self, viewer: Viewer, message: Input) -> None:
        if isinstance(message, TouchInput) and not self._agent.takes_touch:
            viewer.send_error("touch: the guest takes no touches")
            return
        try:
            messages = viewer.input.translate(message)
        except MessageError as error:
            viewer.send_error(str(error))
            return
        if messages:
            if not is_motion(message):
                # Where it shows is the guest's to decide.
                for screen in self._screens.values():
                    screen.expect_picture()
            self._agent.send(messages)
        watched = self._watched.get(viewer.number)
        if watched is not None:
            watched.handle_input(viewer, is_motion=is_motion(message))

    def handle_resize(self, viewer: Viewer, width: int, height: int) -> None:
        screen = self._watched.get(viewer.number)
        if screen is not None:
            screen.handle_resize(viewer, width, height)

    def handle_audio(self, track: AudioTrack, is_on: bool) -> None:
        if is_on:
            self._audio.listen(track)
        else:
            self._audio.leave(track)

    def _screen(self, scanout_id: int) -> Screen:
        screen = self._screens.get(scanout_id)
        if screen is None:
            screen = Screen(scanout_id, self._settings.screen, self._source, self, self._link_errors)
            self._screens[scanout_id] = screen
        return screen

    def _pointer_message(self) -> dict[str, Any]:
        return {"type": "pointer", "touch": self._agent.takes_touch}

    def _outputs_message(self) -> dict[str, Any]:
        shown = [
            {"id": number, "width": screen.size[0], "height": screen.size[1]}
            for number, screen in sorted(self._screens.items())
            if screen.size is not None
        ]
        return {"type": "outputs", "outputs": shown, "limit": self._settings.screen.outputs}

    def _broadcast(self, message: Mapping[str, Any]) -> None:
        for viewer in self._viewers.values():
            viewer.send(message)

    # What the frame link tells us (FrameListener)

    def handle_link_up(self) -> None:
        for screen in self._screens.values():
            screen.handle_link_up()

    def handle_link_down(self, reason: str) -> None:
        self._is_worker_up = False
        for screen in self._screens.values():
            screen.handle_link_down()

    def handle_link_message(self, message: LinkMessage) -> None:
        match message:
            case CursorImage():
                self._screen(message.scanout_id).handle_cursor(message)
            case CursorMove():
                pass  # the viewer's own pointer is where it is
            case ScanoutOff(scanout_id):
                self._screen(scanout_id).handle_off()
            case Device():
                _log.info("frames come from %s (%s, convert on %s)", message.name, message.kind, message.convert)
            case _:
                self._is_worker_up = True
                self._screen(message.scanout_id).handle_ring(message)

    # What the screens and the agent tell us (ScreenHost)

    @property
    def encoder_profile(self) -> EncoderProfile:
        return self._profile

    def replace_encoder(self, profile: EncoderProfile) -> bool:
        if self._profile is not profile:
            return True
        software = software_after(profile.name)
        if software is None:
            return False
        _log.error("encoder %s keeps failing: going on with %s", profile.name, software.name)
        self._profile = software
        return True

    def handle_size_changed(self, screen: Screen) -> None:
        self._outputs.put(self._outputs_message())
        self._agent.send([_shown(screen)])

    def _handle_agent_connected(self) -> None:
        self._agent.send([_shown(screen) for screen in self._screens.values()])

    def _handle_guest_clipboard(self, text: str) -> None:
        for viewer in self._viewers.values():
            if viewer.role == "control":
                viewer.send_clipboard(text)

    def _handle_guest_sound(self, is_available: bool) -> None:
        sound = {"type": "audio", "available": is_available and self._audio.is_possible}
        if sound != self._sound:
            self._sound = sound
            self._broadcast(sound)

    def _handle_guest_touch(self, takes_touch: bool) -> None:
        self._pointers.put(self._pointer_message())


def _shown(screen: Screen) -> Shown:
    width, height = screen.size or (0, 0)
    return Shown(screen.scanout_id, width, height)
