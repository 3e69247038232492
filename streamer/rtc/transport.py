# SPDX-License-Identifier: Apache-2.0
"""aiortc's DTLS transport, hardened, with transport-wide feedback and a loop that others get a turn on."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiortc import rtp
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RTCP_PSFB_FIR, RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket, is_rtcp

from streamer.rate_limit import RateLimit
from streamer.rtc.congestion.packets import PacketResult
from streamer.rtc.send_history import SendHistory
from streamer.rtc.twcc import RTCP_RTPFB_TRANSPORT_CC, FeedbackError, parse_feedback
from streamer.stream_core.sender import SrtpProfile

_log = logging.getLogger(__name__)

# aiortc sends a whole frame without a pause: some 40 ms for a keyframe of 1 MB.
_PACKETS_A_TURN = 32
_FIR_ENTRY_BYTES = 8
# Receivers report 4 to 20 times a second.
_FEEDBACKS_PER_S, _FEEDBACKS_AT_ONCE = 100, 200


class TransportFeedbackPacket(RtcpRtpfbPacket):
    """Transport-wide feedback with its FCI as it came. aiortc takes any FCI for a list of lost packets."""

    fci: bytes = b""


def parse_rtpfb(data: bytes, fmt: int) -> RtcpRtpfbPacket:
    """Parse an RTP feedback packet: stands in for RtcpRtpfbPacket.parse, which refuses FCIs of odd sizes.

    Raises:
        ValueError: it is malformed.
    """
    if fmt != RTCP_RTPFB_TRANSPORT_CC:
        return stock_parse_rtpfb(data, fmt)
    if len(data) < 8:
        raise ValueError("RTCP RTP feedback length is invalid")
    ssrc, media_ssrc = struct.unpack_from("!LL", data)
    packet = TransportFeedbackPacket(fmt=fmt, ssrc=ssrc, media_ssrc=media_ssrc)
    packet.fci = data[8:]
    return packet


stock_parse_rtpfb = rtp.RtcpRtpfbPacket.parse


_NATIVE_PROFILES = {b"SRTP_" + profile.name.encode(): profile for profile in SrtpProfile}


@dataclass(frozen=True, slots=True)
class SrtpMaster:
    """What the keys of the packets that we send are derived from."""

    profile: SrtpProfile
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)


class StreamDtlsTransport(RTCDtlsTransport):
    """One viewer's transport. What a viewer sends wrong costs a packet, never the connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.history = SendHistory()
        # What the handshake has chosen; no master where the native sender does not know the profile.
        self.srtp_profile_name = ""
        self.srtp_master: SrtpMaster | None = None
        self.on_results: Callable[[list[PacketResult]], None] = lambda results: None
        self._feedbacks = RateLimit(_FEEDBACKS_PER_S, _FEEDBACKS_AT_ONCE)
        self._numbered: int | None = None
        self._packets_this_turn = 0

    def next_sequence(self) -> int:
        """Number the packet that is sent next."""
        self._numbered = self.history.next_sequence()
        return self._numbered

    @property
    def unsent_bytes(self) -> int:
        """What waits in this process because the kernel's buffer is full."""
        total = 0
        for pair in self.transport._connection._nominated.values():
            size = getattr(pair.protocol.transport, "get_write_buffer_size", None)
            total += size() if size is not None else 0
        return total

    def _setup_srtp(self) -> None:
        super()._setup_srtp()
        if self._tx_srtp is None or self._ssl is None:
            return
        name = self._ssl.get_selected_srtp_profile()
        self.srtp_profile_name = name.decode()
        chosen = next(each for each in self._srtp_profiles if each.openssl_profile == name)
        profile = _NATIVE_PROFILES.get(name)
        if profile is None:
            return
        # aiortc keeps no copy: RFC 5764, 4.2 gives the same bytes again.
        material = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (chosen.key_length + chosen.salt_length)
        )
        master = chosen.get_key_and_salt(material, 1 if self._role == "server" else 0)
        self.srtp_master = SrtpMaster(profile, master[: chosen.key_length], master[chosen.key_length :])

    async def _send_rtp(self, data: bytes) -> None:
        numbered, self._numbered = self._numbered, None
        try:
            await super()._send_rtp(data)
        except ConnectionError:
            raise
        except Exception as error:
            # aiortc's sender survives a ConnectionError only: anything else in its last BYE makes close() hang.
            raise ConnectionError(f"cannot send: {error}") from error
        if numbered is not None:
            self.history.sent(numbered, len(data), time.monotonic_ns())
        if not is_rtcp(data):
            self._packets_this_turn += 1
            if self._packets_this_turn >= _PACKETS_A_TURN:
                self._packets_this_turn = 0
                await asyncio.sleep(0)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        try:
            packets = RtcpPacket.parse(data)
        except (ValueError, struct.error, IndexError) as error:
            _log.debug("an RTCP packet is malformed: %s", error)
            return
        for packet in packets:
            try:
                await self._handle_rtcp_packet(packet)
            except (ValueError, struct.error, IndexError) as error:
                _log.debug("a %s is malformed: %s", type(packet).__name__, error)

    async def _handle_rtcp_packet(self, packet: rtp.AnyRtcpPacket) -> None:
        if isinstance(packet, TransportFeedbackPacket):
            if not self._feedbacks.take():
                return
            try:
                self.on_results(self.history.apply(parse_feedback(packet.fci)))
            except FeedbackError as error:
                self.history.statistics.malformed_feedbacks += 1
                _log.debug("%s", error)
            return
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_FIR:
            # The sender is named in the FCI (RFC 5104, 4.3.1), where aiortc does not look.
            for position in range(0, len(packet.fci) - _FIR_ENTRY_BYTES + 1, _FIR_ENTRY_BYTES):
                (ssrc,) = struct.unpack_from("!L", packet.fci, position)
                sender = self._rtp_router.senders.get(ssrc)
                if sender is not None:
                    await sender._handle_rtcp_packet(packet)
            return
        for recipient in self._rtp_router.route_rtcp(packet):
            await recipient._handle_rtcp_packet(packet)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        try:
            await super()._handle_rtp_data(data, arrival_time_ms)
        except (ValueError, struct.error, IndexError, AssertionError) as error:
            _log.debug("an RTP packet is malformed: %s", error)
