# SPDX-License-Identifier: Apache-2.0
"""aiortc's RTP sender for a ViewerTrack: keyframe requests reach the encoder, sent frames are reported."""

from __future__ import annotations

import time
from typing import Any

from aiortc import rtcrtpsender
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender

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
        # The RTP time of the last keyframe that has gone out.
        self._keyframe_rtp: int | None = None

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

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        extensions = self._RTCRtpSender__rtp_header_extensions_map  # type: ignore[attr-defined]
        transport = self.transport
        if isinstance(extensions, StreamExtensionsMap) and isinstance(transport, StreamDtlsTransport):
            extensions.next_sequence = transport.next_sequence
        await super().send(parameters)

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
