# SPDX-License-Identifier: Apache-2.0
"""One viewer's WebRTC connection: answers an offer, sends video and sound, carries the two data channels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError, OperationError

from streamer.audio.track import AudioTrack
from streamer.rtc import overrides
from streamer.rtc.congestion.controller import MAX_BPS, CongestionController, Decision
from streamer.rtc.congestion.packets import PacketResult
from streamer.rtc.congestion.resend import Resend
from streamer.rtc.ice import GatheringError, StreamConnection
from streamer.rtc.native_sender import NativeSender
from streamer.rtc.send_history import TransportStatistics
from streamer.rtc.sender import StreamSender
from streamer.rtc.signaling import Offer, SignalError, TrickledCandidate
from streamer.rtc.track import SentFrame, ViewerTrack
from streamer.rtc.transport import StreamDtlsTransport

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")

# What may wait on the reliable channel before a viewer is given up: several clipboards.
MAX_CONTROL_BYTES = 8_000_000
# On the lossy one, what does not fit is not worth sending.
MAX_MOTION_BYTES = 64_000
MAX_REFUSED_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class RtcSettings:
    """Where media may go: addresses of this machine (no wildcards), UDP ports, STUN and TURN servers.

    `is_native`: packets are made by the stream core where it can, else by aiortc. `dump_folder`: for debugging, each
    viewer's packets are written there before they are protected.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    ports: range | None = None
    ice_servers: tuple[RTCIceServer, ...] = ()
    is_native: bool = True
    dump_folder: str | None = None


class PeerListener(Protocol):
    """Hears of what happens on a peer; called on the event loop, and must not raise."""

    def handle_connected(self) -> None:
        """Media flows now."""

    def handle_channel_open(self, label: str) -> None:
        """A data channel, "control" or "motion", can be sent on."""

    def handle_message(self, label: str, message: str | bytes) -> None:
        """A message came on a data channel."""

    def handle_keyframe_wanted(self) -> None:
        """The viewer cannot show anything without a keyframe."""

    def handle_sent(self, sent: SentFrame) -> None:
        """A frame has gone out."""

    def handle_rate(self, decision: Decision) -> None:
        """The viewer's feedback says what its path takes."""

    def handle_lost(self, reason: str) -> None:
        """The connection is gone, and stays so. Told once."""


