# SPDX-License-Identifier: Apache-2.0
"""The HTTP server on a real port, by aiohttp's client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from guest_agent.messages import CloseViewer, Message, Signal, ViewerClosed, ViewerOpened
from streamer.config import Settings
from streamer.gateway.access import Access, Role
from streamer.gateway.errors import ListenError
from streamer.gateway.server import Server
from streamer.gateway.viewers import MAX_WATCHING, Viewers
from tests.support.streaming import wait_until


class _Health:
    def __init__(self) -> None:
        self.states = {"streamer": "ready", "guest_agent": "ready"}

    def parts(self) -> dict[str, str]:
        return self.states

    async def metrics(self) -> dict[str, float]:
        return {"bitrate_bps": 1e6}


class _Site:
    """A server, and what its streamer was told."""

    def __init__(self, settings: Settings) -> None:
        self.access = Access("site0001")
        self.viewers = Viewers()
        self.health = _Health()
        self.server = Server(settings, self.access, self.viewers, self.health)
        self.told: list[Message] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def cookies(self, role: Role = Role.CONTROL) -> dict[str, str]:
        return {self.access.cookie_name(role): self.access.cookie(role)}


@pytest.fixture
async def site() -> AsyncIterator[_Site]:
    made = _Site(Settings(port=0, name="Test"))
    await made.server.listen()
    made.viewers.attach_streamer(made.told.append)
    yield made
    made.viewers.end_session("over")
    await made.server.close()


async def test_token_becomes_a_cookie_and_leaves_the_address(site: _Site) -> None:
    async with ClientSession() as client:
        async with client.get(site.server.url(Role.CONTROL), allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"] == "/"
            cookie = response.headers["Set-Cookie"]
            assert cookie.startswith("heliograph_site0001=")
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
            assert site.access.token(Role.CONTROL) not in cookie
        async with client.get(f"{site.origin}/api/session", cookies=site.cookies()) as response:
            assert await response.json() == {"role": "control", "name": "Test", "version": "0.1.0"}


async def test_watching_takes_no_control_away(site: _Site) -> None:
    async with ClientSession() as client:
        async with client.get(site.server.url(Role.VIEW), allow_redirects=False) as response:
            assert response.headers["Location"] == "/?view"
            assert response.headers["Set-Cookie"].startswith("heliograph_site0001_view=")
        both = site.cookies(Role.CONTROL) | site.cookies(Role.VIEW)
        cases: list[tuple[dict[str, str], str, str]] = [
            (both, "", "control"),
            (both, "?view", "view"),
            (site.cookies(Role.CONTROL), "?view", "view"),
            (site.cookies(Role.VIEW), "", "view"),
        ]
        for cookies, query, role in cases:
            async with client.get(site.origin + "/api/session" + query, cookies=cookies) as response:
                assert (await response.json())["role"] == role


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/static/main.js", "/static/style.css", "/api/session", "/api/signal"]
)
async def test_nothing_is_served_without_access(site: _Site, path: str) -> None:
    async with ClientSession() as client, client.get(site.origin + path) as response:
        assert response.status == 401
        assert "import" not in await response.text()
        assert "Set-Cookie" not in response.headers


async def test_cookie_of_another_session_is_refused(site: _Site) -> None:
    cookies = {site.access.cookie_name(Role.CONTROL): Access("site0001").cookie(Role.CONTROL)}
    async with ClientSession(cookies=cookies) as client, client.get(site.origin + "/") as response:
        assert response.status == 401


async def test_every_answer_carries_the_headers(site: _Site) -> None:
    async with ClientSession(cookies=site.cookies()) as client:
        for path, status in (("/", 200), ("/static/main.js", 200), ("/static/../cli.py", 404), ("/nothing", 404)):
            async with client.get(site.origin + path) as response:
                assert response.status == status
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert response.headers["Server"] == "heliograph"


async def test_paths_do_not_leave_the_static_folder(site: _Site) -> None:
    for path in (
        "/static/../../cli.py",
        "/static/%2e%2e/%2e%2e/cli.py",
        "/static//etc/passwd",
        "/static/",
        "/static/input",
    ):
        reader = socket.create_connection(("127.0.0.1", site.server.port))
        reader.close()
        async with ClientSession(cookies=site.cookies()) as client, client.get(site.origin + path) as response:
            assert response.status == 404


async def test_static_files_are_revalidated(site: _Site) -> None:
    async with ClientSession(cookies=site.cookies()) as client:
        async with client.get(site.origin + "/static/input/keyboard.js") as response:
            assert response.headers["Cache-Control"] == "no-cache"
            assert response.content_type == "text/javascript"
            etag = response.headers["ETag"]
        async with client.get(site.origin + "/static/input/keyboard.js", headers={"If-None-Match": etag}) as response:
            assert response.status == 304
            assert await response.read() == b""


async def test_health_tells_strangers_only_what_is_up(site: _Site) -> None:
    async with ClientSession() as client:
        async with client.get(site.origin + "/healthz") as response:
            assert response.status == 200
            assert await response.json() == {"status": "ok", "parts": site.health.states}
        bearer = {"Authorization": f"Bearer {site.access.token(Role.VIEW)}"}
        async with client.get(site.origin + "/healthz", headers=bearer) as response:
            assert (await response.json())["values"] == {"bitrate_bps": 1e6}
        site.health.states["streamer"] = "down"
        async with client.get(site.origin + "/healthz") as response:
            assert response.status == 503


async def test_only_control_shares_and_only_from_the_page(site: _Site) -> None:
    url = site.origin + "/api/share"
    origin = {"Origin": site.origin}
    async with ClientSession() as client:
        async with client.post(url, json={"role": "view"}, headers=origin, cookies=site.cookies()) as response:
            link = (await response.json())["url"]
            assert link == f"{site.origin}/?token={site.access.token(Role.VIEW)}"
        cases: list[tuple[Any, dict[str, str], Role, int]] = [
            ({"role": "view"}, {}, Role.CONTROL, 403),
            ({"role": "view"}, {"Origin": "https://example.com"}, Role.CONTROL, 403),
            ({"role": "view"}, origin, Role.VIEW, 403),
            ({"role": "owner"}, origin, Role.CONTROL, 400),
            ({"role": {}}, origin, Role.CONTROL, 400),
            (["view"], origin, Role.CONTROL, 400),
        ]
        for body, headers, role, status in cases:
            async with client.post(url, json=body, headers=headers, cookies=site.cookies(role)) as response:
                assert response.status == status


@pytest.mark.parametrize(
    ("origin", "has_cookie", "status"),
    [
        (None, True, 403),
        ("https://example.com", True, 403),
        ("null", True, 403),
        ("http://127.0.0.1:1", True, 403),
        ("same", False, 401),
    ],
)
async def test_signalling_is_refused(site: _Site, origin: str | None, has_cookie: bool, status: int) -> None:
    headers = {} if origin is None else {"Origin": site.origin if origin == "same" else origin}
    async with ClientSession(cookies=site.cookies() if has_cookie else {}) as client:
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect(site.origin + "/api/signal", headers=headers)
    assert caught.value.status == status
    assert site.told == []


async def test_signalling_is_relayed(site: _Site) -> None:
    headers = {"Origin": site.origin}
    async with ClientSession(cookies=site.cookies(Role.VIEW)) as client:
        async with client.ws_connect(site.origin + "/api/signal", headers=headers) as ws:
            await ws.send_json({"type": "candidate", "candidate": ""})
            site.viewers.handle_streamer_message(Signal(1, {"type": "welcome"}))
            assert await ws.receive_json() == {"type": "welcome"}
            site.viewers.handle_streamer_message(Signal(7, {"type": "lost"}))  # nobody's
            site.viewers.handle_streamer_message(CloseViewer(1, 1008, "no"))
            closed = await ws.receive()
            assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 1008, "no")
        async with client.ws_connect(site.origin + "/api/signal", headers=headers) as ws:
            site.viewers.handle_streamer_message(Signal(2, {"type": "welcome"}))
            await ws.receive_json()
    assert site.told[:4] == [
        ViewerOpened(1, "view"),
        Signal(1, {"type": "candidate", "candidate": ""}),
        ViewerClosed(1),
        ViewerOpened(2, "view"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        *("{", "[]", '"x"', "{}", '{"type": 3}', '{"type": NaN}', "[" * 5000),
        # What would break the link to the streamer, which all viewers share.
        '{"type": "offer", "sdp": ' + "[" * 900 + "]" * 900 + "}",
        '{"type": "offer", "sdp": {}}',
        '{"type": "offer", "sdp": "\\ud800"}',
        '{"type": "offer", "\\ud800": 1}',
        '{"type": "offer", "sdp": 1e999}',
        '{"type": "offer", ' + ", ".join(f'"{number}": 0' for number in range(20)) + "}",
    ],
)
async def test_third_malformed_message_closes_the_socket(site: _Site, bad: str) -> None:
    async with ClientSession(cookies=site.cookies()) as client:
        async with client.ws_connect(site.origin + "/api/signal", headers={"Origin": site.origin}) as ws:
            for _ in range(3):
                await ws.send_str(bad)
                answer = await ws.receive_json()
                assert answer["type"] == "error"
                assert answer["message"].startswith("message")
            assert (await ws.receive()).data == 1008
    assert not any(isinstance(message, Signal) for message in site.told)


async def test_a_flood_waits_for_the_streamer(site: _Site) -> None:
    # A pipe that nobody reads: what the streamer's link does with what is sent is not ours to let grow.
    waiting, gate = asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        waiting.set()
        await gate.wait()

    site.viewers.attach_streamer(site.told.append, drain)
    async with ClientSession(cookies=site.cookies()) as client:
        async with client.ws_connect(site.origin + "/api/signal", headers={"Origin": site.origin}) as ws:
            for _ in range(100):
                await ws.send_json({"type": "candidate"})
            await waiting.wait()
            assert sum(isinstance(message, Signal) for message in site.told) == 1
            gate.set()
            await wait_until(lambda: sum(isinstance(message, Signal) for message in site.told) == 100)


async def test_who_only_watches_cannot_keep_the_others_out(site: _Site) -> None:
    async with ClientSession() as client, AsyncExitStack() as stack:

        async def come(role: Role) -> ClientWebSocketResponse:
            headers = {"Origin": site.origin, "Cookie": f"{site.access.cookie_name(role)}={site.access.cookie(role)}"}
            return await stack.enter_async_context(client.ws_connect(site.origin + "/api/signal", headers=headers))

        for _ in range(MAX_WATCHING):
            await come(Role.VIEW)
        assert (await (await come(Role.VIEW)).receive()).data == 1013
        await come(Role.CONTROL)
        await wait_until(lambda: len(site.viewers) == MAX_WATCHING + 1)


async def test_oversized_message_closes_the_socket(site: _Site) -> None:
    async with ClientSession(cookies=site.cookies()) as client:
        async with client.ws_connect(site.origin + "/api/signal", headers={"Origin": site.origin}) as ws:
            await ws.send_str('{"type": "offer", "sdp": "' + "x" * 70_000 + '"}')
            assert (await ws.receive()).data == 1009


async def test_viewers_are_told_of_a_restart_and_of_the_end(site: _Site) -> None:
    async with ClientSession(cookies=site.cookies()) as client:
        url, headers = site.origin + "/api/signal", {"Origin": site.origin}
        async with client.ws_connect(url, headers=headers) as ws:
            site.viewers.detach_streamer()
            assert (await ws.receive()).data == 1012
        async with client.ws_connect(url, headers=headers) as ws:
            assert (await ws.receive()).data == 1012  # it is not back yet
        site.viewers.attach_streamer(site.told.append)
        async with client.ws_connect(url, headers=headers) as ws:
            site.viewers.end_session("the guest's program ended " + "ü" * 100)
            closed = await ws.receive()
            assert closed.data == 1001
            assert str(closed.extra).startswith("the guest's program ended")


async def test_connections_without_number_are_hung_up_on(site: _Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.gateway.server.MAX_CONNECTIONS", 3)
    address = ("127.0.0.1", site.server.port)
    async with AsyncExitStack() as stack:
        writers = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection(*address)
            stack.callback(writer.close)
            writers.append(writer)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        for writer in writers:
            writer.close()
    server = site.server._runner.server
    await wait_until(lambda: server is not None and not server.connections)
    async with ClientSession() as client, client.get(site.origin + "/healthz") as response:
        assert response.status == 200


async def test_a_connection_that_says_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.gateway.server.IDLE_TIMEOUT_S", 0.05)
    site = _Site(Settings(port=0))
    await site.server.listen()
    for said in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(said)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
    await site.server.close()


async def test_taken_port_says_what_to_do(site: _Site) -> None:
    other = _Site(Settings(port=site.server.port))
    with pytest.raises(ListenError, match="--port 0"):
        await other.server.listen()
    await other.server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return the paths of a certificate and of its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 1"
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


async def test_https_marks_the_cookie_secure(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    secure = _Site(Settings(port=0, tls_cert=cert, tls_key=key))
    await secure.server.listen()
    try:
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        url = secure.server.url(Role.CONTROL)
        assert url.startswith("https://127.0.0.1:")
        async with ClientSession() as client, client.get(url, ssl=context, allow_redirects=False) as response:
            assert "Secure" in response.headers["Set-Cookie"].split("; ")
    finally:
        await secure.server.close()
    with pytest.raises(ListenError, match="PEM"):
        await _Site(Settings(port=0, tls_cert=key, tls_key=cert)).server.listen()
