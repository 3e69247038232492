# SPDX-License-Identifier: Apache-2.0
"""The session's HTTP server (`docs/protocol/client.md`): the client, access, share links, health, signalling."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from streamer.config import Settings, same_host, url_host, version
from streamer.gateway.access import Access, Role
from streamer.gateway.errors import ListenError
from streamer.gateway.pages import PAGE_POLICY, come_again_page, unauthorized_page
from streamer.gateway.static_files import StaticFile, load_static_files
from streamer.gateway.viewers import Viewers

# Anybody who reaches the port can take a connection, without any token.
MAX_CONNECTIONS = 256
# Until a request is complete, or the next one comes.
IDLE_TIMEOUT_S = 20.0
HANDSHAKE_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)

_CLIENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Server": "heliograph",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Both together isolate the page, which gives it clocks of 5 µs instead of 100.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


class Health(Protocol):
    """Where /healthz looks."""

    def parts(self) -> Mapping[str, str]:
        """Return each part's state; "ready" is the good one."""

    async def metrics(self) -> Mapping[str, float]:
        """Return the streamer's numbers; empty when it gives none."""


class Server:
    """The HTTP server of one session. Loop thread only; `close()` gives the address back."""

    def __init__(self, settings: Settings, access: Access, viewers: Viewers, health: Health) -> None:
        self._settings = settings
        self._access = access
        self._viewers = viewers
        self._health = health
        self._files = load_static_files()
        app = web.Application(client_max_size=16384)
        app.on_response_prepare.append(self._add_headers)
        app.router.add_get("/", self._get_index)
        app.router.add_get("/static/{name:.*}", self._get_static)
        app.router.add_get("/healthz", self._get_health)
        app.router.add_get("/api/session", self._with_role(self._get_session))
        app.router.add_post("/api/share", self._with_role(self._post_share))
        app.router.add_get("/api/signal", self._with_role(self._get_signal))
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=IDLE_TIMEOUT_S
        )
        self._listeners: list[asyncio.Server] = []
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is served, once `listen()` has returned."""
        return self._port

    def url(self, role: Role) -> str:
        """Return the link that opens the session in `role`."""
        scheme = "https" if self._settings.secure else "http"
        return f"{scheme}://{url_host(self._settings.hosts)}:{self._port}/?token={self._access.token(role)}"

    async def listen(self) -> None:
        """Take the address and serve.

        Raises:
            ListenError: it cannot be had; says what to do.
        """
        context = _tls_context(self._settings)
        await self._runner.setup()
        port = self._settings.port
        for host in self._settings.hosts:
            listener = bind(host, port)
            port = self._port = listener.getsockname()[1]
            self._listeners.append(
                await asyncio.get_running_loop().create_server(
                    self._make_connection,
                    sock=listener,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if context is not None else None,
                )
            )

    def _make_connection(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            # The files that are left are for our own processes.
            return _Refusal()
        return server()

    async def close(self) -> None:
        """Stop serving. May be called twice."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await self._runner.cleanup()

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Content-Security-Policy", _CLIENT_POLICY)

    def _role(self, request: web.Request) -> Role | None:
        """Return what the page may do: the most that the browser's cookies open, or watch where the address says so."""
        names = (self._access.cookie_name(role) for role in Role)
        roles = {self._access.role_of_cookie(request.cookies.get(name)) for name in names} - {None}
        if roles == set():
            return None
        return Role.CONTROL if Role.CONTROL in roles and not _only_watches(request) else Role.VIEW

    def _with_role(
        self, handler: Callable[[web.Request, Role], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            role = self._role(request)
            if role is None:
                return web.json_response({"error": "open the session by its link first"}, status=401)
            return await handler(request, role)

        return handle

    async def _get_index(self, request: web.Request) -> web.StreamResponse:
        if "token" in request.query:
            role = self._access.role_of_token(request.query["token"])
            if role is None:
                _log.warning("refused a wrong token from %s", request.remote)
                return _page(unauthorized_page(wrong_token=True))
            # The token leaves the address bar, and with it the history and what is copied from there.
            response = web.Response(status=303, headers={"Location": "/" if role is Role.CONTROL else "/?view"})
            response.set_cookie(
                self._access.cookie_name(role),
                self._access.cookie(role),
                path="/",
                httponly=True,
                samesite="Strict",
                secure=self._settings.secure,
            )
            return response
        if self._role(request) is None:
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                return _page(come_again_page("/?view" if _only_watches(request) else "/"))
            return _page(unauthorized_page(wrong_token=False))
        return _file(request, self._files["index.html"])

    async def _get_static(self, request: web.Request) -> web.StreamResponse:
        if self._role(request) is None:
            return _page(unauthorized_page(wrong_token=False))
        file = self._files.get(request.match_info["name"])
        if file is None:
            return web.Response(status=404, text="There is no such file.\n")
        return _file(request, file)

    async def _get_health(self, request: web.Request) -> web.StreamResponse:
        values: dict[str, Any] = {}
        if self._role(request) is not None or self._access.role_of_token(_bearer(request)) is not None:
            # How busy a session is, is its people's own business.
            values = {"values": dict(await self._health.metrics()), "viewers": len(self._viewers)}
        # Last, as the answer may take its time: a restart that is counted already shows in the states too.
        parts = dict(self._health.parts())
        is_good = all(state == "ready" for state in parts.values())
        body = {"status": "ok" if is_good else "unavailable", "parts": parts, **values}
        return web.json_response(body, status=200 if is_good else 503)

    async def _get_session(self, _request: web.Request, role: Role) -> web.StreamResponse:
        return web.json_response({"role": role.value, "name": self._settings.name, "version": version()})

    async def _post_share(self, request: web.Request, role: Role) -> web.StreamResponse:
        origin = _checked_origin(request)
        if role is not Role.CONTROL:
            return web.json_response({"error": "only who controls the session can share it"}, status=403)
        try:
            body = await request.json()
            shared = Role(body["role"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return web.json_response({"error": 'role: must be "control" or "view"'}, status=400)
        # By the name under which the browser knows us, a proxy's included.
        return web.json_response({"url": f"{origin}/?token={self._access.token(shared)}"})

    async def _get_signal(self, request: web.Request, role: Role) -> web.StreamResponse:
        _checked_origin(request)
        return await self._viewers.serve(request, role)


class _Refusal(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _checked_origin(request: web.Request) -> str:
    origin = request.headers.get("Origin", "")
    if not same_host(origin, request.host):
        _log.warning("refused %s from the foreign origin %.200r", request.path, origin)
        raise web.HTTPForbidden(text="This request did not come from the session's own page.\n")
    return origin


def _only_watches(request: web.Request) -> bool:
    return "view" in request.query


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _page(html: str) -> web.Response:
    return web.Response(
        status=401, text=html, content_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY}
    )


def _file(request: web.Request, file: StaticFile) -> web.Response:
    # no-cache: kept, but asked for each time, so that a new version's modules never meet an old one's.
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in (etag.strip() for etag in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, content_type=file.content_type, charset="utf-8", headers=headers)


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ListenError(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} do not work together ({error}): both "
            "must be PEM files, and the key must be the certificate's"
        ) from error
    return context


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an IP address; port 0 takes any free one.

    Raises:
        ListenError: it cannot be had; says what to do.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = {
            errno.EADDRINUSE: "the port is taken: choose another with --port, or --port 0 for any free one",
            errno.EADDRNOTAVAIL: "this machine has no such address: `ip address` lists what it has",
            errno.EACCES: "ports below 1024 are for root: choose another with --port",
        }.get(error.errno or 0, error.strerror or "it cannot be had")
        raise ListenError(f"cannot listen at {host} port {port}: {hint}") from error
    return listener
