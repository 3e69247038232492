# SPDX-License-Identifier: Apache-2.0
"""The guest agent's parts, wired together: one guest, from its display server's start to the last process's end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from guest_agent.children import ChildError, Children
from guest_agent.clipboard import Clipboard
from guest_agent.desk import Desk
from guest_agent.display_link import run_display_link
from guest_agent.display_server import DisplayServer, DisplayServerError, XorgServer
from guest_agent.gateway_link import AgentError, GatewayLink, SessionOver
from guest_agent.graphics import find_driver, graphics_variables, with_graphics
from guest_agent.injector import Injector
from guest_agent.keyboard import Keyboard
from guest_agent.messages import (
    AgentReady,
    Exited,
    Graphics,
    Message,
    Sound,
)
from guest_agent.messages import Clipboard as ClipboardText
from guest_agent.pointer import PointerDevice, open_pointer
from guest_agent.session import EXIT_NOT_FOUND, Session, make_environment
from guest_agent.sound import SoundServer, find_programs, without_host_sound
from guest_agent.sound_tap import SoundTap
from guest_agent.streamer_server import Send, StreamerServer
from guest_agent.x_connection import XConnection, XConnectionError, XError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent was started with."""

    control_fd: int
    agent_fd: int
    display_path: str
    session_directory: Path
    width: int
    height: int
    command: tuple[str, ...]  # empty: the default desktop
    venus_path: str | None = None  # programs wait for the gateway's word on their graphics, if there is one
    sound_fd: int | None = None  # listening socket; None: the session has no sound


