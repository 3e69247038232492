# SPDX-License-Identifier: Apache-2.0
"""A stock aiortc receiver that keeps the packets as they came, and a Peer that sends to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import RtpPacket

from streamer.rtc.congestion.controller import Decision
from streamer.rtc.peer import Peer, RtcSettings
from streamer.rtc.sender import StreamSender
from streamer.rtc.signaling import Offer
from streamer.rtc.track import SentFrame, StreamFrame
from streamer.rtc.transport import StreamDtlsTransport
from tests.support.streaming import wait_until


class StockViewer:
    """A stock receiver that keeps the packets as they came, and a Peer that sends to it."""

    def __init__(self, settings: RtcSettings) -> None:
        self.packets: list[RtpPacket] = []
        self.raw: list[bytes] = []
        self.sent: list[SentFrame] = []
        self.keyframes_wanted = 0
        self.decisions: list[Decision] = []
        self.is_connected = False
        self.offered = ""
        self.lost: list[str] = []
        self.connection = RTCPeerConnection()
        self.peer = Peer(settings, self)

    @property
    def receiver(self) -> RTCRtpReceiver:
        return self.connection.getReceivers()[0]

    @property
    def sender_transport(self) -> StreamDtlsTransport:
        transport = self.peer._transport
        assert transport is not None
        return transport

    @property
    def sender(self) -> StreamSender:
        sender = self.peer._connection.getSenders()[0]
        assert isinstance(sender, StreamSender)
        return sender

    def keep_packets(self) -> None:
        transport = self.receiver.transport
        handle = transport._handle_rtp_data

        async def keep(data: bytes, arrival_time_ms: int) -> None:
            self.raw.append(data)
            self.packets.append(RtpPacket.parse(data, transport._rtp_header_extensions_map))
            await handle(data, arrival_time_ms)

        transport._handle_rtp_data = keep  # type: ignore[method-assign]

    def handle_connected(self) -> None:
        self.is_connected = True

    def handle_channel_open(self, label: str) -> None: ...

    def handle_message(self, label: str, message: str | bytes) -> None: ...

    def handle_keyframe_wanted(self) -> None:
        self.keyframes_wanted += 1

    def handle_sent(self, sent: SentFrame) -> None:
        self.sent.append(sent)

    def handle_rate(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def handle_lost(self, reason: str) -> None:
        self.lost.append(reason)

    def push(self, pts: int, size: int = 5000, is_keyframe: bool = True) -> None:
        unit = b"\0\0\0\1\x65" + bytes((pts + index) % 251 + 4 for index in range(size))
        self.peer.track.push(StreamFrame(unit, is_keyframe, pts, 0, 0, 0, 0, 0))


@asynccontextmanager
async def stock_viewer(
    settings: RtcSettings | None = None, prepare: Callable[[StockViewer], None] = lambda viewer: None
) -> AsyncIterator[StockViewer]:
    """Connect a viewer; `prepare` is called when its transports are there, before they are used."""
    viewer = StockViewer(settings or RtcSettings())
    connection = viewer.connection
    try:
        connection.addTransceiver("video", direction="recvonly")
        connection.createDataChannel("control")
        await connection.setLocalDescription(await connection.createOffer())
        viewer.offered = connection.localDescription.sdp
        prepare(viewer)
        answer = await viewer.peer.answer(Offer(viewer.offered))
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        viewer.keep_packets()
        await wait_until(lambda: viewer.is_connected)
        yield viewer
    finally:
        # Trap: an exception in the last BYE must not make this hang.
        async with asyncio.timeout(60):
            await viewer.peer.close()
            await connection.close()
