# SPDX-License-Identifier: Apache-2.0
"""A streamer session on a fake frame link and a real agent socket, and viewers of it: aiortc's, in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame

from guest_agent.link import Link
from guest_agent.messages import STREAMER_TO_AGENT, CloseViewer, Message, Shown, Signal
from streamer.encode.profiles import profile_by_name
from streamer.rtc import overrides
from streamer.screen import ScreenSettings
from streamer.session import Session, SessionSettings
from tests.support.fake_frame_link import FakeFrameLink, FakeLinkClosedError, FakeRing

WAIT_S = 60.0


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of this process; the limit is for a test that fails."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  (it can be anything, also in another process)
            await asyncio.sleep(0.01)


class SessionBench:
    """A running Session with both ends of its links."""

    def __init__(self, session: Session, agent_socket: socket.socket) -> None:
        self.session = session
        self.links: list[FakeFrameLink] = []
        self.signals: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self.closed: dict[int, CloseViewer] = {}
        self._agent_socket = agent_socket

    @property
    def link(self) -> FakeFrameLink:
        """The newest frame link."""
        return self.links[-1]

    def open_link(self, sock: socket.socket) -> FakeFrameLink:
        self.links.append(FakeFrameLink(sock))
        return self.links[-1]

    def take(self, message: Message) -> None:
        """What the session tells the gateway."""
        match message:
            case Signal(viewer, content):
                self.signals.setdefault(viewer, asyncio.Queue()).put_nowait(content)
            case CloseViewer(viewer):
                self.closed[viewer] = message

    async def next_signal(self, viewer: int, kind: str) -> dict[str, Any]:
        """Wait for a signalling message of that type."""
        queue = self.signals.setdefault(viewer, asyncio.Queue())
        async with asyncio.timeout(WAIT_S):
            while True:
                message = await queue.get()
                if message["type"] == kind:
                    return message

    async def accept_agent(self) -> Link:
        """Take the session's connection to the agent."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self._agent_socket)
        return await Link.open(sock, STREAMER_TO_AGENT)

    async def show(self, width: int, height: int, scanout_id: int = 0) -> FakeRing:
        """The worker comes up with a ring of that size."""
        await wait_until(lambda: bool(self.links) and not self.link.is_closed)
        ring = FakeRing(width, height, scanout_id=scanout_id)
        self.link.post(ring)
        return ring


@asynccontextmanager
async def session_bench(**settings: Any) -> AsyncIterator[SessionBench]:
    """Run a session; everything is gone afterwards. Settings of ScreenSettings are taken too."""
    screen = {each.name: settings.pop(each.name) for each in fields(ScreenSettings) if each.name in settings}
    profile = profile_by_name("x264")
    assert profile is not None
    with tempfile.TemporaryDirectory(prefix="streamer-") as folder:
        frames, agent = Path(folder, "frames.sock"), Path(folder, "agent.sock")
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as frames_socket,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as agent_socket,
        ):
            frames_socket.bind(str(frames))
            frames_socket.listen(4)
            agent_socket.bind(str(agent))
            agent_socket.listen(4)
            holder: list[SessionBench] = []
            session = Session(
                replace(SessionSettings(str(frames), str(agent), screen=ScreenSettings(**screen)), **settings),
                profile,
                lambda message: holder[0].take(message),
                lambda sock: holder[0].open_link(sock),
                (FakeLinkClosedError,),
            )
            holder.append(SessionBench(session, agent_socket))
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(session.run())
                yield holder[0]
                running.cancel()


class AiortcViewer:
    """A viewer made of aiortc's receiver and data channels."""

    def __init__(
        self,
        bench: SessionBench,
        number: int,
        role: str = "control",
        *,
        has_audio: bool = False,
        output: int = 0,
        is_new: bool = True,
    ) -> None:
        """`is_new`: its WebSocket is opened; otherwise it is one that is there already."""
        overrides.install()
        self._bench = bench
        self.number = number
        self.role = role
        self.output = output
        self._is_new = is_new
        self.connection = RTCPeerConnection()
        self.connection.addTransceiver("video", direction="recvonly")
        if has_audio:
            self.connection.addTransceiver("audio", direction="recvonly")
        self.connection.on("track", self._handle_track)
        self.channels: dict[str, RTCDataChannel] = {
            "control": self.connection.createDataChannel("control"),
            "motion": self.connection.createDataChannel("motion", ordered=False, maxRetransmits=0),
        }
        self.messages: list[dict[str, Any]] = []
        for channel in self.channels.values():
            channel.on("message", lambda data: self.messages.append(json.loads(data)))
        self.frames: list[VideoFrame] = []
        self._reader: asyncio.Task[None] | None = None
        self._tasks = asyncio.TaskGroup()
        self._track: MediaStreamTrack | None = None
        self.audio: MediaStreamTrack | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self._is_new:
            self._bench.session.open_viewer(self.number, "control" if self.role == "control" else "view")
        connection = self.connection
        await connection.setLocalDescription(await connection.createOffer())
        offer = {"type": "offer", "sdp": connection.localDescription.sdp, "output": self.output}
        self._bench.session.signal(self.number, offer)
        answer = await self._bench.next_signal(self.number, "answer")
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        assert self._track is not None
        self._reader = self._tasks.create_task(self._read(self._track))
        await wait_until(lambda: all(channel.readyState == "open" for channel in self.channels.values()))
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self.connection.close()
        await self._tasks.__aexit__(None, None, None)

    def _handle_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self.audio = track
        else:
            self._track = track

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                self.frames.append(frame)
        except MediaStreamError:
            pass

    def send(self, label: str, **fields: Any) -> None:
        """Send a message on a data channel."""
        self.channels[label].send(json.dumps(fields))

    def received(self, kind: str) -> list[dict[str, Any]]:
        """The messages of that type that came so far."""
        return [message for message in self.messages if message["type"] == kind]

    async def wait_for(self, kind: str) -> dict[str, Any]:
        """Wait for a message of that type; the newest is returned."""
        await wait_until(lambda: bool(self.received(kind)))
        return self.received(kind)[-1]

    def luma(self) -> int:
        """The middle pixel's luma in the newest frame; -1 before the first."""
        if not self.frames:
            return -1
        frame = self.frames[-1]
        planes = frame.to_ndarray(format="yuv420p")
        return int(np.asarray(planes)[frame.height // 2, frame.width // 2])

    async def wait_for_luma(self, value: int) -> None:
        """Wait until the picture's middle is about that bright."""
        await wait_until(lambda: abs(self.luma() - value) <= 3)


async def next_input(agent: Link) -> Message:
    """Return what the agent is told next, but for what is shown."""
    async with asyncio.timeout(WAIT_S):
        while isinstance(message := await agent.receive(), Shown):
            pass
    assert message is not None
    return message
