# SPDX-License-Identifier: Apache-2.0
"""The supervisor's end of the guard link (`docs/protocol/guard-link.md`): ends a dead worker's Venus clients.

A Venus client whose render worker has died would spin on its rings for ever. The guard keeps each client's socket open
until it has marked the client's rings FATAL; then the client aborts, as its driver means it to.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

_MESSAGE = struct.Struct("<IIIIQ")
_FATAL = struct.pack("<I", 2)
_SEALS_AGAINST_WRITING = fcntl.F_SEAL_WRITE | 0x0010  # F_SEAL_FUTURE_WRITE
# A worker that was taken over by its guest must not take all our fds.
MAX_CLIENTS = 4096
MAX_RINGS = 16384
_MAX_COMPLAINTS = 10

_log = logging.getLogger(__name__)


class GuardError(ValueError):
    """A message of the guard link is wrong; the text names message and field."""


class GuardType(IntEnum):
    """The guard link's messages."""

    CLIENT_ADDED = 1
    RING_ADDED = 2
    RING_REMOVED = 3
    CLIENT_REMOVED = 4


@dataclass(frozen=True, slots=True)
class GuardMessage:
    """One checked message, without its fd."""

    type: GuardType
    client: int
    ring: int
    status_offset: int


def parse_message(packet: bytes) -> GuardMessage:
    """Check a packet's bytes.

    Raises:
        GuardError: what is wrong.
    """
    if len(packet) != _MESSAGE.size:
        raise GuardError(f"message.size: {len(packet)} bytes, not {_MESSAGE.size}")
    number, client, ring, padding, status_offset = _MESSAGE.unpack(packet)
    try:
        kind = GuardType(number)
    except ValueError:
        raise GuardError(f"message.type: {number} is not known") from None
    is_rings = kind in (GuardType.RING_ADDED, GuardType.RING_REMOVED)
    if client == 0:
        raise GuardError(f"{kind.name}.client: must not be 0")
    if is_rings != (ring != 0):
        raise GuardError(f"{kind.name}.ring: {ring}")
    if padding:
        raise GuardError(f"{kind.name}.padding: must be 0")
    if status_offset and kind is not GuardType.RING_ADDED:
        raise GuardError(f"{kind.name}.status_offset: must be 0")
    return GuardMessage(kind, client, ring, status_offset)


@dataclass(slots=True)
class _Ring:
    memfd: int
    status_offset: int


@dataclass(slots=True)
class _Client:
    socket_fd: int
    rings: dict[int, _Ring] = field(default_factory=dict)


