# SPDX-License-Identifier: Apache-2.0
"""The viewers' WebSockets, and the relay of their signalling to the streamer."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from guest_agent.messages import CloseViewer, Message, Signal, ViewerClosed, ViewerOpened
from streamer.gateway.access import Role

MAX_SIGNAL_BYTES = 65536
MAX_MALFORMED = 3
MAX_VIEWERS = 32
# Of those, who only watches: a link that was shared widely must not keep out who works here.
MAX_WATCHING = 24
MAX_SIGNAL_FIELDS = 16
_MAX_UNSENT = 64

_log = logging.getLogger(__name__)


class SignalError(ValueError):
    """A viewer's signalling message is no JSON object; the text names what is wrong."""


def parse_signal(text: str) -> dict[str, Any]:
    """Return a signalling message's object; what its fields mean is the streamer's to check.

    It is flat, and can be said in JSON again: all viewers share the link to the streamer, and none may break it.

    Raises:
        SignalError: it is no such object with a string `type`.
    """
    try:
        message = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise SignalError("message: is not JSON") from None
    if not isinstance(message, dict):
        raise SignalError("message: is not a JSON object")
    if not isinstance(message.get("type"), str):
        raise SignalError("message.type: must be a string")
    if len(message) > MAX_SIGNAL_FIELDS:
        raise SignalError(f"message: has over {MAX_SIGNAL_FIELDS} fields")
    for name, value in message.items():
        if isinstance(value, dict | list):
            raise SignalError(f"message.{name[:32]!a}: must not be nested")
        if isinstance(value, float) and not math.isfinite(value):
            raise SignalError(f"message.{name[:32]!a}: must be finite")
        if not (_is_unicode(name) and (not isinstance(value, str) or _is_unicode(value))):
            raise SignalError(f"message.{name[:32]!a}: is not valid Unicode")
    return message


def _is_unicode(text: str) -> bool:
    # JSON can escape half of a surrogate pair.
    return not any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    reason: str


@dataclass(slots=True, eq=False)
class _Viewer:
    number: int
    role: Role
    socket: web.WebSocketResponse
    unsent: asyncio.Queue[dict[str, Any] | _Close] = field(default_factory=lambda: asyncio.Queue(_MAX_UNSENT))
    malformed: int = 0
    closing: bool = False  # its close frame is being sent

    def send(self, item: dict[str, Any] | _Close) -> None:
        try:
            self.unsent.put_nowait(item)
        except asyncio.QueueFull:
            # It does not read; whatever else waits for it is of no use to it now.
            while not self.unsent.empty():
                self.unsent.get_nowait()
            self.unsent.put_nowait(_Close(WSCloseCode.POLICY_VIOLATION, "messages are not being read"))


