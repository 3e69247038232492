# SPDX-License-Identifier: Apache-2.0
"""aiortc's RTP sender for a ViewerTrack: packets go out by the native sender, keyframe requests reach the encoder.

aiortc keeps RTCP. Where the native sender cannot be used, which is decided once, before the first packet, aiortc's own
loop sends the packets as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiortc import rtcrtpsender
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender
from aiortc.rtp import RTCP_RTPFB_NACK, AnyRtcpPacket, RtcpRtpfbPacket, RtcpSrPacket
from aiortc.stats import RTCStatsReport

from streamer.audio.track import AudioTrack
from streamer.rate_limit import RateLimit
from streamer.rtc.extensions import StreamExtensionsMap
from streamer.rtc.native_sender import (
    MAX_RESENT_PER_S,
    NativeSender,
    NativeSenderError,
    sender_parameters,
)
from streamer.rtc.track import ViewerTrack
from streamer.rtc.transport import StreamDtlsTransport

_log = logging.getLogger(__name__)


class StreamSender(RTCRtpSender):
    """Behaves as the stock sender for any other track."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._resent = RateLimit(MAX_RESENT_PER_S, MAX_RESENT_PER_S)
        self.allows_native = True
        self.dump_folder: str | None = None
        self.native: NativeSender | None = None
        # The RTP time of the last keyframe that has gone out.
        self._keyframe_rtp: int | None = None

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        extensions = self._RTCRtpSender__rtp_header_extensions_map  # type: ignore[attr-defined]
        transport = self.transport
        if isinstance(transport, StreamDtlsTransport):
            if isinstance(extensions, StreamExtensionsMap):
                extensions.next_sequence = transport.next_sequence
            is_started = self._RTCRtpSender__started  # type: ignore[attr-defined]
            if isinstance(self.track, ViewerTrack) and not is_started and self.allows_native:
                self.native = self._open_native(self.track, transport, parameters)
        await super().send(parameters)

    def _open_native(
        self, track: ViewerTrack, transport: StreamDtlsTransport, parameters: RTCRtpSendParameters
    ) -> NativeSender | None:
        try:
            needed = sender_parameters(transport, parameters, self._ssrc, self._rtx_ssrc)
            native = NativeSender(transport, needed, track.report_sent, self.dump_folder)
        except NativeSenderError as error:
            _log.info("video is sent by aiortc: the native sender does not do %s", error)
            return None
        track.attach(native)
        return native

    async def _run_rtp(self, codec: RTCRtpCodecParameters) -> None:
        native = self.native
        if native is None:
            await super()._run_rtp(codec)
            return
        # What stop() waits for; frames are pushed meanwhile.
        self._RTCRtpSender__rtp_started.set()  # type: ignore[attr-defined]
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass
        finally:
            native.close()
            if self.track is not None:
                self.track.stop()
            self._RTCRtpSender__rtp_exited.set()  # type: ignore[attr-defined]

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        track = self.track
        if isinstance(track, AudioTrack) and not track.is_listening:
            # Of a sound that nobody listens to there is nothing to report.
            return
        if self.native is not None:
            for packet in packets:
                if isinstance(packet, RtcpSrPacket):
                    self._report(packet, self.native)
        await super()._send_rtcp(packets)

    def _report(self, packet: RtcpSrPacket, native: NativeSender) -> None:
        """Put the native sender's numbers in a sender report, and where aiortc looks for them when the answer comes."""
        info = packet.sender_info = native.sender_info()
        self._RTCRtpSender__lsr = (info.ntp_timestamp >> 16) & 0xFFFFFFFF
        self._RTCRtpSender__lsr_time = time.time()
        self._take_counts(native)

    def _take_counts(self, native: NativeSender) -> None:
        counters = native.counters()
        self._RTCRtpSender__packet_count = counters.packets
        self._RTCRtpSender__octet_count = counters.octets

    async def getStats(self) -> RTCStatsReport:
        if self.native is not None:
            self._take_counts(self.native)
        return await super().getStats()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if self.native is not None and isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            track = self.track
            may_resend = track.may_resend if isinstance(track, ViewerTrack) else lambda sequence, size_bytes: True
            self.native.retransmit(packet.lost, may_resend)
            return
        await super()._handle_rtcp_packet(packet)

    async def _retransmit(self, sequence_number: int) -> None:
        if self._resent.take() and self._is_worth_resending(sequence_number):
            await super()._retransmit(sequence_number)

    def _is_worth_resending(self, sequence_number: int) -> bool:
        """Whether the packet is there, no keyframe has made it useless, and the path has room for it."""
        history = self._RTCRtpSender__rtp_history  # type: ignore[attr-defined]
        packet = history.get(sequence_number % rtcrtpsender.RTP_HISTORY_SIZE)  # type: ignore[attr-defined]
        if packet is None or packet.sequence_number != sequence_number:
            return False
        if self._keyframe_rtp is not None and (packet.timestamp - self._keyframe_rtp) & 0x8000_0000:
            return False
        track = self.track
        return not isinstance(track, ViewerTrack) or track.may_resend(sequence_number, len(packet.payload))

    def _send_keyframe(self) -> None:
        track = self.track
        if isinstance(track, ViewerTrack):
            track.request_keyframe()
        else:
            super()._send_keyframe()

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        # The stock loop asks for the next frame when the last packet of the one before has gone.
        track = self.track
        if isinstance(track, ViewerTrack):
            rtp = self._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
            if track.is_keyframe_in_flight:
                self._keyframe_rtp = rtp
            track.mark_sent(rtp, time.monotonic_ns())
        return await super()._next_encoded_frame(codec)