class RingGuard:
    """What is kept for one worker's clients. Loop thread only; `close()` ends them if the worker has not.

    The end of the link is the worker's: then all rings that are left are marked and their sockets closed.
    """

    def __init__(self, sock: socket.socket, name: str, handle_client: Callable[[], None] = lambda: None) -> None:
        """Take the socket over. `name` is the worker's in the log; `handle_client` hears of each new client."""
        self._sock = sock
        self._name = name
        self._handle_client = handle_client
        self._clients: dict[int, _Client] = {}
        self._ring_count = 0
        self._complaints = 0
        self._is_open = True
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._handle_readable)

    @classmethod
    def create(cls, name: str, handle_client: Callable[[], None] = lambda: None) -> tuple[Self, socket.socket]:
        """Return a guard, and the worker's end of its link, which the caller closes once the worker has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours, name, handle_client), theirs

    @property
    def client_count(self) -> int:
        return len(self._clients)

    @property
    def ring_count(self) -> int:
        return self._ring_count

    def close(self) -> None:
        """Take in what the worker still said, end the clients that are left, close all. May be called twice."""
        if self._is_open:
            self._receive(limit=None)
            self._end()

    def _handle_readable(self) -> None:
        # A worker that talks without end does not keep the loop to itself.
        self._receive(limit=64)

    def _receive(self, limit: int | None) -> None:
        count = 0
        while self._is_open and (limit is None or count < limit):
            # A worker that lives is not waited for; in close() it has ended, and wrote no more than the socket held.
            count += 1
            if limit is None and count > MAX_CLIENTS + MAX_RINGS:
                return
            try:
                packet, fds, flags, _ = socket.recv_fds(self._sock, _MESSAGE.size + 1, 2, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Out of fds: the message is lost, and with it that client's or ring's guard.
                self._complain(f"cannot be read: {error}")
                if isinstance(error, ConnectionError):
                    self._end()
                return
            if not packet and not fds:
                self._end()
                return
            self._take(packet, fds, flags)

    def _take(self, packet: bytes, fds: list[int], flags: int) -> None:
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise GuardError("message: was cut off")
            message = parse_message(packet)
            wants_fd = message.type in (GuardType.CLIENT_ADDED, GuardType.RING_ADDED)
            if len(fds) != int(wants_fd):
                raise GuardError(f"{message.type.name}: has {len(fds)} fds")
            self._handle(message, fds)
        except GuardError as error:
            self._complain(f"sent nonsense: {error}")
        finally:
            for fd in fds:  # those that nobody kept
                os.close(fd)

    def _handle(self, message: GuardMessage, fds: list[int]) -> None:
        client = self._clients.get(message.client)
        name = message.type.name
        if message.type is GuardType.CLIENT_ADDED:
            if client is not None:
                raise GuardError(f"{name}.client: {message.client} is there already")
            if len(self._clients) >= MAX_CLIENTS:
                raise GuardError(f"{name}.client: over {MAX_CLIENTS} at once")
            if not stat.S_ISSOCK(os.fstat(fds[0]).st_mode):
                raise GuardError(f"{name}.fd: is no socket")
            self._clients[message.client] = _Client(fds.pop())
            self._handle_client()
            return
        if client is None:
            raise GuardError(f"{name}.client: there is no client {message.client}")
        if message.type is GuardType.RING_ADDED:
            if message.ring in client.rings:
                raise GuardError(f"{name}.ring: {message.ring} is there already")
            if self._ring_count >= MAX_RINGS:
                raise GuardError(f"{name}.ring: over {MAX_RINGS} at once")
            check_memory(fds[0], message.status_offset)
            client.rings[message.ring] = _Ring(fds.pop(), message.status_offset)
            self._ring_count += 1
        elif message.type is GuardType.RING_REMOVED:
            ring = client.rings.pop(message.ring, None)
            if ring is None:
                raise GuardError(f"{name}.ring: there is no ring {message.ring}")
            self._ring_count -= 1
            os.close(ring.memfd)
        else:
            del self._clients[message.client]
            self._close_client(client)

    def _complain(self, text: str) -> None:
        self._complaints += 1
        if self._complaints <= _MAX_COMPLAINTS:
            _log.warning("%s's guard link %s", self._name, text)

    def _end(self) -> None:
        """Mark what is left FATAL, and only then close the sockets."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._sock)
        self._sock.close()
        rings = self._ring_count
        for client in self._clients.values():
            for ring in client.rings.values():
                try:
                    # Not through a mapping: whatever happens to the memory, this cannot fault.
                    os.pwrite(ring.memfd, _FATAL, ring.status_offset)
                except OSError as error:
                    self._complain(f"a ring cannot be ended: {error}")
        if self._clients:
            _log.warning("%s has left %d Venus clients (%d rings): ended", self._name, len(self._clients), rings)
        for client in self._clients.values():
            self._close_client(client)
        self._clients.clear()

    def _close_client(self, client: _Client) -> None:
        for ring in client.rings.values():
            os.close(ring.memfd)
        self._ring_count -= len(client.rings)
        client.rings.clear()
        os.close(client.socket_fd)


def check_memory(fd: int, status_offset: int) -> None:
    """Check that a ring's status word can be written in this fd at any later time.

    Raises:
        GuardError: it is no memfd of sealed size, or the word does not lie in it.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise GuardError("RING_ADDED.fd: is no memfd") from None
    if not seals & fcntl.F_SEAL_SHRINK:
        raise GuardError("RING_ADDED.fd: could shrink, it is not sealed")
    if seals & _SEALS_AGAINST_WRITING or fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
        raise GuardError("RING_ADDED.fd: cannot be written")
    if status_offset % 4:
        raise GuardError(f"RING_ADDED.status_offset: {status_offset} is not a multiple of 4")
    size = os.fstat(fd).st_size
    if status_offset > size - 4:
        raise GuardError(f"RING_ADDED.status_offset: {status_offset} is not inside {size} bytes")
