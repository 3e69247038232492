# SPDX-License-Identifier: Apache-2.0
"""The streamer as a process: command line, ready, viewers, metrics, and its three ways to end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guest_agent.link import Link
from guest_agent.messages import (
    STREAMER_TO_GATEWAY,
    Metrics,
    MetricsRequest,
    Signal,
    Stop,
    StreamerReady,
    ViewerClosed,
    ViewerOpened,
)
from streamer.process import parse_arguments, parse_ice_server, session_settings

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 60


@asynccontextmanager
async def streamer(tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Link]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.process", "--control-fd", str(theirs.fileno())),
            *("--frames", str(tmp_path / "frames.sock"), "--agent", str(tmp_path / "agent.sock")),
            *("--host", "127.0.0.1", "--encoder", "libx264"),
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
        )
    link = await Link.open(ours, STREAMER_TO_GATEWAY)
    try:
        async with asyncio.timeout(WAIT_S):
            ready = await link.receive()
        assert ready == StreamerReady("libx264")
        yield process, link
    finally:
        link.close()
        await link.wait_closed()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_serves_viewers_without_worker_and_agent_and_stops_when_told(tmp_path: Path) -> None:
    async with asyncio.timeout(WAIT_S), streamer(tmp_path) as (process, link):
        link.send(ViewerOpened(1, "control"))
        welcome = await link.receive()
        assert isinstance(welcome, Signal) and welcome.message["type"] == "welcome"
        link.send(Signal(1, {"type": "offer", "sdp": "nonsense"}))
        error = await link.receive()
        assert isinstance(error, Signal) and error.message["message"].startswith("offer.sdp")
        link.send(MetricsRequest())
        metrics = await link.receive()
        assert isinstance(metrics, Metrics)
        assert metrics.values["viewers"] == 1 and metrics.values["worker_connected"] == 0
        link.send(ViewerClosed(1))
        link.send(Stop())
        assert await process.wait() == 0


async def test_it_ends_with_its_gateway(tmp_path: Path) -> None:
    async with asyncio.timeout(WAIT_S), streamer(tmp_path) as (process, link):
        link.close()
        assert await process.wait() == 0


async def test_it_ends_in_order_when_terminated(tmp_path: Path) -> None:
    async with asyncio.timeout(WAIT_S), streamer(tmp_path) as (process, _link):
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


def arguments(*more: str) -> list[str]:
    return ["--control-fd", "3", "--frames", "f", "--agent", "a", *more]


def test_the_command_line_becomes_settings() -> None:
    settings = session_settings(
        parse_arguments(
            arguments(
                *("--host", "127.0.0.1", "--host", "::1", "--udp-ports", "5000-5009", "--fps", "30"),
                *("--bitrate", "8M", "--no-resize", "--size", "800x600", "--ice-server", "turn:u:p@[::1]:3478"),
                *("--outputs", "16"),
            )
        )
    )
    assert settings.rtc.hosts == ("127.0.0.1", "::1")
    assert settings.rtc.ports == range(5000, 5010)
    assert (settings.screen.fps, settings.screen.bitrate_bps, settings.screen.is_resizable) == (30, 8_000_000, False)
    assert (settings.screen.outputs, settings.screen.size) == (16, (800, 600))
    (server,) = settings.rtc.ice_servers
    assert (server.urls, server.username, server.credential) == ("turn:[::1]:3478", "u", "p")
    default = session_settings(parse_arguments(arguments()))
    assert default.rtc.hosts == ("127.0.0.1",) and default.rtc.ice_servers == ()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--fps", "0"),
        ("--host", "example"),
        ("--udp-ports", "9-1"),
        ("--ice-server", "http://x"),
        ("--bitrate", "x"),
        ("--outputs", "17"),
    ],
)
def test_a_wrong_option_is_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments(*wrong))
    assert wrong[0] in capsys.readouterr().err


def test_a_stun_server_has_no_credentials() -> None:
    assert parse_ice_server("stun:192.0.2.1:3478").username is None
