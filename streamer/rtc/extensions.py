# SPDX-License-Identifier: Apache-2.0
"""RTP header extensions: aiortc's map, which is closed, with those that low latency and feedback need."""

from __future__ import annotations

import struct
from collections.abc import Callable

from aiortc import rtp
from aiortc.rtcrtpparameters import RTCRtpParameters

PLAYOUT_DELAY_URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
TRANSPORT_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_CAPTURE_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"

# Minimum 0, maximum 0, 12 bits each: a browser shows each frame as soon as it is decoded.
PLAYOUT_DELAY_NONE = b"\0\0\0"

StockExtensionsMap = rtp.HeaderExtensionsMap


class StreamExtensionsMap(StockExtensionsMap):
    """Writes playout-delay 0/0 and a transport-wide sequence number on each packet where they were negotiated.

    `next_sequence` is the transport's counter; a sender sets it. Packets are numbered when they are serialised, so a
    retransmission gets its own number.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[str, int] = {}
        self.next_sequence: Callable[[], int] | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        self._ids.update({extension.uri: extension.id for extension in parameters.headerExtensions})

    def set(self, values: rtp.HeaderExtensions) -> tuple[int, bytes]:
        extensions: list[tuple[int, bytes]] = []
        ids = self._ids
        if values.mid is not None and MID_URI in ids:
            extensions.append((ids[MID_URI], values.mid.encode()))
        if values.abs_send_time is not None and ABS_SEND_TIME_URI in ids:
            extensions.append((ids[ABS_SEND_TIME_URI], struct.pack("!L", values.abs_send_time)[1:]))
        if PLAYOUT_DELAY_URI in ids:
            extensions.append((ids[PLAYOUT_DELAY_URI], PLAYOUT_DELAY_NONE))
        if self.next_sequence is not None and TRANSPORT_CC_URI in ids:
            extensions.append((ids[TRANSPORT_CC_URI], struct.pack("!H", self.next_sequence())))
        return rtp.pack_header_extensions(extensions)
