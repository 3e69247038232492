# SPDX-License-Identifier: Apache-2.0
"""What is changed in stock aiortc, all in one place. Each change has a test that fails when aiortc's internals move."""

from __future__ import annotations

from typing import Any

import aioice.ice
import aiortc.codecs
import aiortc.rtcdtlstransport
import aiortc.rtcicetransport
import aiortc.rtcpeerconnection
import aiortc.rtcrtpsender
import aiortc.rtp
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpHeaderExtensionParameters

from streamer.rtc.extensions import PLAYOUT_DELAY_URI, TRANSPORT_CC_URI, StreamExtensionsMap
from streamer.rtc.ice import CONSENT_FAILURES, CONSENT_INTERVAL_S, StreamConnection
from streamer.rtc.sctp import StreamSctpTransport
from streamer.rtc.sender import StreamSender
from streamer.rtc.transport import StreamDtlsTransport, parse_rtpfb

AIORTC_VERSION = "1.16.0"
# Packets kept for retransmission; a keyframe of 600 kB has 500.
HISTORY_PACKETS = 4096

_FEEDBACK = (RTCRtcpFeedback(type="transport-cc"), RTCRtcpFeedback(type="ccm", parameter="fir"))
_EXTENSION_URIS = (PLAYOUT_DELAY_URI, TRANSPORT_CC_URI)

_installed = False


def install() -> None:
    """Change aiortc for this process, once; before the first RTCPeerConnection is made."""
    global _installed
    if _installed:
        return
    _installed = True
    _offer_extensions()
    _offer_feedback()
    replace: list[tuple[Any, str, Any]] = [
        (aiortc.rtp, "HeaderExtensionsMap", StreamExtensionsMap),
        (aiortc.rtcrtpsender, "RTP_HISTORY_SIZE", HISTORY_PACKETS),
        (aiortc.rtcpeerconnection, "RTCRtpSender", StreamSender),
        (aiortc.rtcpeerconnection, "RTCDtlsTransport", StreamDtlsTransport),
        (aiortc.rtcpeerconnection, "RTCSctpTransport", StreamSctpTransport),
        (aiortc.rtcicetransport, "Connection", StreamConnection),
        (aioice.ice, "CONSENT_INTERVAL", CONSENT_INTERVAL_S),
        (aioice.ice, "CONSENT_FAILURES", CONSENT_FAILURES),
    ]
    for module, name, value in replace:
        if not hasattr(module, name):
            raise RuntimeError(f"{module.__name__}.{name} is gone: this needs aiortc {AIORTC_VERSION}")
        setattr(module, name, value)
    aiortc.rtp.RtcpRtpfbPacket.parse = staticmethod(parse_rtpfb)  # type: ignore[method-assign]
    # The default is a public server.
    aiortc.rtcicetransport.RTCIceGatherer.getDefaultIceServers = classmethod(  # type: ignore[method-assign,assignment]
        lambda cls: []
    )


def _offer_extensions() -> None:
    """Add our extensions; ids are shared by audio and video, and 1 to 14 fit the short form."""
    used = {extension.id for kind in aiortc.codecs.HEADER_EXTENSIONS.values() for extension in kind}
    free = (number for number in range(1, 15) if number not in used)
    for uri in _EXTENSION_URIS:
        aiortc.codecs.HEADER_EXTENSIONS["video"].append(RTCRtpHeaderExtensionParameters(id=next(free), uri=uri))


def _offer_feedback() -> None:
    for codec in aiortc.codecs.CODECS["video"]:
        if not aiortc.codecs.is_rtx(codec):
            codec.rtcpFeedback.extend(_FEEDBACK)
