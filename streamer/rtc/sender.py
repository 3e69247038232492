# SPDX-License-Identifier: Apache-2.0
"""aiortc's RTP sender for a ViewerTrack: keyframe requests reach the encoder, sent frames are reported."""

from __future__ import annotations

import time
from typing import Any

from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender
from aiortc.rtp import AnyRtcpPacket

from streamer.audio.track import AudioTrack
from streamer.rate_limit import RateLimit
from streamer.rtc.extensions import StreamExtensionsMap
from streamer.rtc.track import ViewerTrack
from streamer.rtc.transport import StreamDtlsTransport

# A packet that says what was lost can name 5000 others; this is 40 Mb/s of them.
MAX_RESENT_PER_S = 4000


class StreamSender(RTCRtpSender):
    """Behaves as the stock sender for any other track."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._resent = RateLimit(MAX_RESENT_PER_S, MAX_RESENT_PER_S)

    async def _retransmit(self, sequence_number: int) -> None:
        if self._resent.take():
            await super()._retransmit(sequence_number)

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        extensions = self._RTCRtpSender__rtp_header_extensions_map  # type: ignore[attr-defined]
        transport = self.transport
        if isinstance(extensions, StreamExtensionsMap) and isinstance(transport, StreamDtlsTransport):
            extensions.next_sequence = transport.next_sequence
        await super().send(parameters)

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        track = self.track
        # Of a sound that nobody listens to there is nothing to report.
        if not isinstance(track, AudioTrack) or track.is_listening:
            await super()._send_rtcp(packets)

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
            track.mark_sent(self._RTCRtpSender__rtp_timestamp, time.monotonic_ns())  # type: ignore[attr-defined]
        return await super()._next_encoded_frame(codec)
