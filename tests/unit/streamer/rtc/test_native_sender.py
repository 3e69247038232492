# SPDX-License-Identifier: Apache-2.0
"""The native sender under aiortc: where its packets go, from which thread, and who says what about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aioice.ice import CandidatePair
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80
from aiortc.rtp import RtcpSrPacket, RtpPacket

from streamer.rtc import overrides
from streamer.rtc.ice import StreamConnection
from streamer.rtc.native_sender import FAST_RATE_BPS, NativeSender
from streamer.rtc.path import Address, ForwardedPath, UdpPath
from streamer.rtc.peer import RtcSettings
from streamer.stream_core.sender import SendMode, SrtpProfile
from tests.support.relay import Relay
from tests.support.stock_viewer import StockViewer, stock_viewer
from tests.support.streaming import wait_until

overrides.install()


def native_of(viewer: StockViewer) -> NativeSender:
    native = viewer.sender.native
    assert native is not None
    return native


def ice_of(viewer: StockViewer) -> StreamConnection:
    ice = viewer.sender_transport.transport._connection
    assert isinstance(ice, StreamConnection)
    return ice


def video(viewer: StockViewer) -> list[RtpPacket]:
    """The packets that came, without retransmissions."""
    return [packet for packet in viewer.packets if packet.ssrc == viewer.sender._ssrc]


def is_whole(packets: list[RtpPacket]) -> bool:
    numbers = [packet.sequence_number for packet in packets]
    return sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers)))


async def push_and_wait(viewer: StockViewer, pts: int, size: int = 30_000) -> None:
    viewer.push(pts, size)
    await wait_until(lambda: bool(viewer.sent) and viewer.sent[-1].frame.pts == pts)
    count = native_of(viewer).counters().packets
    await wait_until(lambda: len(video(viewer)) >= count)


@pytest.mark.parametrize(
    ("offered", "expected"),
    [(SRTP_AEAD_AES_128_GCM, SrtpProfile.AEAD_AES_128_GCM), (SRTP_AEAD_AES_256_GCM, SrtpProfile.AEAD_AES_256_GCM)],
)
async def test_both_ciphers_are_read_by_a_stock_receiver(offered: Any, expected: SrtpProfile) -> None:
    async with stock_viewer(prepare=_offering(offered)) as viewer:
        master = viewer.sender_transport.srtp_master
        assert master is not None and master.profile is expected
        await push_and_wait(viewer, 0)
        assert is_whole(video(viewer))
        assert native_of(viewer).counters().mode is SendMode.GSO
        assert isinstance(native_of(viewer)._path, UdpPath)


async def test_another_cipher_goes_by_aiortc() -> None:
    async with stock_viewer(prepare=_offering(SRTP_AES128_CM_SHA1_80)) as viewer:
        assert viewer.sender.native is None
        viewer.push(0, 30_000)
        await wait_until(lambda: len(viewer.packets) > 20)
        assert viewer.sender_transport.srtp_profile_name == "SRTP_AES128_CM_SHA1_80"


@pytest.mark.parametrize(("offered", "ours"), [("actpass", "server"), ("active", "server"), ("passive", "client")])
async def test_we_are_the_dtls_server_where_we_may(offered: str, ours: str) -> None:
    def prepare(viewer: StockViewer) -> None:
        viewer.offered = viewer.offered.replace("a=setup:actpass", f"a=setup:{offered}")
        if offered != "actpass":
            viewer.receiver.transport._set_role("client" if offered == "active" else "server")

    async with stock_viewer(prepare=prepare) as viewer:
        assert viewer.sender_transport._role == ours
        await push_and_wait(viewer, 0)


def _offering(profile: Any) -> Callable[[StockViewer], None]:
    def prepare(viewer: StockViewer) -> None:
        viewer.receiver.transport._srtp_profiles = [profile]

    return prepare


async def test_a_stream_goes_on_by_a_relay_and_comes_back() -> None:
    async with stock_viewer() as viewer:
        native, ice = native_of(viewer), ice_of(viewer)
        direct = ice._nominated[1]
        relay = Relay(direct.protocol.transport)
        relayed = relay.pair(direct)
        await push_and_wait(viewer, 0)
        native.follow(relayed)
        assert isinstance(native._path, ForwardedPath)
        # More than the socket pair holds: what does not fit waits until it does.
        await push_and_wait(viewer, 1500, 500_000)
        assert relay.relayed > 400
        native.follow(direct)
        before = relay.relayed
        await push_and_wait(viewer, 3000)
        assert relay.relayed == before
        # One stream all the way: no number missing, none twice.
        packets = video(viewer)
        assert is_whole(packets) and len({packet.timestamp for packet in packets}) == 3


async def test_what_ice_nominates_is_followed_and_its_end_is_the_end() -> None:
    async with stock_viewer() as viewer:
        native, ice = native_of(viewer), ice_of(viewer)
        before, path = ice._nominated[1], native._path
        pair = CandidatePair(before.protocol, before.remote_candidate)
        pair.state = CandidatePair.State.SUCCEEDED
        pair.nominated = True
        ice.check_complete(pair)
        assert ice._nominated[1] is pair and native._path is not path
        await push_and_wait(viewer, 0)
        # The viewer's consent has expired.
        await ice.close()
        assert native._path is None
        packets = native.counters().packets
        viewer.push(1500)
        assert native.counters().packets == packets


async def test_who_cannot_follow_loses_frames_and_asks_for_a_keyframe() -> None:
    async with stock_viewer() as viewer:
        native = native_of(viewer)
        viewer.push(0)
        native.follow(None)
        asked: list[None] = []
        viewer.peer.track._on_keyframe_wanted = lambda: asked.append(None)
        for index in range(1, 40):
            viewer.push(index * 1500, is_keyframe=False)
        assert len(asked) == 1
        assert native.backlog().unsent_frames == 4 and viewer.peer.track.dropped == 35


async def test_frames_behind_a_spread_keyframe_wait() -> None:
    async with stock_viewer() as viewer:
        native = native_of(viewer)
        native.core.set_pace(20_000_000)
        viewer.push(0, 300_000)
        for index in range(1, 20):
            viewer.push(index * 1500, 1000, is_keyframe=False)
        assert native.backlog().unsent_frames == 20 and viewer.keyframes_wanted == 0
        await wait_until(lambda: len(viewer.sent) == 20)
        assert viewer.peer.track.dropped == 0


async def test_sender_reports_tell_what_the_native_sender_has_sent() -> None:
    async with stock_viewer() as viewer:
        reports: list[RtcpSrPacket] = []
        receiver = viewer.receiver
        handle = receiver._handle_rtcp_packet

        async def keep(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                reports.append(packet)
            await handle(packet)

        receiver._handle_rtcp_packet = keep  # type: ignore[method-assign]
        await push_and_wait(viewer, 0)
        packets = video(viewer)
        await wait_until(lambda: any(report.sender_info.packet_count for report in reports))
        info = reports[-1].sender_info
        assert info.packet_count == len(packets)
        assert info.octet_count == sum(len(packet.payload) for packet in packets)
        # Its two clocks run alike.
        later = native_of(viewer).sender_info()
        ntp_s = (later.ntp_timestamp - info.ntp_timestamp) / 2**32
        rtp_s = ((later.rtp_timestamp - info.rtp_timestamp) & 0xFFFFFFFF) / 90_000
        assert abs(ntp_s - rtp_s) < 0.1
        stats = await viewer.sender.getStats()
        outbound = next(each for each in stats.values() if each.type == "outbound-rtp")
        assert outbound.packetsSent == len(packets)


async def test_a_nack_may_name_packets_beyond_the_wrap() -> None:
    async with stock_viewer() as viewer:
        native = native_of(viewer)
        await push_and_wait(viewer, 0)
        first = video(viewer)[0].sequence_number
        transport = viewer.receiver.transport
        head = bytes((0x81, 205, 0, 3)) + (1).to_bytes(4) + viewer.sender._ssrc.to_bytes(4)
        await transport._send_rtp(head + b"\xff\xff\xff\xff")
        await transport._send_rtp(head + first.to_bytes(2) + b"\0\1")
        await wait_until(lambda: native.counters().resent_packets == 2)
        assert native.counters().resends_refused == 17


async def test_the_rate_sets_the_pace() -> None:
    async with stock_viewer() as viewer:
        native = native_of(viewer)
        assert native._path is not None and native._path.address.is_loopback
        native._path.address = Address("192.0.2.1", 9)  # as if it were far away
        for rate_bps, is_spread in ((1_000_000, True), (100_000_000, False)):
            viewer.peer.set_rate(rate_bps)
            viewer.push(rate_bps, 100_000)
            assert bool(native.backlog().unsent_bytes) == is_spread
            native.set_rate(FAST_RATE_BPS)
            await wait_until(lambda: not native.backlog().unsent_bytes)


async def test_a_large_keyframe_is_spread_and_other_frames_are_not() -> None:
    async with stock_viewer(RtcSettings()) as viewer:
        native = native_of(viewer)
        viewer.push(0, 60_000)
        assert not native.backlog().unsent_bytes
        viewer.push(1500, 1_000_000)
        # Some has gone at once, the rest waits for its time, which the loop keeps.
        waits = native.backlog()
        assert 500_000 < waits.unsent_bytes < 950_000 and waits.next_ns is not None and not waits.is_blocked
        await wait_until(lambda: viewer.sent[-1].frame.pts == 1500)
        assert not native.backlog().unsent_bytes
        first, large = viewer.sent
        assert large.sent_ns - large.first_packet_ns > first.sent_ns - first.first_packet_ns
