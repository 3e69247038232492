# SPDX-License-Identifier: Apache-2.0
"""The agent's connection to the X server, on an asyncio loop."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

import xcffib
import xcffib.xproto
import xcffib.xtest

_log = logging.getLogger(__name__)

MAX_EVENTS = 256

# xcffib has no types to speak of.
_xcffib: Any = xcffib

XError = xcffib.XcffibException


class XConnectionError(Exception):
    """The X server is gone or lacks something."""


class XConnection:
    """A connection to the X server; loop thread only.

    Requests that wait for a reply must go through `reply()`, and what is to be sent now through `flush()`: libxcb may
    take in events meanwhile (when it waits for a reply, or for room to write), which the file descriptor then no longer
    announces.
    """

    def __init__(self, display: str) -> None:
        self.display = display
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[type, list[Callable[[Any], None]]] = collections.defaultdict(list)
        self._is_drain_scheduled = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        try:
            self.raw: Any = _xcffib.connect(display)
        except (_xcffib.ConnectionException, XError) as error:
            raise XConnectionError(f"no connection to the X server {display}: {error}") from error
        self.core: Any = self.raw.core
        self.screen: Any = self.raw.get_setup().roots[0]
        self.root: int = self.screen.root
        self._fd: int = self.raw.get_file_descriptor()
        self._loop.add_reader(self._fd, self.drain)
        # A guest that grabs the server would stop the agent too.
        xtest = self.extension("xtest")
        self.reply(xtest.GetVersion(2, 2))
        xtest.GrabControl(True)

    def extension(self, name: str) -> Any:
        """Return an extension's requests, by the name of its xcffib module.

        Raises:
            XConnectionError: the server does not have it.
        """
        try:
            return self.raw(importlib.import_module(f"xcffib.{name}").key)
        except XError as error:
            raise XConnectionError(f"the X server has no {name} extension") from error

    def on(self, event: type, handler: Callable[[Any], None]) -> None:
        """Call `handler` for each event of that class. X errors that it raises are logged; it raises nothing else."""
        self._handlers[event].append(handler)

    def reply(self, cookie: Any) -> Any:
        """Wait for the reply of a request.

        Raises:
            XError: the server refused the request.
        """
        self._schedule_drain()
        return cookie.reply()

    def check(self, cookie: Any) -> None:
        """Wait until a request without a reply was served; raises XError when the server refused it."""
        self._schedule_drain()
        cookie.check()

    def atom(self, name: str) -> int:
        """Return the atom of that name; one round trip."""
        encoded = name.encode()
        atom: int = self.reply(self.core.InternAtom(False, len(encoded), encoded)).atom
        return atom

    def send_fd(self, fd: int) -> None:
        """Let a copy of `fd` travel with the next request."""
        pointer = int(_xcffib.ffi.cast("uintptr_t", self.raw._conn))
        # libxcb closes what it has sent.
        ctypes.CDLL(_xcffib.soname).xcb_send_fd(ctypes.c_void_p(pointer), os.dup(fd))

    def flush(self) -> None:
        """Send what was requested."""
        self._schedule_drain()
        self._send()

    def _send(self) -> None:
        try:
            self.raw.flush()
        except _xcffib.ConnectionException:
            self._handle_closed()

    def drain(self) -> None:
        """Handle the events that have arrived; very many in several turns of the loop."""
        self._is_drain_scheduled = False
        for _ in range(MAX_EVENTS):
            if self.closed.done():
                return
            try:
                event = self._poll()
                if event is None:
                    # Sending may take in events as well: look again when all is sent.
                    self._send()
                    event = self._poll()
                if event is None:
                    return
                for handler in self._handlers.get(type(event), ()):
                    handler(event)
            except _xcffib.ConnectionException:
                self._handle_closed()
            except XError as error:
                # Windows of guests come and go while requests about them are under way.
                _log.debug("X error: %r", error)
        # A guest that never stops must not keep input and the session's end waiting.
        self.flush()

    def _poll(self) -> Any:
        while True:
            try:
                return self.raw.poll_for_event()
            except IndexError:
                _log.debug("an event that xcffib does not know")

    def _schedule_drain(self) -> None:
        if not self._is_drain_scheduled:
            self._is_drain_scheduled = True
            self._loop.call_soon(self.drain)

    def _handle_closed(self) -> None:
        if not self.closed.done():
            self._loop.remove_reader(self._fd)
            self.closed.set_result(None)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._handle_closed()
        try:
            self.raw.disconnect()
        except XError:
            _log.debug("the connection was broken already")
