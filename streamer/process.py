# SPDX-License-Identifier: Apache-2.0
"""The streamer process: `python -m streamer.process`, a child of the gateway (`docs/architecture.md`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiortc import RTCIceServer

import render_core
from guest_agent.link import Link, LinkError
from guest_agent.messages import (
    GATEWAY_TO_STREAMER,
    Message,
    MetricsRequest,
    Signal,
    Stop,
    StreamerReady,
    ViewerClosed,
    ViewerOpened,
)
from streamer.config import (
    MAX_OUTPUTS,
    SettingsError,
    Size,
    configure_logging,
    media_addresses,
    parse_bitrate,
    parse_host,
    parse_size,
    parse_udp_ports,
)
from streamer.encode.encoder import EncoderError
from streamer.encode.probe import choose
from streamer.frames import WorkerLink
from streamer.rtc import overrides
from streamer.rtc.peer import RtcSettings
from streamer.screen import ScreenSettings
from streamer.session import Session, SessionSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

EXIT_NO_ENCODER = 3
_TURN = re.compile(r"(?P<scheme>turns?):(?P<user>[^:@]+):(?P<password>[^@]+)@(?P<server>.+)")


def parse_ice_server(text: str) -> RTCIceServer:
    """Parse `stun:HOST[:PORT]` or `turn[s]:[USER:PASSWORD@]HOST[:PORT]`.

    Raises:
        SettingsError: it is neither.
    """
    if match := _TURN.fullmatch(text):
        return RTCIceServer(
            urls=f"{match['scheme']}:{match['server']}", username=match["user"], credential=match["password"]
        )
    if not re.fullmatch(r"(stuns?|turns?):[^\s@]+", text):
        raise SettingsError(f"{text!r} is no ICE server: write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT")
    return RTCIceServer(urls=text)


def _checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    def convert(text: str) -> _T:
        try:
            return parse(text)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exits with a message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m streamer.process", description="Serves one session's viewers.")
    parser.add_argument("--control-fd", type=int, required=True, help="socket to the gateway")
    parser.add_argument("--frames", required=True, help="path of the render worker's frame socket")
    parser.add_argument("--agent", required=True, help="path of the guest agent's socket")
    parser.add_argument("--sound", help="path of the socket that the guest's sound comes from; none: no sound")
    parser.add_argument("--host", action="append", type=_checked(parse_host), help="address media may use")
    parser.add_argument("--udp-ports", type=_checked(parse_udp_ports), help="FIRST-LAST")
    parser.add_argument("--ice-server", action="append", type=_checked(parse_ice_server), default=[])
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--bitrate", type=_checked(parse_bitrate), help="bits a second; default: by the size")
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--no-resize", action="store_true")
    parser.add_argument("--size", type=_checked(parse_size), default=Size(1280, 720), help="the guest's first size")
    parser.add_argument("--outputs", type=int, default=1, help="how many the guest may be asked to have")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parsed = parser.parse_args(arguments)
    if not 1 <= parsed.fps <= 240:
        parser.error(f"--fps {parsed.fps}: must be 1 to 240")
    if not 1 <= parsed.outputs <= MAX_OUTPUTS:
        parser.error(f"--outputs {parsed.outputs}: must be 1 to {MAX_OUTPUTS}")
    return parsed


def session_settings(parsed: argparse.Namespace) -> SessionSettings:
    """Return the session's settings of a parsed command line."""
    ports = parsed.udp_ports
    return SessionSettings(
        frames_path=parsed.frames,
        agent_path=parsed.agent,
        rtc=RtcSettings(
            hosts=media_addresses(tuple(parsed.host or ("127.0.0.1",))),
            ports=None if ports is None else range(ports.first, ports.last + 1),
            ice_servers=tuple(parsed.ice_server),
        ),
        screen=ScreenSettings(
            fps=parsed.fps,
            bitrate_bps=parsed.bitrate,
            is_resizable=not parsed.no_resize,
            outputs=parsed.outputs,
            size=(parsed.size.width, parsed.size.height),
        ),
        sound_path=parsed.sound,
    )


async def serve(
    control: socket.socket,
    settings: SessionSettings,
    encoder_name: str,
    open_link: Callable[[socket.socket], WorkerLink],
    link_errors: tuple[type[Exception], ...],
) -> int:
    """Serve the gateway until it says stop or is gone; the exit code. Takes `control` over."""
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, terminated.set)
    async with await Link.open(control, GATEWAY_TO_STREAMER) as link:
        try:
            profile = await asyncio.to_thread(choose, encoder_name)
        except EncoderError as error:
            _log.error("%s", error)
            return EXIT_NO_ENCODER
        session = Session(settings, profile, _sender(link), open_link, link_errors)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run(), name="session")
            link.send(StreamerReady(profile.name))
            await _obey(link, session, terminated)
            running.cancel()
    return 0


def _sender(link: Link) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        try:
            link.send(message)
        except LinkError as error:
            _log.error("a message to the gateway was not sent: %s", error)

    return send


async def _obey(link: Link, session: Session, terminated: asyncio.Event) -> None:
    """Do what the gateway says, until the end."""
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(terminated.wait())
        receiving = tasks.create_task(_receive(link, session))
        await asyncio.wait((waiting, receiving), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        receiving.cancel()


async def _receive(link: Link, session: Session) -> None:
    while True:
        try:
            message = await link.receive()
        except LinkError as error:
            _log.error("the gateway's link is broken: %s", error)
            return
        match message:
            case None:
                _log.info("the gateway is gone")
                return
            case Stop():
                return
            case ViewerOpened(viewer, role):
                session.open_viewer(viewer, "control" if role == "control" else "view")
            case Signal(viewer, content):
                session.signal(viewer, content)
            case ViewerClosed(viewer):
                session.remove_viewer(viewer)
            case MetricsRequest():
                link.send(session.metrics())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    parsed = parse_arguments(arguments)
    configure_logging(parsed.log_level)
    overrides.install()
    control = socket.socket(fileno=parsed.control_fd)
    return asyncio.run(
        serve(
            control,
            session_settings(parsed),
            parsed.encoder,
            render_core.FrameLink,
            (render_core.RenderCoreError,),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