class Agent:
    """Runs one guest; loop thread only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Ours alone within the session's directory.
        self._directory = settings.session_directory / "guest"
        self._streamer: StreamerServer | None = None
        self._pointer: PointerDevice | None = None
        self._sound: SoundServer | None = None
        self._graphics: asyncio.Future[Graphics] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Run the guest to its end; return the exit code for this process. All that was started has ended then."""
        children = Children()
        server: DisplayServer | None = None
        control = await GatewayLink.open(self._settings.control_fd)

        async def run_session() -> None:
            nonlocal server
            self._directory.mkdir(mode=0o700)
            (self._directory / "runtime").mkdir(mode=0o700)
            server = await XorgServer.start(children, self._directory)
            await self._serve(server, children, control)

        try:
            expected = (ChildError, DisplayServerError, XConnectionError)
            return await control.run_session(run_session, self._handle_gateway, expected)
        finally:
            await self._clean_up(children, server)
            if control.is_gone:
                shutil.rmtree(self._settings.session_directory, ignore_errors=True)
            await control.close()

    async def _clean_up(self, children: Children, server: DisplayServer | None) -> None:
        # Programs first: they may still have something to save.
        await children.end_all(spare=server.child if server is not None else None)
        if server is not None:
            await server.stop()
        await children.end_all()
        if self._pointer is not None:
            # Not before the server has ended: its driver spins once we have left.
            self._pointer.close()
        children.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _handle_gateway(self, message: Message) -> None:
        if isinstance(message, Graphics) and not self._graphics.done():
            # Of the first worker. A later one has the same device: programs keep what they were told.
            self._graphics.set_result(message)

    async def _serve(self, server: DisplayServer, children: Children, control: GatewayLink) -> None:
        """Run the session on a display server that is up; ends only by an exception."""
        settings = self._settings
        os.environ.update(server.environment())
        with contextlib.ExitStack() as stack:
            x = stack.enter_context(contextlib.closing(XConnection(server.display)))
            desk = Desk(x, lambda: control.send(AgentReady(server.display)), is_painted=not settings.command)
            desk.resize(settings.width, settings.height)
            self._pointer = open_pointer(x, server.pointer_socket)
            clipboard = stack.enter_context(contextlib.closing(Clipboard(x, self._handle_guest_text)))
            injector = Injector(Keyboard(x), self._pointer, lambda: (desk.screen.width, desk.screen.height))
            guest = _Desktop(injector, clipboard, self._tell_sound)
            self._streamer = StreamerServer(self._settings.agent_fd, guest)
            environment = make_environment(server.environment(), self._directory / "runtime")
            async with asyncio.TaskGroup() as tasks:
                environment = self._start_sound(tasks, children, environment)
                tasks.create_task(_watch_server(server))
                tasks.create_task(desk.watch())
                tasks.create_task(run_display_link(settings.display_path, desk))
                tasks.create_task(injector.run())
                tasks.create_task(self._streamer.run())
                tasks.create_task(self._run_program(children, environment, control))

    async def _run_program(self, children: Children, environment: dict[str, str], control: GatewayLink) -> None:
        command = self._settings.command
        if self._sound is not None:
            await self._sound.wait_up()
        session = Session(children, await self._add_graphics(environment))
        try:
            main = session.start_program(command) if command else session.start_desktop()
        except ChildError as error:
            _log.error("the guest's program cannot be run: %s", error)
            code = EXIT_NOT_FOUND
        else:
            code = await asyncio.shield(main.ended)
            _log.info("%s ended with code %d", main.name, code)
        control.send(Exited(code))
        raise SessionOver

    async def _add_graphics(self, environment: dict[str, str]) -> dict[str, str]:
        """Return the programs' environment, with what leads them to the render worker where it takes them."""
        path = self._settings.venus_path
        if path is None:
            return environment
        graphics = await self._graphics
        if not graphics.venus:
            return environment
        driver = find_driver()
        if driver is None:
            _log.warning("guest programs have no Vulkan: Mesa's Venus driver is missing; `heliograph doctor` says more")
            return environment
        if driver.zink is None:
            _log.warning("guest programs have no OpenGL on Vulkan: Mesa's zink is missing (libgl1-mesa-dri)")
        return with_graphics(environment, graphics_variables(driver, path, is_cpu=graphics.kind == "cpu"))

    def _start_sound(self, tasks: asyncio.TaskGroup, children: Children, environment: dict[str, str]) -> dict[str, str]:
        """Start the session's sound; return the programs' environment, which leads to it and not to the host's."""
        environment = without_host_sound(environment)
        if self._settings.sound_fd is None:
            return environment
        programs = find_programs(environment.get("PATH"))
        if programs is None:
            _log.warning("the session has no sound: pulseaudio and pulseaudio-utils are not installed")
        else:
            self._sound = SoundServer(children, programs, self._directory, self._directory / "runtime")
            self._sound.prepare()
            environment |= self._sound.environment()
            tasks.create_task(self._sound.run(self._send_sound))
        tasks.create_task(SoundTap(children, programs, environment, self._settings.sound_fd).run())
        return environment

    def _send_sound(self) -> None:
        if self._streamer is not None:
            self._tell_sound(self._streamer.send)

    def _tell_sound(self, send: Send) -> None:
        if self._settings.sound_fd is not None:
            send(Sound(self._sound is not None and self._sound.is_available))

    def _handle_guest_text(self, text: str) -> None:
        if self._streamer is not None:
            self._streamer.send(ClipboardText(text))


class _Desktop:
    """The guest, to the streamer's messages."""

    def __init__(self, injector: Injector, clipboard: Clipboard, greet: Callable[[Send], None]) -> None:
        self._injector = injector
        self._clipboard = clipboard
        self._greet = greet

    def greet(self, send: Send) -> None:
        self._greet(send)
        if self._clipboard.guest_text:
            send(ClipboardText(self._clipboard.guest_text))

    async def handle_input(self, message: Message) -> None:
        if isinstance(message, ClipboardText):
            try:
                self._clipboard.set_text(message.text)
            except XError as error:
                _log.debug("the clipboard is not set: %r", error)
        else:
            await self._injector.put(message)

    def reset(self) -> None:
        self._injector.reset()


async def _watch_server(server: DisplayServer) -> None:
    code = await asyncio.shield(server.child.ended)
    raise AgentError(f"the display server ended with code {code}")
