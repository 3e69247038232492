# SPDX-License-Identifier: Apache-2.0
"""A session with several outputs: a real render worker, the streamer's Session and the gateway's server in this
process, and in the guest's and its agent's place the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

import render_core
from guest_agent import virtio_gpu
from guest_agent.display_link import ADD_REGION
from guest_agent.link import Link
from guest_agent.memory import Region
from guest_agent.messages import STREAMER_TO_AGENT, Message, Signal, ViewerClosed, ViewerOpened
from guest_agent.virtio_gpu import DisplayMode, Format, Rect, ResponseType
from streamer.config import Settings
from streamer.encode.profiles import profile_by_name
from streamer.gateway.access import Access, Role
from streamer.gateway.server import Server
from streamer.gateway.viewers import Viewers
from streamer.rtc import overrides
from streamer.screen import ScreenSettings
from streamer.session import Session, SessionSettings
from tests.support.fake_streamer import FakeHealth
from tests.support.streaming import wait_until
from tests.support.worker_bench import Guest, worker_bench


class SeveralScreens:
    """`url` is the session's link; `guest` its guest."""

    def __init__(self, url: str, guest: Guest, agent: Link, session: Session) -> None:
        self.url = url
        self.guest = guest
        self.agent = agent
        self.session = session
        self.inputs: list[Message] = []
        self._regions: list[Region] = []

    def show(self, scanout_id: int, width: int, height: int, colours: tuple[int, int]) -> None:
        """Show a picture whose left half has the first grey, and whose right half the second."""
        picture = np.full((height, width, 4), colours[0], np.uint8)
        picture[:, width // 2 :] = colours[1]
        region = Region("guest", picture.nbytes)
        self._regions.append(region)
        with region.map() as memory:
            memory[: picture.nbytes] = picture.tobytes()
        number = len(self._regions)
        _, answer = self.guest.ask(2, ADD_REGION.pack(region.address, region.size_bytes, 0), region.fd)
        assert virtio_gpu.response_type(answer) == ResponseType.OK_NODATA
        for command in (
            virtio_gpu.create_blob(number, region.address, region.size_bytes),
            virtio_gpu.set_scanout_blob(scanout_id, number, width, height, Format.B8G8R8X8_UNORM),
            virtio_gpu.flush(number, Rect(0, 0, width, height)),
        ):
            assert self.guest.control(command) == ResponseType.OK_NODATA

    def turn_off(self, scanout_id: int) -> None:
        """Show nothing there."""
        command = virtio_gpu.set_scanout_blob(scanout_id, 0, 0, 0, Format.B8G8R8X8_UNORM)
        assert self.guest.control(command) == ResponseType.OK_NODATA

    def modes(self) -> list[DisplayMode]:
        """Ask what is wanted."""
        return virtio_gpu.parse_display_info(self.guest.ask(4, virtio_gpu.get_display_info())[1])

    async def wait_mode(self, scanout_id: int, width: int, height: int) -> DisplayMode:
        """Wait until that size is wanted."""
        async with asyncio.timeout(60):
            while True:
                mode = self.modes()[scanout_id]
                if mode.enabled and (mode.rect.width, mode.rect.height) == (width, height):
                    return mode
                await asyncio.sleep(0.05)

    async def wait_input(self, message: Message) -> None:
        """Wait until the agent has got exactly this."""
        await wait_until(lambda: message in self.inputs)

    def close(self) -> None:
        """Free the guest's memory."""
        for region in self._regions:
            region.close()

    async def receive(self) -> None:
        while (message := await self.agent.receive()) is not None:
            self.inputs.append(message)


def halves(picture: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """The greys of a picture's halves."""
    middle, quarter = picture.shape[0] // 2, picture.shape[1] // 4
    return int(picture[middle, quarter, 1]), int(picture[middle, -quarter, 1])


@asynccontextmanager
async def several_screens(outputs: int) -> AsyncIterator[SeveralScreens]:
    """Serve such a session on a free port of loopback."""
    overrides.install()
    profile = profile_by_name("x264")
    assert profile is not None
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screens-", dir="/tmp")))
        listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        listening.bind(str(folder / "agent.sock"))
        listening.listen(1)
        worker = stack.enter_context(worker_bench(folder))
        guest = stack.enter_context(worker.guest())
        viewers, access = Viewers(), Access("screens1")
        server = Server(Settings(port=0, name="Test session"), access, viewers, FakeHealth())
        settings = SessionSettings(
            str(worker.frames_path), str(folder / "agent.sock"), screen=ScreenSettings(outputs=outputs)
        )
        session = Session(
            settings,
            profile,
            viewers.handle_streamer_message,
            render_core.FrameLink,
            (render_core.RenderCoreError,),
        )
        await server.listen()
        stack.push_async_callback(server.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = tasks.create_task(session.run())
        stack.callback(running.cancel)
        sock, _ = await asyncio.get_running_loop().sock_accept(listening)
        agent = await stack.enter_async_context(await Link.open(sock, STREAMER_TO_AGENT))
        viewers.attach_streamer(lambda message: _pass_on(session, message))
        stack.callback(viewers.end_session, "the test is over")
        bench = SeveralScreens(server.url(Role.CONTROL), guest, agent, session)
        stack.callback(bench.close)
        receiving = tasks.create_task(bench.receive())
        stack.callback(receiving.cancel)
        yield bench


def _pass_on(session: Session, message: Message) -> None:
    match message:
        case ViewerOpened(viewer, role):
            session.open_viewer(viewer, "control" if role == "control" else "view")
        case Signal(viewer, content):
            session.signal(viewer, content)
        case ViewerClosed(viewer):
            session.remove_viewer(viewer)
