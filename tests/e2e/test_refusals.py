# SPDX-License-Identifier: Apache-2.0
"""What a session refuses: strangers, foreign pages, and messages that are not right. It goes on all the while."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from playwright.async_api import Browser

from tests.support.browser import client
from tests.support.observer import observed_guest
from tests.support.session import Session, SessionStarter
from tests.support.web_visitor import cookies_of

_WAIT_S = 60.0
_FOREIGN = ("https://example.com", "http://127.0.0.1:1", "null", "")
_VIDEO = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"
_CANDIDATE = "candidate:1 1 udp 2122260223 127.0.0.1 50000 typ host"

# What is sent, and what the error must name.
_MALFORMED: list[tuple[str, tuple[str, ...]]] = [
    ("this is not JSON", ("message",)),
    ("[1, 2]", ("message",)),
    ("{}", ("type",)),
    ('{"type": 7}', ("type",)),
    ('{"type": "open sesame"}', ("type",)),
    ('{"type": "offer"}', ("offer", "sdp")),
    ('{"type": "offer", "sdp": 7}', ("offer", "sdp")),
    ('{"type": "offer", "sdp": ""}', ("offer", "sdp")),
    (json.dumps({"type": "offer", "sdp": "garbage " * 6000}), ("offer", "sdp")),
    (json.dumps({"type": "offer", "sdp": _VIDEO}), ("offer", "sdp")),
    (json.dumps({"type": "offer", "sdp": _VIDEO.replace("96", "9" * 400)}), ("offer", "sdp")),
    (json.dumps({"type": "offer", "sdp": "\x00\ud800"}), ("sdp",)),
    ('{"type": "candidate"}', ("candidate",)),
    ('{"type": "candidate", "candidate": {}, "sdpMid": "0", "sdpMLineIndex": 0}', ("candidate",)),
    (json.dumps({"type": "candidate", "candidate": _CANDIDATE, "sdpMLineIndex": -1}), ("candidate", "sdpMLineIndex")),
    (json.dumps({"type": "candidate", "candidate": _CANDIDATE + "x" * 2000}), ("candidate",)),
]


async def _signal(http: ClientSession, session: Session, cookies: dict[str, str]) -> ClientWebSocketResponse:
    socket = await http.ws_connect(
        f"{session.origin}/api/signal",
        headers={"Origin": session.origin, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
    )
    assert (await _receive(socket))["type"] == "welcome"
    return socket


async def _receive(socket: ClientWebSocketResponse) -> dict[str, Any]:
    async with asyncio.timeout(_WAIT_S):
        message: dict[str, Any] = await socket.receive_json()
        return message


async def test_strangers_and_foreign_pages_are_refused(start_session: SessionStarter) -> None:
    session = await asyncio.to_thread(start_session.run, "sleep", "600")
    async with ClientSession() as http:
        for path in ("/", "/?token=wrong", "/?token=", "/static/main.js", "/api/session", "/api/signal"):
            async with http.get(session.origin + path) as response:
                assert response.status == 401, path
                assert "Set-Cookie" not in response.headers
        async with http.post(f"{session.origin}/api/share", json={"role": "control"}) as response:
            assert response.status == 401
        cookies = await cookies_of(http, session.url)
        for origin in _FOREIGN:
            headers = {"Origin": origin}
            with pytest.raises(WSServerHandshakeError) as caught:
                await http.ws_connect(f"{session.origin}/api/signal", **_with(cookies, headers))
            assert caught.value.status == 403, origin
            url = f"{session.origin}/api/share"
            async with http.post(url, json={"role": "view"}, headers=headers, cookies=cookies) as response:
                assert response.status == 403, origin
        await (await _signal(http, session, cookies)).close()


def _with(cookies: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
    return {"headers": {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}}


async def test_page_of_a_stranger_says_what_to_do(browser: Browser, start_session: SessionStarter) -> None:
    session = await asyncio.to_thread(start_session.run, "sleep", "600")
    async with client(browser) as viewer:
        response = await viewer.page.goto(f"{session.origin}/?token=wrong")
        assert response is not None
        assert response.status == 401
        assert "link" in await viewer.page.inner_text("body")


async def test_malformed_signalling_names_the_field_and_hurts_nobody(
    browser: Browser, start_session: SessionStarter
) -> None:
    async with observed_guest(start_session) as guest, client(browser) as viewer, ClientSession() as http:
        await viewer.open(guest.session.url)
        cookies = await cookies_of(http, guest.session.url)
        for text, names in _MALFORMED:
            socket = await _signal(http, guest.session, cookies)
            await socket.send_str(text)
            answer = await _receive(socket)
            assert answer["type"] == "error", text[:80]
            assert all(name in answer["message"] for name in names), (text[:80], answer)
            assert len(answer["message"]) < 1000
            await socket.close()
        # The third closes the socket; too large a message does at once.
        socket = await _signal(http, guest.session, cookies)
        for _ in range(3):
            await socket.send_str('{"type": "offer", "sdp": 7}')
            assert (await _receive(socket))["type"] == "error"
        assert (await socket.receive()).data == 1008
        socket = await _signal(http, guest.session, cookies)
        await socket.send_str("x" * 70_000)
        closed = await socket.receive()
        assert closed.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        socket = await _signal(http, guest.session, cookies)
        await socket.send_bytes(b"\xff\xfe")
        assert "text" in (await _receive(socket))["message"]
        await socket.close()

        # The one who watched all the while has noticed nothing.
        guest.forget()
        await viewer.page.keyboard.press("s")
        assert {key["keysym"] for key in await guest.wait_for("key", 2)} == {ord("s")}
        async with http.get(f"{guest.session.origin}/healthz", cookies=cookies) as response:
            health = await response.json()
        assert health["status"] == "ok"
        assert {count for name, count in health["values"].items() if name.endswith("_restarts")} == {0}
        assert (await viewer.stats())["state"] == "connected"
