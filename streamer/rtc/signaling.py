# SPDX-License-Identifier: Apache-2.0
"""The client's signalling messages (`docs/protocol/client.md`), checked. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

from streamer.rtc.ice import MAX_REMOTE_CANDIDATES

MAX_SDP_CHARACTERS = 60_000
# Browsers send 100 to 400 lines. For each about codecs aiortc looks at all codecs: seconds in which nobody is served.
MAX_SDP_LINES = 1500
MAX_SDP_CODECS = 128
MAX_SDP_WILDCARDS = 16
MAX_CANDIDATE_CHARACTERS = 1024
MAX_OUTPUT = 15

# A browser hides its addresses behind such names. Looking them up takes multicast; the browser's own checks reach us.
_MDNS_CANDIDATE = re.compile(r"^a=candidate:[^\r\n]*\.local [^\r\n]*\r?\n", re.MULTILINE | re.IGNORECASE)


class SignalError(ValueError):
    """A signalling message is wrong; the text names message and field."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The client's offer: one video section, one for data channels, perhaps one for sound. Its candidates have
    addresses. `output` is the guest's output that it wants to see."""

    sdp: str
    has_audio: bool = False
    output: int = 0

    @property
    def takes_either_dtls_role(self) -> bool:
        """Whether the answer may say which end is the DTLS server (RFC 8842: an offer should leave that open)."""
        return "a=setup:actpass" in self.sdp and "a=setup:passive" not in self.sdp and "a=setup:active" not in self.sdp


@dataclass(frozen=True, slots=True)
class TrickledCandidate:
    """A candidate; None is the end of them, or one that we pass over (mDNS, TCP): then `is_end` is False."""

    candidate: RTCIceCandidate | None
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class Bye:
    """The client leaves on purpose."""


def parse_signal(message: Mapping[str, Any]) -> Offer | TrickledCandidate | Bye:
    """Check a message from a viewer.

    Raises:
        SignalError: it is unknown, or a field is wrong.
    """
    match message.get("type"):
        case "offer":
            return _parse_offer(message)
        case "candidate":
            return _parse_candidate(message)
        case "bye":
            return Bye()
        case str(kind):
            raise SignalError(f"message.type: {kind[:32]!a} is not known here")
        case _:
            raise SignalError("message.type: must be a string")


def _string(message: Mapping[str, Any], field: str, limit: int) -> str:
    value = message.get(field)
    name = f"{message['type']}.{field}"
    if not isinstance(value, str):
        raise SignalError(f"{name}: must be a string")
    if len(value) > limit:
        raise SignalError(f"{name}: has {len(value)} characters, over the limit of {limit}")
    return value


def _parse_offer(message: Mapping[str, Any]) -> Offer:
    output = message.get("output", 0)
    if not isinstance(output, int) or isinstance(output, bool) or not 0 <= output <= MAX_OUTPUT:
        raise SignalError(f"offer.output: must be an integer within 0…{MAX_OUTPUT}")
    text = _MDNS_CANDIDATE.sub("", _string(message, "sdp", MAX_SDP_CHARACTERS))
    limits = {"": MAX_SDP_LINES, "a=rtpmap:": MAX_SDP_CODECS, "a=rtcp-fb:*": MAX_SDP_WILDCARDS}
    lines = text.splitlines()
    for start, limit in limits.items():
        if sum(line.startswith(start) for line in lines) > limit:
            raise SignalError(f"offer.sdp: has over {limit} lines {start}".rstrip())
    try:
        description = SessionDescription.parse(text)
    # aiortc's parser answers bad text with whatever exception it comes upon.
    except Exception as error:
        raise SignalError(f"offer.sdp: is malformed ({type(error).__name__}: {str(error)[:100]})") from error
    kinds = [media.kind for media in description.media]
    if sorted(kinds) not in (["application", "video"], ["application", "audio", "video"]):
        raise SignalError("offer.sdp: must have one video section, one for data channels, at most one audio section")
    for media in description.media:
        if media.port == 0:
            raise SignalError(f"offer.sdp: the {media.kind} section is rejected (port 0)")
        if media.dtls is None or not media.dtls.fingerprints:
            raise SignalError(f"offer.sdp: the {media.kind} section has no fingerprint")
        if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
            raise SignalError(f"offer.sdp: the {media.kind} section has no ICE credentials")
        if not media.rtp.muxId:
            raise SignalError(f"offer.sdp: the {media.kind} section has no mid")
        if len(media.ice_candidates) > MAX_REMOTE_CANDIDATES:
            raise SignalError(f"offer.sdp: has over {MAX_REMOTE_CANDIDATES} candidates")
    bundled = {mid for group in description.group if group.semantic == "BUNDLE" for mid in group.items}
    if not {media.rtp.muxId for media in description.media} <= bundled:
        raise SignalError("offer.sdp: the sections must be bundled")
    video = next(media for media in description.media if media.kind == "video")
    if video.direction not in ("recvonly", "sendrecv"):
        raise SignalError("offer.sdp: the video section must be recvonly")
    if not any(codec.name.upper() == "H264" for codec in video.rtp.codecs):
        raise SignalError("offer.sdp: the video section offers no H.264")
    audio = next((media for media in description.media if media.kind == "audio"), None)
    if audio is not None:
        if audio.direction not in ("recvonly", "sendrecv"):
            raise SignalError("offer.sdp: the audio section must be recvonly")
        if not any(codec.name.lower() == "opus" for codec in audio.rtp.codecs):
            raise SignalError("offer.sdp: the audio section offers no Opus")
    return Offer(text, has_audio=audio is not None, output=output)


def _parse_candidate(message: Mapping[str, Any]) -> TrickledCandidate:
    text = _string(message, "candidate", MAX_CANDIDATE_CHARACTERS).strip()
    if not text:
        return TrickledCandidate(None, is_end=True)
    try:
        candidate = candidate_from_sdp(text.removeprefix("a=").removeprefix("candidate:"))
    except (ValueError, AssertionError, IndexError) as error:
        raise SignalError("candidate.candidate: is malformed") from error
    mid, index = message.get("sdpMid"), message.get("sdpMLineIndex")
    if mid is not None and (not isinstance(mid, str) or len(mid) > 64):
        raise SignalError("candidate.sdpMid: must be a short string or null")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 16):
        raise SignalError("candidate.sdpMLineIndex: must be a small integer or null")
    if mid is None and index is None:
        raise SignalError("candidate.sdpMid: is missing, and so is sdpMLineIndex")
    if not 1 <= candidate.port <= 65535 or candidate.component != 1:
        raise SignalError("candidate.candidate: has a bad port or component")
    if candidate.protocol.lower() != "udp" or candidate.ip.lower().endswith(".local"):
        return TrickledCandidate(None)
    candidate.sdpMid, candidate.sdpMLineIndex = mid, index
    return TrickledCandidate(candidate)
