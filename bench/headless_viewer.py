# SPDX-License-Identifier: Apache-2.0
"""A viewer without a browser: aiortc's receiver, which takes packets and decodes nothing. It keeps the session's traces."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcrtpreceiver
from aiortc.mediastreams import MediaStreamTrack

from streamer.rtc import overrides
from tests.support.session import Session
from tests.support.web_visitor import cookies_of

_CONNECT_S = 30.0
# Where the fields of a trace are: docs/protocol/client-channels.md, `frames`.
_FLUSH, _SENT = 3, 8


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that was new, as the session traced it: CLOCK_MONOTONIC ns."""

    flush_ns: int
    sent_ns: int


def _drain(_loop: Any, frames: queue.Queue[Any], output: Any, *_: Any) -> None:
    """In a decoder thread's stead."""
    while frames.get() is not None:
        pass


class HeadlessViewer:
    """Connected while it is open. `traces` grows by what the session says of each frame."""

    def __init__(self) -> None:
        self.traces: list[Sent] = []
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.addTransceiver("video", direction="recvonly")
        self._connection.createDataChannel("control")
        motion = self._connection.createDataChannel("motion", ordered=False, maxRetransmits=0)
        motion.on("message", self._handle_message)
        self._track: MediaStreamTrack | None = None
        self._connection.on("track", self._handle_track)
        self._connected = asyncio.Event()
        self._connection.on("connectionstatechange", self._handle_state)

    def _handle_track(self, track: MediaStreamTrack) -> None:
        self._track = track

    def _handle_state(self) -> None:
        if self._connection.connectionState == "connected":
            self._connected.set()

    def _handle_message(self, message: str | bytes) -> None:
        found = json.loads(message)
        if found.get("type") == "frames":
            self.traces += [Sent(frame[_FLUSH], frame[_SENT]) for frame in found["frames"] if frame[_FLUSH]]

    async def connect(self, http: ClientSession, session: Session) -> None:
        """Offer, take the answer, wait until media flows.

        Raises:
            TimeoutError: it does not.
        """
        connection = self._connection
        cookies = await cookies_of(http, session.url)
        headers = {"Origin": session.origin}
        async with asyncio.timeout(_CONNECT_S):
            async with http.ws_connect(f"{session.origin}/api/signal", headers=headers, cookies=cookies) as signals:
                await connection.setLocalDescription(await connection.createOffer())
                await signals.send_json({"type": "offer", "sdp": connection.localDescription.sdp})
                while (message := await signals.receive_json())["type"] != "answer":
                    pass
                await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], "answer"))
                await self._connected.wait()
                self._signals = signals

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()
