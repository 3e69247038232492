# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the streamer process, behind the gateway's real server; for tests of the client alone.

Stock aiortc with a test picture, and a record of what the viewers send.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import av
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from guest_agent.messages import Message, Signal, ViewerClosed, ViewerOpened
from streamer.config import Settings
from streamer.gateway.access import Access
from streamer.gateway.server import Server
from streamer.gateway.viewers import Viewers

# Corner colours of the picture, clockwise from the top left; what the codec pads is magenta.
CORNERS = ((220, 40, 40), (40, 180, 60), (240, 240, 240), (40, 70, 220))
PADDING = (255, 0, 255)


class Picture(VideoStreamTrack):
    """Four coloured quarters and a grey middle that changes, with padding at the right and at the bottom."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.resize(width, height)
        self._count = 0

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.coded_width, self.coded_height = (width + 1) // 2 * 2, (height + 3) // 4 * 4

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        self._count += 1
        pixels = np.empty((self.coded_height, self.coded_width, 3), np.uint8)
        pixels[:] = PADDING
        middle_x, middle_y = self.width // 2, self.height // 2
        pixels[:middle_y, :middle_x] = CORNERS[0]
        pixels[:middle_y, middle_x : self.width] = CORNERS[1]
        pixels[middle_y : self.height, middle_x : self.width] = CORNERS[2]
        pixels[middle_y : self.height, :middle_x] = CORNERS[3]
        pixels[middle_y - 8 : middle_y + 8, middle_x - 8 : middle_x + 8] = self._count * 8 % 256
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class FakeViewer:
    """One viewer's peer, and what came from it."""

    def __init__(self, number: int, role: str) -> None:
        self.number = number
        self.role = role
        self.channels: dict[str, RTCDataChannel] = {}
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    def send(self, message: Mapping[str, Any], label: str = "control") -> None:
        self.channels[label].send(json.dumps(message))


class FakeStreamer:
    """Serves viewers as the streamer process does, as far as the client can tell."""

    def __init__(self, viewers: Viewers, width: int, height: int, *, resizable: bool) -> None:
        self._gateway = viewers
        self.size = (width, height)
        self.resizable = resizable
        self.viewers: dict[int, FakeViewer] = {}
        self.received: list[dict[str, Any]] = []
        self.signals: list[dict[str, Any]] = []
        self._pictures: list[Picture] = []
        self._work: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._notices: asyncio.Queue[None] = asyncio.Queue()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._announce())
            self._gateway.attach_streamer(self._work.put_nowait)
            while True:
                await self._handle(await self._work.get())
                self._notices.put_nowait(None)

    def restart(self) -> None:
        """Die as far as the viewers can see, and come back."""
        self._gateway.detach_streamer()
        self._gateway.attach_streamer(self._work.put_nowait)

    def messages(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message.get("type") == kind]

    async def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until `condition` is true, looking after each message; return its value."""
        async with asyncio.timeout(60), self._changed:
            return await self._changed.wait_for(condition)

    async def wait_messages(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        await self.wait_for(lambda: len(self.messages(kind)) >= count)
        return self.messages(kind)

    async def wait_viewer(self, count: int = 1) -> FakeViewer:
        """Wait for the newest of `count` viewers that can be sent to."""
        await self.wait_for(lambda: sum("control" in viewer.channels for viewer in self.viewers.values()) >= count)
        return list(self.viewers.values())[-1]

    def resize(self, width: int, height: int) -> None:
        self.size = (width, height)
        for viewer in self.viewers.values():
            self._send_screen(viewer)
        for picture in self._pictures:
            picture.resize(width, height)

    async def close(self) -> None:
        for viewer in list(self.viewers.values()):
            await viewer.connection.close()

    async def _announce(self) -> None:
        while True:
            await self._notices.get()
            async with self._changed:
                self._changed.notify_all()

    async def _handle(self, message: Message) -> None:
        if isinstance(message, ViewerOpened):
            self.viewers[message.viewer] = FakeViewer(message.viewer, message.role)
            welcome = {"type": "welcome", "viewer": message.viewer, "role": message.role, "ice_servers": []}
            self._gateway.handle_streamer_message(Signal(message.viewer, {**welcome, "version": "0"}))
        elif isinstance(message, ViewerClosed):
            viewer = self.viewers.pop(message.viewer, None)
            if viewer is not None:
                await viewer.connection.close()
        elif isinstance(message, Signal):
            self.signals.append(message.message)
            if message.message["type"] == "offer":
                await self._answer(self.viewers[message.viewer], message.message["sdp"])
            elif message.message["type"] not in ("candidate", "bye"):
                error = {"type": "error", "message": "message.type: is not known here"}
                self._gateway.handle_streamer_message(Signal(message.viewer, error))

    async def _answer(self, viewer: FakeViewer, sdp: str) -> None:
        connection = viewer.connection
        picture = Picture(*self.size)
        self._pictures.append(picture)
        connection.addTrack(picture)
        connection.on("datachannel", lambda channel: self._handle_channel(viewer, channel))
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = {"type": "answer", "sdp": connection.localDescription.sdp}
        self._gateway.handle_streamer_message(Signal(viewer.number, answer))

    def _handle_channel(self, viewer: FakeViewer, channel: RTCDataChannel) -> None:
        viewer.channels[channel.label] = channel
        channel.on("message", lambda data: self._receive(viewer, channel.label, data))
        if channel.label == "control":
            self._send_screen(viewer)
        self._notices.put_nowait(None)

    def _receive(self, viewer: FakeViewer, label: str, data: str) -> None:
        message = json.loads(data)
        self.received.append({**message, "viewer": viewer.number, "channel": label})
        if message["type"] == "ping":
            viewer.send({"type": "pong", "t": message["t"], "server_ns": time.monotonic_ns()})
        elif message["type"] == "resize" and self.resizable:
            self.resize(message["width"], message["height"])
        self._notices.put_nowait(None)

    def _send_screen(self, viewer: FakeViewer) -> None:
        width, height = self.size
        if "control" in viewer.channels:
            viewer.send(
                {
                    "type": "screen",
                    "width": width,
                    "height": height,
                    "coded_width": (width + 1) // 2 * 2,
                    "coded_height": (height + 3) // 4 * 4,
                    "resizable": self.resizable,
                }
            )


class FakeHealth:
    """All parts are well."""

    def parts(self) -> Mapping[str, str]:
        return {"streamer": "ready"}

    async def metrics(self) -> Mapping[str, float]:
        return {"fps": 30.0}


class FakeSession:
    """A running gateway server with a FakeStreamer."""

    def __init__(self, server: Server, access: Access, viewers: Viewers, streamer: FakeStreamer) -> None:
        self.server = server
        self.access = access
        self.viewers = viewers
        self.streamer = streamer

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"


@asynccontextmanager
async def fake_session(
    width: int = 640, height: int = 360, *, resizable: bool = False, settings: Settings | None = None
) -> AsyncIterator[FakeSession]:
    """Serve the client on a free port of loopback."""
    access = Access("test0001")
    viewers = Viewers()
    server = Server(settings or Settings(port=0, name="Test session"), access, viewers, FakeHealth())
    streamer = FakeStreamer(viewers, width, height, resizable=resizable)
    await server.listen()
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(streamer.run())
        try:
            yield FakeSession(server, access, viewers, streamer)
        except Exception as error:
            failure = error  # raised outside of the group, as itself
        finally:
            viewers.end_session("the test is over")
            await streamer.close()
            await server.close()
            running.cancel()
    if failure is not None:
        raise failure
