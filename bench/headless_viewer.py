# SPDX-License-Identifier: Apache-2.0
"""A viewer without a browser: aiortc's receiver, which decodes nothing here. It keeps the session's traces."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcrtpreceiver
from aiortc.mediastreams import MediaStreamTrack

from streamer.rtc import overrides
from tests.support.session import Session
from tests.support.web_visitor import cookies_of

_CONNECT_S = 30.0
# Where the fields of a trace are: docs/protocol/client.md, `frames`.
_FLUSH, _SENT = 3, 8


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that was new, as the session traced it: CLOCK_MONOTONIC ns."""

    flush_ns: int
    sent_ns: int


def _drain(
    loop: asyncio.AbstractEventLoop, input_q: queue.Queue[Any], output_q: asyncio.Queue[Any], decode_error: Any
) -> None:
    """Stand in for aiortc's decoder thread, whose parameters these are."""
    while input_q.get() is not None:
        pass


class HeadlessViewer:
    """Connected while it is open. `traces` grows by what the session says of each frame."""

    def __init__(self) -> None:
        self.traces: list[Sent] = []
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.addTransceiver("video", direction="recvonly")
        self._connection.createDataChannel("control")
        # Not lossy as a browser's: no trace may be missing.
        motion = self._connection.createDataChannel("motion", ordered=False)
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

    async def connect(self, signals: ClientWebSocketResponse) -> None:
        """Offer, take the answer, wait until media flows. `signals` must stay open as long.

        Raises:
            TimeoutError: it does not.
        """
        connection = self._connection
        async with asyncio.timeout(_CONNECT_S):
            await connection.setLocalDescription(await connection.createOffer())
            await signals.send_json({"type": "offer", "sdp": connection.localDescription.sdp})
            while (message := await signals.receive_json())["type"] != "answer":
                pass
            await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], "answer"))
            await self._connected.wait()

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()


@asynccontextmanager
async def headless_viewer(session: Session) -> AsyncIterator[HeadlessViewer]:
    """Watch a session."""
    overrides.install()
    # Looked up by aiortc when a track begins; this process decodes nothing.
    rtcrtpreceiver.decoder_worker = _drain
    viewer = HeadlessViewer()
    async with ClientSession() as http:
        cookies = await cookies_of(http, session.url)
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        headers = {"Origin": session.origin, "Cookie": cookie}
        async with http.ws_connect(f"{session.origin}/api/signal", headers=headers) as signals:
            try:
                await viewer.connect(signals)
                async with asyncio.TaskGroup() as tasks:
                    # The server asks now and then whether we are there; only a reader answers.
                    reading = tasks.create_task(_pass_over(signals))
                    yield viewer
                    reading.cancel()
            finally:
                await viewer.close()


async def _pass_over(signals: ClientWebSocketResponse) -> None:
    async for _ in signals:
        pass
