# SPDX-License-Identifier: Apache-2.0
"""The contract with aiortc: every name that is overridden or reached into, and a pair of peers that shows the effect.

When aiortc is updated and one of these fails, look at `streamer/rtc/` before anything else.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import aioice.ice
import aiortc.codecs
import aiortc.rtcdtlstransport
import aiortc.rtcicetransport
import aiortc.rtcpeerconnection
import aiortc.rtcrtpsender
import aiortc.rtp
import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.rtp import RTCP_PSFB_FIR, RTCP_PSFB_PLI, RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket

from streamer.rtc import overrides
from streamer.rtc.extensions import PLAYOUT_DELAY_URI, TRANSPORT_CC_URI, StreamExtensionsMap
from streamer.rtc.ice import StreamConnection, StreamProtocol
from streamer.rtc.peer import RtcSettings
from streamer.rtc.sctp import StreamSctpTransport
from streamer.rtc.sender import StreamSender
from streamer.rtc.transport import StreamDtlsTransport, TransportFeedbackPacket
from tests.support.stock_viewer import stock_viewer
from tests.support.streaming import wait_until

overrides.install()


def test_this_is_the_version_that_was_looked_at() -> None:
    assert version("aiortc") == overrides.AIORTC_VERSION


def test_installing_twice_changes_nothing() -> None:
    before = len(aiortc.codecs.HEADER_EXTENSIONS["video"])
    overrides.install()
    assert len(aiortc.codecs.HEADER_EXTENSIONS["video"]) == before


@pytest.mark.parametrize(
    ("module", "name", "ours"),
    [
        (aiortc.rtp, "HeaderExtensionsMap", StreamExtensionsMap),
        (aiortc.rtcpeerconnection, "RTCRtpSender", StreamSender),
        (aiortc.rtcpeerconnection, "RTCDtlsTransport", StreamDtlsTransport),
        (aiortc.rtcpeerconnection, "RTCSctpTransport", StreamSctpTransport),
        (aiortc.rtcicetransport, "Connection", StreamConnection),
        (aiortc.rtcrtpsender, "RTP_HISTORY_SIZE", 4096),
        (aioice.ice, "CONSENT_INTERVAL", 1),
        (aioice.ice, "CONSENT_FAILURES", 5),
    ],
)
def test_ours_is_in_place(module: object, name: str, ours: object) -> None:
    assert getattr(module, name) == ours


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (aiortc.rtcrtpsender.RTCRtpSender._next_encoded_frame, ["self", "codec"]),
        (aiortc.rtcrtpsender.RTCRtpSender._send_keyframe, ["self"]),
        (aiortc.rtcrtpsender.RTCRtpSender._run_rtp, ["self", "codec"]),
        (aiortc.rtcrtpsender.RTCRtpSender._send_rtcp, ["self", "packets"]),
        (aiortc.rtcrtpsender.RTCRtpSender._handle_rtcp_packet, ["self", "packet"]),
        (aiortc.rtcrtpsender.RTCRtpSender._retransmit, ["self", "sequence_number"]),
        (aiortc.rtcdtlstransport.RTCDtlsTransport._setup_srtp, ["self"]),
        (aiortc.rtcdtlstransport.SRTPProtectionProfile.get_key_and_salt, ["self", "src", "idx"]),
        (aioice.ice.Connection.check_complete, ["self", "pair"]),
        (aiortc.rtcrtpsender.RTCRtpSender.send, ["self", "parameters"]),
        (aiortc.rtcdtlstransport.RTCDtlsTransport._send_rtp, ["self", "data"]),
        (aiortc.rtcdtlstransport.RTCDtlsTransport._handle_rtcp_data, ["self", "data"]),
        (aiortc.rtcdtlstransport.RTCDtlsTransport._handle_rtp_data, ["self", "data", "arrival_time_ms"]),
        (aiortc.rtcdtlstransport.RtpRouter.route_rtcp, ["self", "packet"]),
        (aioice.ice.Connection.get_component_candidates, ["self", "component", "addresses", "timeout"]),
        (aioice.ice.StunProtocol.datagram_received, ["self", "data", "addr"]),
        (aioice.ice.server_reflexive_candidate, ["protocol", "stun_server"]),
        (H264Encoder.pack, ["self", "packet"]),
    ],
)
def test_what_we_override_or_call_has_its_signature(function: Any, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_what_we_reach_into_is_used_by_aiortc() -> None:
    source = inspect.getsource(aiortc.rtcrtpsender.RTCRtpSender)
    for name in (
        "self.__rtp_header_extensions_map = rtp.HeaderExtensionsMap()",
        "packet.serialize(self.__rtp_header_extensions_map)",
        "self.__rtp_timestamp = packet.timestamp",
        "% RTP_HISTORY_SIZE",
        "enc_frame = await self._next_encoded_frame(codec)",
        "self.__encoder.pack(data)",
        # What the native sender takes the place of, and what stop() waits for.
        "asyncio.ensure_future(self._run_rtp(parameters.codecs[0]))",
        "asyncio.gather(self.__rtp_started.wait(), self.__rtcp_started.wait())",
        "asyncio.gather(self.__rtp_exited.wait(), self.__rtcp_exited.wait())",
        "await self._send_rtcp(packets)",
        "if self.__lsr == report.lsr and report.dlsr:",
        "self.__lsr_time",
        "packetsSent=self.__packet_count",
        "bytesSent=self.__octet_count",
        "if not self.__started:",
    ):
        assert name in source
    source = inspect.getsource(aiortc.rtcdtlstransport.RTCDtlsTransport)
    for name in (
        'b"EXTRACTOR-dtls_srtp"',
        "2 * (srtp_profile.key_length + srtp_profile.salt_length)",
        "srtp_tx_key = srtp_profile.get_key_and_salt(view, 1)",
        "self._tx_srtp = Session(tx_policy)",
    ):
        assert name in source
    source = inspect.getsource(aioice.ice.Connection)
    assert source.count("self._nominated[") == 2, "a pair is nominated elsewhere than in check_complete()"
    for name in ("self._remote_candidates", "self._nominated", "self._protocols", "self.get_component_candidates("):
        assert name in source
    source = inspect.getsource(aioice.ice.Connection.query_consent)
    assert "CONSENT_INTERVAL" in source and "CONSENT_FAILURES" in source
    assert "iceServers = self.getDefaultIceServers()" in inspect.getsource(aiortc.rtcicetransport.RTCIceGatherer)


def test_feedback_of_odd_sizes_does_not_spoil_its_compound() -> None:
    # 17 bytes of FCI and 3 of padding, behind a PLI.
    pli = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=2)
    fci = bytes(17)
    feedback = bytes((0xAF, 205, 0, 7)) + (1).to_bytes(4) + (2).to_bytes(4) + fci + bytes((0, 0, 3))
    packets = RtcpPacket.parse(bytes(pli) + feedback)
    assert packets[0] == pli
    assert isinstance(packets[1], TransportFeedbackPacket) and packets[1].fci == fci


def test_nacks_are_parsed_as_before() -> None:
    nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=[5, 7])
    assert RtcpPacket.parse(bytes(nack)) == [nack]


# By the native sender, and by aiortc's own.
BOTH_WAYS = pytest.mark.parametrize("settings", [RtcSettings(), RtcSettings(is_native=False)], ids=["native", "aiortc"])


@BOTH_WAYS
async def test_every_packet_carries_playout_delay_and_its_number(settings: RtcSettings) -> None:
    async with stock_viewer(settings) as viewer:
        assert (viewer.sender.native is not None) == settings.is_native
        viewer.push(0)
        viewer.push(1500, is_keyframe=False)
        history = viewer.sender_transport.history
        await wait_until(lambda: len(viewer.packets) >= max(8, history.statistics.packets_sent))
        raw = viewer.raw
        ids = {each.uri: each.id for each in aiortc.codecs.HEADER_EXTENSIONS["video"]}
        numbers = []
        for data in raw:
            profile, length = int.from_bytes(data[12:14]), int.from_bytes(data[14:16]) * 4
            found = dict(aiortc.rtp.unpack_header_extensions(profile, data[16 : 16 + length]))
            assert found[ids[PLAYOUT_DELAY_URI]] == b"\0\0\0"
            numbers.append(int.from_bytes(found[ids[TRANSPORT_CC_URI]]))
        assert numbers == list(range(len(raw)))
        assert history.statistics.packets_sent == len(raw)
        assert viewer.packets[0].extensions.transport_sequence_number is not None


@BOTH_WAYS
async def test_a_packet_long_gone_can_be_sent_again_with_a_new_number(settings: RtcSettings) -> None:
    async with stock_viewer(settings) as viewer:
        # More packets than aiortc would keep; slowly, since nobody here shall lose any.
        for index in range(20):
            viewer.push(index * 1500, size=40_000, is_keyframe=index == 0)
            # One after the other has gone: a frame for which others wait is dropped, and all until the next keyframe.
            await wait_until(lambda index=index: len(viewer.sent) == index + 1)  # type: ignore[misc]
            await wait_until(lambda index=index: len(viewer.packets) >= 30 * (index + 1))  # type: ignore[misc]
        first = viewer.packets[0]
        count = len(viewer.packets)
        nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=first.ssrc, lost=[first.sequence_number])
        await viewer.receiver.transport._send_rtp(bytes(nack))
        await wait_until(lambda: any(packet.ssrc != first.ssrc for packet in viewer.packets[count - 1 :]))
        again = next(packet for packet in viewer.packets if packet.ssrc != first.ssrc)
        assert again.payload[:2] == first.sequence_number.to_bytes(2)
        assert again.payload[2:] == first.payload
        numbers = [packet.extensions.transport_sequence_number for packet in viewer.packets]
        assert again.extensions.transport_sequence_number not in (None, first.extensions.transport_sequence_number)
        assert len(set(numbers)) == len(numbers)


AIORTCS_WAY = RtcSettings(is_native=False)


async def test_what_a_keyframe_has_made_useless_is_not_sent_again() -> None:
    async with stock_viewer(AIORTCS_WAY) as viewer:
        viewer.push(0)
        await wait_until(lambda: len(viewer.sent) == 1 and len(viewer.packets) >= 4)
        viewer.push(1500)
        await wait_until(lambda: len(viewer.sent) == 2 and len(viewer.packets) >= 8)
        viewer.push(3000, size=100, is_keyframe=False)
        await wait_until(lambda: len(viewer.sent) == 3)
        timestamps = sorted({packet.timestamp for packet in viewer.packets[:8]})
        first = next(packet for packet in viewer.packets if packet.timestamp == timestamps[0])
        second = next(packet for packet in viewer.packets if packet.timestamp == timestamps[1])
        assert not viewer.sender._is_worth_resending(first.sequence_number)
        assert viewer.sender._is_worth_resending(second.sequence_number)
        assert not viewer.sender._is_worth_resending((first.sequence_number - 1) & 0xFFFF)


@BOTH_WAYS
async def test_more_losses_than_fit_cost_a_keyframe(settings: RtcSettings) -> None:
    async with stock_viewer(settings) as viewer:
        viewer.push(0, size=100_000)
        await wait_until(lambda: len(viewer.packets) >= 70)
        numbers = [packet.sequence_number for packet in viewer.packets]
        sent = [viewer.peer.track.may_resend(number, len(viewer.packets[0].payload)) for number in numbers]
        assert 5 < sum(sent) < 60
        assert viewer.keyframes_wanted > 0


@BOTH_WAYS
async def test_pli_and_fir_reach_the_encoder(settings: RtcSettings) -> None:
    async with stock_viewer(settings) as viewer:
        viewer.push(0)
        await wait_until(lambda: bool(viewer.packets))
        ssrc = viewer.packets[0].ssrc
        transport = viewer.receiver.transport
        pli = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=ssrc)
        await transport._send_rtp(bytes(pli))
        await wait_until(lambda: viewer.keyframes_wanted == 1)
        fir = RtcpPsfbPacket(fmt=RTCP_PSFB_FIR, ssrc=1, media_ssrc=0, fci=ssrc.to_bytes(4) + b"\1\0\0\0")
        await transport._send_rtp(bytes(fir))
        await wait_until(lambda: viewer.keyframes_wanted == 2)


async def test_malformed_rtcp_costs_nothing_but_itself() -> None:
    async with stock_viewer() as viewer:
        viewer.push(0)
        await wait_until(lambda: bool(viewer.packets))
        transport = viewer.receiver.transport
        ssrc = viewer.packets[0].ssrc
        head = bytes((0x8F, 205, 0, 3)) + bytes(4) + ssrc.to_bytes(4)
        remb = RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=b"REMB\xff\0\0\0")
        for data in (head + b"\0\0\0\0", bytes((0x81, 201, 0, 1)) + bytes(4), bytes(remb)):
            await transport._send_rtp(data)
        pli = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=ssrc)
        await transport._send_rtp(bytes(pli))
        await wait_until(lambda: viewer.keyframes_wanted == 1)
        assert viewer.sender_transport.history.statistics.malformed_feedbacks == 1
        assert not viewer.lost


async def test_feedback_becomes_statistics() -> None:
    async with stock_viewer() as viewer:
        viewer.push(0, size=20_000)
        await wait_until(lambda: len(viewer.packets) >= 10)
        fci = (0).to_bytes(2) + (10).to_bytes(2) + bytes(4) + (1 << 13 | 10).to_bytes(2) + bytes(10)
        report = bytes((0x8F, 205, 0, 7)) + bytes(8) + fci
        await viewer.receiver.transport._send_rtp(report)
        await wait_until(lambda: viewer.peer.statistics.packets_acked == 10)


@BOTH_WAYS
async def test_frames_are_reported_when_sent_with_the_time_on_the_wire(settings: RtcSettings) -> None:
    async with stock_viewer(settings) as viewer:
        viewer.push(0)
        viewer.push(90_000)
        viewer.push(93_000, is_keyframe=False)
        await wait_until(lambda: len(viewer.sent) >= 2)
        await wait_until(lambda: viewer.sent[-1].frame.pts == 93_000)
        # Reported when handed to the socket: the last packets may still be on their way.
        await wait_until(lambda: {sent.rtp for sent in viewer.sent} <= {packet.timestamp for packet in viewer.packets})
        assert [(sent.frame.pts - viewer.sent[0].frame.pts) for sent in viewer.sent] == [
            (sent.rtp - viewer.sent[0].rtp) & 0xFFFFFFFF for sent in viewer.sent
        ]


async def test_a_failing_transport_does_not_make_close_hang() -> None:
    async with stock_viewer() as viewer:

        class Broken:
            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("broken")

        viewer.sender_transport._tx_srtp = Broken()  # type: ignore[assignment]
        viewer.push(0)
        with pytest.raises(ConnectionError):
            await viewer.sender_transport._send_rtp(bytes((0x80, 99)) + bytes(20))


async def test_ice_is_the_only_transport_and_on_loopback() -> None:
    async with stock_viewer() as viewer:
        connection = viewer.sender_transport.transport._connection
        assert isinstance(connection, StreamConnection)
        assert {type(protocol) for protocol in connection._protocols} == {StreamProtocol}
        assert {candidate.host for candidate in connection.local_candidates} == {"127.0.0.1"}
        assert connection.stun_server is None and connection.turn_server is None
        assert viewer.sender_transport.unsent_bytes == 0