class Peer:
    """Serves one offer; another offer takes another Peer. Event loop only. End it with close()."""

    def __init__(self, settings: RtcSettings, listener: PeerListener) -> None:
        overrides.install()
        self._settings = settings
        self._listener = listener
        self._is_closed = False
        self._is_lost = False
        self._channels: dict[str, RTCDataChannel] = {}
        self._refused_channels = 0
        self.audio_track: AudioTrack | None = None  # there is one where the viewer offered to take sound
        self._connection = RTCPeerConnection(
            # One transport from the start: nothing is gathered that is not used.
            RTCConfiguration(iceServers=list(settings.ice_servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self.track = ViewerTrack(listener.handle_keyframe_wanted, listener.handle_sent)
        self.congestion = CongestionController(MAX_BPS)
        self._connection.on("connectionstatechange", self._guard(self._handle_state))
        self._connection.on("datachannel", self._guard(self._handle_channel))

    @property
    def state(self) -> str:
        """WebRTC's connection state."""
        return str(self._connection.connectionState)

    @property
    def statistics(self) -> TransportStatistics:
        """What the viewer's feedback says."""
        transport = self._transport
        return transport.history.statistics if transport is not None else TransportStatistics()

    @property
    def _transport(self) -> StreamDtlsTransport | None:
        for sender in self._connection.getSenders():
            if isinstance(sender.transport, StreamDtlsTransport):
                return sender.transport
        return None

    @property
    def _ice(self) -> StreamConnection | None:
        connection = self._transport.transport._connection if self._transport is not None else None
        return connection if isinstance(connection, StreamConnection) else None

    @property
    def native(self) -> NativeSender | None:
        """The native sender, once media flows; None where aiortc sends the video."""
        senders = (each.native for each in self._connection.getSenders() if isinstance(each, StreamSender))
        return next((native for native in senders if native is not None), None)

    def set_rate(self, rate_bps: int) -> None:
        """What the path to the viewer takes, as far as is known: bursts larger than that are spread."""
        native = self.native
        if native is not None:
            native.set_rate(rate_bps)

    @property
    def unsent_control_bytes(self) -> int:
        """What waits on the reliable channel."""
        channel = self._channels.get("control")
        return channel.bufferedAmount if channel is not None else 0

    async def answer(self, offer: Offer) -> str:
        """Take the offer, gather candidates, return the answer's SDP with them. Media flows once both have connected.

        Raises:
            SignalError: the offer cannot be served.
            GatheringError: no address or port is free.
        """
        connection = self._connection
        transceiver = connection.addTransceiver(self.track, direction="sendonly")
        if isinstance(transceiver.sender, StreamSender):
            transceiver.sender.allows_native = self._settings.is_native
            transceiver.sender.dump_folder = self._settings.dump_folder
        transceiver.setCodecPreferences(
            [codec for codec in RTCRtpSender.getCapabilities("video").codecs if codec.name.upper() in ("H264", "RTX")]
        )
        if offer.has_audio:
            # By a transceiver of its own, in a stream of its own: lip-sync would make the picture wait for the sound.
            self.audio_track = AudioTrack()
            listening = connection.addTransceiver(self.audio_track, direction="sendonly")
            listening.setCodecPreferences(
                [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
            )
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
            self._bind(offer)
            await connection.setLocalDescription(await connection.createAnswer())
        except GatheringError:
            raise
        except (ValueError, AssertionError, InvalidStateError, OperationError, KeyError, IndexError) as error:
            raise SignalError(f"offer.sdp: cannot be answered ({str(error)[:200]})") from error
        return str(connection.localDescription.sdp)

    def _bind(self, offer: Offer) -> None:
        transport, ice = self._transport, self._ice
        if transport is None or ice is None:
            raise RuntimeError("aiortc did not take our DTLS transport, or our ICE connection")
        ice.hosts = self._settings.hosts
        ice.ports = self._settings.ports
        self.track.unsent_bytes = lambda: transport.unsent_bytes
        # The DTLS server chooses the cipher of the packets: ours prefers AES-GCM, Chromium's does not.
        if offer.takes_either_dtls_role and transport._role == "auto":
            transport._set_role("server")
        self.track.round_trip_us = lambda: self.congestion.decision.round_trip_us
        self.track.ask_resend = self._ask_resend
        transport.on_results = self._guard(self._handle_results)

    def _ask_resend(self, sequence: int, size_bytes: int) -> Resend:
        return self.congestion.ask_resend(sequence, size_bytes, time.monotonic_ns() // 1000)

    def _handle_results(self, results: list[PacketResult]) -> None:
        decision = self.congestion.apply(results, time.monotonic_ns() // 1000)
        self.set_rate(decision.target_bps)
        self._listener.handle_rate(decision)

    async def add_candidate(self, trickled: TrickledCandidate) -> None:
        """Add a candidate of the viewer's.

        Raises:
            SignalError: it comes too late, or names no section.
        """
        if self._is_closed or (trickled.candidate is None and not trickled.is_end):
            return
        ice = self._ice
        if trickled.candidate is not None and ice is not None and not ice.takes_candidates:
            _log.debug("passed over a candidate: there are many")
            return
        try:
            await self._connection.addIceCandidate(trickled.candidate)
        except ValueError as error:
            raise SignalError(f"candidate.candidate: {error}") from error

    def send_control(self, message: str) -> bool:
        """Queue a message on the reliable channel; False when there is none. A viewer that does not read is lost."""
        channel = self._channels.get("control")
        if channel is None or channel.readyState != "open":
            return False
        if channel.bufferedAmount > MAX_CONTROL_BYTES:
            self.give_up("it does not read its control channel")
            return False
        return self._send(channel, message)

    def send_motion(self, message: str) -> bool:
        """Send a message on the lossy channel; False when it was dropped."""
        channel = self._channels.get("motion")
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > MAX_MOTION_BYTES:
            return False
        return self._send(channel, message)

    def _send(self, channel: RTCDataChannel, message: str) -> bool:
        try:
            channel.send(message)
        except (InvalidStateError, ValueError, ConnectionError) as error:
            _log.debug("a message on %s was not sent: %s", channel.label, error)
            return False
        return True

    async def close(self) -> None:
        """End the connection. May be called twice."""
        self._is_closed = True
        self._is_lost = True
        self.track.stop()
        if self.audio_track is not None:
            self.audio_track.stop()
        try:
            await self._connection.close()
        finally:
            # Also where that takes too long, or the session ends in the midst of it.
            if self._ice is not None:
                self._ice.drop_sockets()

    def _handle_state(self) -> None:
        match self._connection.connectionState:
            case "connected":
                self._listener.handle_connected()
            case "failed" | "closed":
                self.give_up(f"the connection has {self._connection.connectionState}")

    def give_up(self, reason: str) -> None:
        """The viewer is lost: nothing that it sends is taken any more. May be called twice."""
        if not self._is_lost:
            self._is_lost = True
            self._listener.handle_lost(reason)

    def _handle_channel(self, channel: RTCDataChannel) -> None:
        label = channel.label
        if label not in ("control", "motion") or label in self._channels:
            _log.warning("refused a data channel: %.32a", label)
            channel.close()
            self._refused_channels += 1
            if self._refused_channels > MAX_REFUSED_CHANNELS:
                self.give_up("it opens too many data channels")
            return
        self._channels[label] = channel
        channel.on("message", self._guard(lambda message: self._listener.handle_message(label, message)))
        # The viewer opened it, so it is open here already.
        self._listener.handle_channel_open(label)

    def _guard(self, handler: Callable[_P, None]) -> Callable[_P, None]:
        """Keep an exception of ours out of aiortc's tasks, where it would end the connection."""

        def guarded(*args: _P.args, **options: _P.kwargs) -> None:
            if self._is_lost:
                return
            try:
                handler(*args, **options)
            except Exception:
                _log.exception("a peer's event was not handled")

        return guarded
