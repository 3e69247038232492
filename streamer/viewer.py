# SPDX-License-Identifier: Apache-2.0
"""One viewer: its signalling, its peer, its input, what it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from guest_agent.messages import Message, MessageError
from streamer.audio.track import AudioTrack
from streamer.input.messages import (
    AudioRequest,
    Input,
    KeyframeRequest,
    Ping,
    Presented,
    ResizeRequest,
    clipboard_parts,
    parse_client_message,
)
from streamer.input.touches import TouchIds
from streamer.input.viewer_input import ViewerInput
from streamer.rate_limit import RateLimit
from streamer.rtc.congestion.controller import CongestionController, Decision
from streamer.rtc.ice import GatheringError
from streamer.rtc.peer import Peer, RtcSettings
from streamer.rtc.signaling import Bye, Offer, SignalError, TrickledCandidate, parse_signal
from streamer.rtc.track import SentFrame, StreamFrame

_log = logging.getLogger(__name__)

Role = Literal["control", "view"]

MAX_SIGNALS = 64
CONNECT_TIMEOUT_S = 30.0
# How long traces are gathered before they are sent.
TRACE_INTERVAL_S = 0.1
MAX_TRACES = 60
RATE_WINDOW_NS = 1_000_000_000
# An offer costs a connection; a browser makes one a WebSocket.
OFFERS_PER_S, OFFERS_AT_ONCE = 0.2, 5
# A mouse makes 60 to 250 a second.
MESSAGES_PER_S, MESSAGES_AT_ONCE = 1000, 4000
# The guest can copy faster than a viewer can be told: the newest text waits while more than this is under way.
MAX_UNSENT_BEFORE_CLIPBOARD = 65_536
CLIPBOARD_INTERVAL_S = 0.1
# A viewer that loses much asks often, and every viewer pays for a keyframe.
KEYFRAMES_PER_S, KEYFRAMES_AT_ONCE = 1.0, 4
# A client that sends nonsense is told so this often, and then no more.
MAX_ERRORS = 10


class ViewerHost(Protocol):
    """What a viewer needs of its session. Event loop only."""

    def send_signal(self, viewer: Viewer, message: Mapping[str, Any]) -> None: ...
    def close_viewer(self, viewer: Viewer, reason: str) -> None: ...
    def handle_output(self, viewer: Viewer, output: int) -> None: ...
    def handle_viewer_connected(self, viewer: Viewer) -> None: ...
    def handle_viewer_lost(self, viewer: Viewer) -> None: ...
    def handle_control_open(self, viewer: Viewer) -> None: ...
    def handle_keyframe_wanted(self, viewer: Viewer) -> None: ...
    def handle_rate(self, viewer: Viewer, decision: Decision) -> None: ...
    def handle_input(self, viewer: Viewer, message: Input) -> None: ...
    def handle_resize(self, viewer: Viewer, width: int, height: int) -> None: ...
    def handle_audio(self, track: AudioTrack, is_on: bool) -> None: ...


class Viewer:
    """Owns the viewer's peer. Event loop only; `run()` ends when the viewer has been closed."""

    def __init__(
        self, number: int, role: Role, settings: RtcSettings, host: ViewerHost, touch_ids: TouchIds | None = None
    ) -> None:
        self.number = number
        self.role: Role = role
        self.input = ViewerInput(touch_ids)
        self.wanted_size: tuple[int, int] | None = None
        self.is_connected = False
        self.presented = 0
        self._settings = settings
        self._host = host
        self._peer: Peer | None = None
        self._signals: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue(MAX_SIGNALS)
        self._connect_timer: asyncio.TimerHandle | None = None
        self._traces: deque[SentFrame] = deque(maxlen=MAX_TRACES)
        self._trace_timer: asyncio.TimerHandle | None = None
        self._sent_sizes: deque[tuple[int, int]] = deque()
        self._errors_sent = 0
        self._is_refused = False
        self._offers = RateLimit(OFFERS_PER_S, OFFERS_AT_ONCE)
        self._messages = RateLimit(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        self._keyframes = RateLimit(KEYFRAMES_PER_S, KEYFRAMES_AT_ONCE)
        self._keyframe_timer: asyncio.TimerHandle | None = None
        self._is_flooding = False
        self._clipboard: str | None = None
        self._clipboard_timer: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return f"viewer {self.number} ({self.role})"

    @property
    def peer(self) -> Peer | None:
        """The connection, if there is one."""
        return self._peer

    @property
    def congestion(self) -> CongestionController | None:
        """What its path takes, while it is connected."""
        return self._peer.congestion if self._peer is not None and self.is_connected else None

    def signal(self, message: Mapping[str, Any]) -> None:
        """Take a signalling message; they are served in order."""
        if self._is_flooding:
            return
        try:
            self._signals.put_nowait(message)
        except asyncio.QueueFull:
            self._is_flooding = True
            self._host.close_viewer(self, "too many signalling messages")

    def leave(self) -> None:
        """The viewer's WebSocket is gone."""
        # Whatever it still wanted costs more than nothing.
        while not self._signals.empty():
            self._signals.get_nowait()
        self._signals.put_nowait(None)

    async def run(self) -> None:
        """Serve the viewer. Whatever goes wrong with it stays with it."""
        try:
            while (message := await self._signals.get()) is not None:
                try:
                    await self._handle_signal(message)
                except SignalError as error:
                    _log.warning("%s: %s", self, error)
                    self._host.send_signal(self, {"type": "error", "message": str(error)})
                except GatheringError as error:
                    _log.error("%s: %s", self, error)
                    self._host.close_viewer(self, str(error))
                except Exception:
                    _log.exception("%s: its signalling failed", self)
                    self._host.close_viewer(self, "signalling failed")
        finally:
            await self._close_peer()

    async def _handle_signal(self, message: Mapping[str, Any]) -> None:
        match parse_signal(message):
            case Offer() as offer:
                if not self._offers.take():
                    raise SignalError("offer.sdp: there were too many offers")
                await self._close_peer()
                self._host.handle_output(self, offer.output)
                self.input.scanout = offer.output
                self._peer = Peer(self._settings, self)
                loop = asyncio.get_running_loop()
                self._connect_timer = loop.call_later(CONNECT_TIMEOUT_S, self._handle_connect_timeout)
                sdp = await self._peer.answer(offer)
                self._host.send_signal(self, {"type": "answer", "sdp": sdp})
            case TrickledCandidate() as candidate:
                if self._peer is None:
                    raise SignalError("candidate.candidate: comes before an offer")
                await self._peer.add_candidate(candidate)
            case Bye():
                await self._close_peer()

    async def _close_peer(self) -> None:
        peer, self._peer = self._peer, None
        for timer in (self._connect_timer, self._trace_timer, self._clipboard_timer, self._keyframe_timer):
            if timer is not None:
                timer.cancel()
        self._connect_timer = self._trace_timer = self._clipboard_timer = self._keyframe_timer = None
        self._clipboard = None
        self._traces.clear()
        if peer is None:
            return
        self._disconnect()
        if peer.audio_track is not None:
            self._host.handle_audio(peer.audio_track, False)
        try:
            async with asyncio.timeout(5):
                await peer.close()
        except TimeoutError:
            _log.warning("%s: its connection did not close", self)
        except Exception:
            _log.exception("%s: its connection did not close well", self)

    def _disconnect(self) -> None:
        self.is_connected = False
        self._host.handle_viewer_lost(self)

    def _handle_connect_timeout(self) -> None:
        if not self.is_connected:
            self.handle_lost("no media path was found: is UDP blocked?")

    # What the session tells the viewer

    def push(self, frame: StreamFrame) -> None:
        """Queue a frame for a viewer that is connected."""
        if self._peer is not None and self.is_connected and self._peer.track.push(frame):
            self._peer.congestion.window.add(len(frame.data), time.monotonic_ns() // 1000)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send on the reliable channel; lost when it is not open."""
        if self._peer is not None:
            # Not in ASCII: a part of a clipboard must fit in one message.
            self._peer.send_control(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def send_clipboard(self, text: str) -> None:
        """Send the guest's clipboard; while one is on its way, the newest waits."""
        self._clipboard = text
        if self._clipboard_timer is None:
            self._send_clipboard()

    def _send_clipboard(self) -> None:
        self._clipboard_timer = None
        if self._peer is None or self._clipboard is None:
            return
        if self._peer.unsent_control_bytes > MAX_UNSENT_BEFORE_CLIPBOARD:
            loop = asyncio.get_running_loop()
            self._clipboard_timer = loop.call_later(CLIPBOARD_INTERVAL_S, self._send_clipboard)
            return
        for part in clipboard_parts(self._clipboard):
            self.send(part)
        self._clipboard = None

    def send_error(self, text: str) -> None:
        """Tell the client what was wrong with a message of its own."""
        if self._errors_sent < MAX_ERRORS:
            self._errors_sent += 1
            self.send({"type": "error", "message": text})

    # What the peer tells us (PeerListener)

    def handle_connected(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            _log.info("%s: connected", self)
            self._host.handle_viewer_connected(self)

    def handle_lost(self, reason: str) -> None:
        _log.info("%s: %s", self, reason)
        self._disconnect()
        self._host.close_viewer(self, reason)

    def handle_keyframe_wanted(self) -> None:
        if self._keyframe_timer is not None:
            return
        if self._keyframes.take():
            self._host.handle_keyframe_wanted(self)
        else:
            self._keyframe_timer = asyncio.get_running_loop().call_later(1 / KEYFRAMES_PER_S, self._want_keyframe_again)

    def _want_keyframe_again(self) -> None:
        self._keyframe_timer = None
        self.handle_keyframe_wanted()

    def handle_rate(self, decision: Decision) -> None:
        self._host.handle_rate(self, decision)

    def handle_channel_open(self, label: str) -> None:
        if label == "control":
            self._host.handle_control_open(self)
        else:
            self.input.reset_motion()

    def handle_sent(self, sent: SentFrame) -> None:
        self._sent_sizes.append((sent.sent_ns, len(sent.frame.data)))
        self._traces.append(sent)
        if self._trace_timer is None:
            self._trace_timer = asyncio.get_running_loop().call_later(TRACE_INTERVAL_S, self._send_traces)

    def _send_traces(self) -> None:
        self._trace_timer = None
        now_ns = time.monotonic_ns()
        while self._sent_sizes and self._sent_sizes[0][0] < now_ns - RATE_WINDOW_NS:
            self._sent_sizes.popleft()
        rate_bps = sum(size for _, size in self._sent_sizes) * 8 * 1_000_000_000 // RATE_WINDOW_NS
        frames = [
            [
                sent.rtp,
                sent.frame.is_keyframe,
                len(sent.frame.data),
                sent.frame.flush_ns,
                sent.frame.gpu_done_ns,
                sent.frame.handoff_ns,
                sent.frame.encode_begin_ns,
                sent.frame.encode_end_ns,
                sent.sent_ns,
                sent.first_packet_ns,
            ]
            for sent in self._traces
        ]
        self._traces.clear()
        if self._peer is not None:
            target_bps = self._peer.congestion.decision.target_bps
            message = {"type": "frames", "frames": frames, "bitrate_bps": rate_bps, "target_bps": target_bps}
            self._peer.send_motion(json.dumps(message, separators=(",", ":")))

    def handle_message(self, label: str, data: str | bytes) -> None:
        if not self._messages.take():
            if self._peer is not None:
                self._peer.give_up("it sends too many messages")
            return
        try:
            self._handle_client_message(parse_client_message(label, data))
        except MessageError as error:
            _log.debug("%s: %s", self, error)
            self.send_error(str(error))

    def _handle_client_message(self, message: Message) -> None:
        match message:
            case Ping(t):
                self.send({"type": "pong", "t": t, "server_ns": time.monotonic_ns()})
            case KeyframeRequest():
                self.handle_keyframe_wanted()
            case Presented():
                self.presented += 1
            case AudioRequest(on):
                if self._peer is not None and self._peer.audio_track is not None:
                    self._host.handle_audio(self._peer.audio_track, on)
                elif on:
                    self.send_error("audio.on: the offer has no audio section")
            case _ if self.role == "view":
                if not self._is_refused:
                    self._is_refused = True
                    self.send({"type": "error", "message": f"{message.type}: this link is for viewing only"})
            case ResizeRequest(width, height):
                self._host.handle_resize(self, width, height)
            case _ if isinstance(message, Input):
                self._host.handle_input(self, message)
