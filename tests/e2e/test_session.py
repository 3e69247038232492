# SPDX-License-Identifier: Apache-2.0
"""Whole sessions by the command itself: how they start, recover and end, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import client
from tests.support.session import Session, SessionStarter

_RECOVERS = ("render_core.worker", "streamer.process")


async def test_desktop_is_shown_and_follows_the_window(browser: Browser, start_session: SessionStarter) -> None:
    session = await asyncio.to_thread(start_session, "desktop", "--size", "640x480")
    async with client(browser, 901, 601) as viewer:
        await viewer.open(session.url)
        assert viewer.page.url == session.origin + "/"  # the token has left the address bar
        await viewer.page.wait_for_function(
            "() => heliograph.stats().width === 901 && heliograph.stats().height === 601"
        )
        await viewer.page.set_viewport_size({"width": 803, "height": 487})
        await viewer.page.wait_for_function(
            "() => heliograph.stats().width === 803 && document.getElementById('screen').videoWidth === 804"
        )


async def test_fixed_size_stays(browser: Browser, start_session: SessionStarter) -> None:
    options = ("--size", "641x483", "--no-resize")
    session = await asyncio.to_thread(start_session, "run", *options, "--", "sleep", "600")
    async with client(browser, 900, 600) as viewer:
        await viewer.open(session.url)
        await viewer.page.mouse.click(300, 300)
        stats = await viewer.stats()
        assert (stats["width"], stats["height"]) == (641, 483)


async def test_guests_exit_code_is_ours_and_viewers_are_told(
    browser: Browser, start_session: SessionStarter, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    session = await asyncio.to_thread(start_session.run, "sh", "-c", f"read line < {gate}; exit 42")
    async with client(browser) as viewer:
        await viewer.open(session.url)
        await asyncio.to_thread(gate.write_text, "go\n")
        await viewer.page.wait_for_function("() => heliograph.stats().state === 'ended'")
        assert "exit code 42" in (await viewer.stats())["text"]
    assert await asyncio.to_thread(session.wait) == 42
    assert list(session.runtime.iterdir()) == []


@pytest.mark.parametrize("part", _RECOVERS)
async def test_killed_part_comes_back_and_the_guest_lives_on(
    browser: Browser, start_session: SessionStarter, tmp_path: Path, part: str
) -> None:
    typed = tmp_path / "typed"
    session = await asyncio.to_thread(start_session.run, "xterm", "-e", f"cat > {typed}; read never")
    async with client(browser) as viewer:
        await viewer.open(session.url)
        before = session.children()
        os.kill(before[part], signal.SIGKILL)
        await viewer.wait_until(_HAS_RESTARTED, f"{part}_restarts".replace(*_HEALTH_NAMES[part]))
        await viewer.wait_picture()
        after = session.children()
        assert after[part] != before[part]
        assert {name for name in after if after[name] == before[name]} == set(before) - {part}
        await viewer.page.mouse.click(200, 100)
        await viewer.page.keyboard.type("still here")
        await viewer.page.keyboard.press("Enter")
        await viewer.page.keyboard.press("Control+d")
        await asyncio.to_thread(_wait_for_text, typed, "still here\n")


# What /healthz calls the parts.
_HEALTH_NAMES = {
    "render_core.worker": ("render_core.worker", "render_worker"),
    "streamer.process": ("streamer.process", "streamer"),
}
_HAS_RESTARTED = """async (name) => {
  const health = await (await fetch("/healthz")).json();
  return health.status === "ok" && health.values[name] === 1;
}"""


def _wait_for_text(path: Path, text: str) -> None:
    for _ in range(400):
        if path.exists() and path.read_text() == text:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} has {path.read_text()!r}, not {text!r}")


def test_killed_agent_ends_the_session(start_session: SessionStarter) -> None:
    session = start_session.run("sleep", "600")
    os.kill(session.children()["guest_agent"], signal.SIGKILL)
    assert session.wait() == 1
    assert "the guest agent ended without warning" in session.log
    _assert_nothing_is_left(session)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_the_session_cleanly(start_session: SessionStarter, number: signal.Signals, code: int) -> None:
    session = start_session.run("sh", "-c", "sleep 600 & sleep 600")
    assert session.stop(number) == code
    _assert_nothing_is_left(session)


def test_killed_gateway_takes_everything_along(start_session: SessionStarter) -> None:
    session = start_session.run("sh", "-c", "sleep 600 & sleep 600")
    pidfds = [os.pidfd_open(pid) for pid in session.children().values()]
    session.process.kill()
    session.process.wait()
    try:
        for pidfd in pidfds:
            _wait_readable(pidfd)
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
    _assert_nothing_is_left(session)


def test_program_that_is_not_there_says_so(start_session: SessionStarter) -> None:
    session = start_session("run", "--", "/does/not/exist", wait=False)
    assert session.wait() == 127
    assert "/does/not/exist" in session.log
    _assert_nothing_is_left(session)


def _wait_readable(fd: int) -> None:
    assert select.select([fd], [], [], 60)[0], "a part of the session has outlived its gateway"


def _assert_nothing_is_left(session: Session) -> None:
    """No process has the session's directory in its environment or command line; nothing is in the directory."""
    here = str(session.runtime).encode()
    left = []
    for _ in range(1200):
        left = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _mentions(entry, here)]
        if not left and not list(session.runtime.iterdir()):
            return
        time.sleep(0.05)
    names = [(entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() for entry in left if entry.exists()]
    raise AssertionError(f"left behind: {names} {list(session.runtime.iterdir())}\n{session.log}")


def _mentions(entry: Path, text: bytes) -> bool:
    try:
        state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return state not in "ZX" and (
            text in (entry / "environ").read_bytes() or text in (entry / "cmdline").read_bytes()
        )
    except OSError:
        return False