class Viewers:
    """All viewers of the session. Loop thread only."""

    def __init__(self) -> None:
        self._viewers: dict[int, _Viewer] = {}
        self._next_number = 1
        self._send_to_streamer: Callable[[Message], None] | None = None
        self._drain_streamer: Callable[[], Awaitable[None]] = _no_wait
        self._end: _Close | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    def attach_streamer(
        self, send: Callable[[Message], None], drain: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """The streamer is ready: `send` takes messages for it, `drain` waits until it has read most of them."""
        self._send_to_streamer = send
        self._drain_streamer = drain or _no_wait

    def detach_streamer(self) -> None:
        """The streamer is gone: all viewers are told to come again."""
        self._send_to_streamer = None
        self._close_all(_Close(WSCloseCode.SERVICE_RESTART, "the streamer restarts"))

    def end_session(self, reason: str) -> None:
        """All viewers, and those who still come, are told that the session has ended."""
        self._end = _Close(WSCloseCode.GOING_AWAY, _fit_reason(reason))
        self._close_all(self._end)

    def _close_all(self, close: _Close) -> None:
        for viewer in self._viewers.values():
            viewer.send(close)

    def handle_streamer_message(self, message: Message) -> None:
        """Pass a `signal` or `close_viewer` of the streamer's on. One for a viewer that has left is dropped."""
        if isinstance(message, Signal):
            viewer = self._viewers.get(message.viewer)
            if viewer is not None:
                viewer.send(message.message)
                if message.message.get("type") == "error":
                    self._count_malformed(viewer)
        elif isinstance(message, CloseViewer):
            viewer = self._viewers.get(message.viewer)
            if viewer is not None:
                viewer.send(_Close(message.code, message.reason))

    def _count_malformed(self, viewer: _Viewer) -> None:
        viewer.malformed += 1
        if viewer.malformed >= MAX_MALFORMED:
            viewer.send(_Close(WSCloseCode.POLICY_VIOLATION, "too many malformed messages"))

    async def serve(self, request: web.Request, role: Role) -> web.WebSocketResponse:
        """Serve one viewer's WebSocket until it closes."""
        socket = web.WebSocketResponse(heartbeat=5.0, timeout=2.0, max_msg_size=MAX_SIGNAL_BYTES, compress=False)
        await socket.prepare(request)
        refusal = self._end
        if self._send_to_streamer is None and refusal is None:
            refusal = _Close(WSCloseCode.SERVICE_RESTART, "the streamer is not ready yet")
        if len(self._viewers) >= MAX_VIEWERS and refusal is None:
            refusal = _Close(WSCloseCode.TRY_AGAIN_LATER, f"{MAX_VIEWERS} viewers are watching already")
        watching = sum(viewer.role is Role.VIEW for viewer in self._viewers.values())
        if role is Role.VIEW and watching >= MAX_WATCHING and refusal is None:
            refusal = _Close(WSCloseCode.TRY_AGAIN_LATER, f"{MAX_WATCHING} viewers are watching already")
        if refusal is not None:
            await _close(socket, refusal)
            return socket
        viewer = _Viewer(self._next_number, role, socket)
        self._next_number += 1
        self._viewers[viewer.number] = viewer
        _log.info("viewer %d has come (%s)", viewer.number, role)
        self._tell_streamer(ViewerOpened(viewer.number, role.value))
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send(viewer))
                await self._receive(viewer)
                # Receiving ends when closing begins; the close frame, which says why, is still to be sent.
                if not viewer.closing:
                    sender.cancel()
        finally:
            del self._viewers[viewer.number]
            self._tell_streamer(ViewerClosed(viewer.number))
            _log.info("viewer %d has left", viewer.number)
        return socket

    def _tell_streamer(self, message: Message) -> None:
        if self._send_to_streamer is not None:
            self._send_to_streamer(message)

    async def _receive(self, viewer: _Viewer) -> None:
        async for message in viewer.socket:
            try:
                if message.type is not WSMsgType.TEXT:
                    raise SignalError("message: must be text")
                signal = parse_signal(message.data)
            except SignalError as error:
                viewer.send({"type": "error", "message": str(error)})
                self._count_malformed(viewer)
            else:
                self._tell_streamer(Signal(viewer.number, signal))
                # Who sends faster than the streamer reads waits, and the others with it do not.
                await self._drain_streamer()

    async def _send(self, viewer: _Viewer) -> None:
        while True:
            item = await viewer.unsent.get()
            if isinstance(item, _Close):
                viewer.closing = True
                await _close(viewer.socket, item)
                return
            try:
                await viewer.socket.send_str(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
            except ConnectionError:
                return


async def _no_wait() -> None:
    pass


async def _close(socket: web.WebSocketResponse, close: _Close) -> None:
    try:
        await socket.close(code=close.code, message=close.reason.encode())
    except ConnectionError:
        pass


def _fit_reason(reason: str) -> str:
    """Cut a reason to what a WebSocket's close frame holds."""
    return reason.encode()[:123].decode(errors="ignore")
