# SPDX-License-Identifier: Apache-2.0
"""Several people at one session, and what happens to the keys of one who vanishes."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

import numpy as np
from aiohttp import ClientSession
from playwright.async_api import Browser, Error

from bench.barcodes import newest_value, wait_value_above, watch_barcodes
from tests.support.browser import Client, chromium, client
from tests.support.observer import ObservedGuest, observed_guest
from tests.support.session import SessionStarter
from tests.support.web_visitor import view_link

_SHIFT_KEYSYM, _W_KEYSYM = 0xFFE1, 0x77


async def test_viewers_see_the_same_and_one_may_go(browser: Browser, start_session: SessionStarter) -> None:
    command = (sys.executable, "-m", "bench.guest_programs.clock", "--count", "--fps", "20", "--size", "800x450")
    session = start_session.run(*command, options=("--size", "800x450", "--no-resize"))
    async with client(browser) as first, client(browser, 640, 480, 2.0) as second:
        for viewer in (first, second):
            await viewer.open(session.url)
            await watch_barcodes(viewer.page)
        number = await wait_value_above(first.page, 0)
        number = await wait_value_above(second.page, number)
        await wait_value_above(first.page, number)
        await first.context.close()
        number = await newest_value(second.page)
        await wait_value_above(second.page, number + 20)
        async with ClientSession() as http, http.get(f"{session.origin}/healthz") as response:
            assert (await response.json())["status"] == "ok"
    os.kill(session.process.pid, 0)


async def test_still_picture_is_the_same_for_all(browser: Browser, start_session: SessionStarter) -> None:
    options = ("--size", "640x400", "--no-resize")
    async with observed_guest(start_session, *options) as guest, client(browser) as first:
        await first.open(guest.session.url)
        async with client(browser) as late:
            # Nothing moves in the guest: the keyframe is made for who has come.
            await late.open(guest.session.url)
            expected = (await guest.screenshot()).astype(int)
            for viewer in (first, late):
                for _ in range(600):
                    if np.abs((await viewer.picture()).astype(int) - expected).mean() < 4:
                        break
                    await viewer.page.wait_for_timeout(100)
                else:
                    raise AssertionError("the picture is another")


async def test_who_only_watches_changes_nothing(browser: Browser, start_session: SessionStarter) -> None:
    options = ("--size", "800x450", "--no-resize")
    async with (
        observed_guest(start_session, *options) as guest,
        client(browser) as owner,
        client(browser) as watcher,
    ):
        await owner.open(guest.session.url)
        async with ClientSession() as http:
            link = await view_link(http, guest.session)
        await watcher.open(link)
        assert (await watcher.stats())["role"] == "view"
        guest.forget()
        # Not by the client's grace: what it would send is refused by the server.
        refused = await watcher.page.evaluate(_SEND_RAW)
        assert "view" in refused
        await watcher.page.keyboard.press("x")
        await watcher.page.mouse.click(100, 100)
        await owner.page.keyboard.press("o")
        await guest.wait_for("key", 2)
        assert {key["keysym"] for key in guest.all("key")} == {ord("o")}
        assert guest.all("button") == []
        # In the owner's own browser, a link to watch takes nothing away.
        page = await owner.context.new_page()
        tab = Client(owner.context, page)
        await tab.open(link)
        assert (await tab.stats())["role"] == "view"
        await page.close()
        await owner.page.reload()
        await owner.wait_picture()
        assert (await owner.stats())["role"] == "control"


# A viewer made by hand, which sends a key; resolves with the error that comes back.
_SEND_RAW = """async () => {
  const socket = new WebSocket(`ws://${location.host}/api/signal${location.search}`);
  const connection = new RTCPeerConnection();
  connection.addTransceiver("video", { direction: "recvonly" });
  const control = connection.createDataChannel("control");
  connection.createDataChannel("motion", { ordered: false, maxRetransmits: 0 });
  const answered = new Promise((resolve) => {
    control.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "error") resolve(message.message);
    };
  });
  control.onopen = () => control.send(JSON.stringify({ type: "key", key: "v", code: "KeyV", location: 0, down: true }));
  socket.onmessage = async ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "welcome") {
      await connection.setLocalDescription();
      await new Promise((resolve) => {
        connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && resolve();
        if (connection.iceGatheringState === "complete") resolve();
      });
      socket.send(JSON.stringify({ type: "offer", sdp: connection.localDescription.sdp }));
    } else if (message.type === "answer") {
      await connection.setRemoteDescription({ type: "answer", sdp: message.sdp });
    }
  };
  const text = await answered;
  connection.close();
  socket.close();
  return text;
}"""


async def _hold(viewer: Client, guest: ObservedGuest) -> None:
    """Hold two keys and a button."""
    guest.forget()
    await viewer.page.mouse.move(200, 200)
    await viewer.page.mouse.down()
    await viewer.page.keyboard.down("Shift")
    await viewer.page.keyboard.down("KeyW")
    await guest.wait(lambda: any(key["keysym"] == _W_KEYSYM for key in guest.all("key")))
    assert guest.all("button")[0]["down"]


async def _expect_released(guest: ObservedGuest) -> None:
    def is_released() -> bool:
        last = {key["keysym"]: key["down"] for key in guest.all("key")}
        return last == {_SHIFT_KEYSYM: False, _W_KEYSYM: False} and not guest.all("button")[-1]["down"]

    await guest.wait(is_released)


async def test_vanished_viewers_keys_are_released(browser: Browser, start_session: SessionStarter) -> None:
    async with observed_guest(start_session, "--size", "800x450", "--no-resize") as guest:
        async with client(browser) as viewer:
            await viewer.open(guest.session.url)
            await _hold(viewer, guest)
            await viewer.page.close()
            await _expect_released(guest)
        mark = f"--viewer={secrets.token_hex(8)}"
        is_seen = False
        try:
            async with chromium(mark) as other, client(other) as viewer:
                await viewer.open(guest.session.url)
                await _hold(viewer, guest)
                assert await asyncio.to_thread(_kill_browser, mark)
                await _expect_released(guest)
                is_seen = True
        except Error:
            assert is_seen  # the browser cannot be closed any more
        # The session takes the next one.
        guest.forget()
        async with client(browser) as viewer:
            await viewer.open(guest.session.url)
            await viewer.page.keyboard.press("n")
            assert {key["keysym"] for key in await guest.wait_for("key", 2)} == {ord("n")}


def _kill_browser(mark: str) -> int:
    """Kill all processes that have the mark on their command line, at once."""
    killed = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        except OSError:
            pass
    return killed
