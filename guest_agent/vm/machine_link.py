# SPDX-License-Identifier: Apache-2.0
"""The VM agent's end of the machine link (`docs/protocol/machine-link.md`): hands QEMU's socket to a render worker."""

from __future__ import annotations

import array
import asyncio
import enum
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

VERSION = 1
JOURNAL_BYTES = 16 << 20
MAX_PACKET_BYTES = 4096
MAX_STATES = 256

_HEADER = struct.Struct("<IHHII")
_TWO = struct.Struct("<II")
_DISPLAY = struct.Struct("<4I")
_HELLO, _ATTACH = 1, 2
_HELLO_REPLY, _STATE, _DISPLAY_WANTED = 0x8001, 0x8002, 0x8003


class MachineLinkError(Exception):
    """The worker said nonsense."""


class State(enum.IntEnum):
    """What the worker does for the machine."""

    ATTACHED = 1  # vhost-user is being served
    RUNNING = 2  # so is the control queue
    STOPPED = 3  # the machine is paused or reset, or its driver is gone
    LOST = 4  # QEMU closed its end, or broke the protocol
    INCOMPLETE = 5  # the journal lacks something: the picture comes back with the guest's next reset or new picture


@dataclass(frozen=True, slots=True)
class WantedDisplay:
    """What viewers want of an output; 0×0: nobody wants it any more."""

    scanout_id: int
    width: int
    height: int
    refresh_mhz: int


class Journal:
    """The memory in which a worker keeps what the next one needs. Sealed against shrinking and growing."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("heliograph-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, JOURNAL_BYTES)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except OSError:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """May be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class MachineLink:
    """One connection to a worker. Loop thread only; `close()` ends it.

    Attributes:
        reason: why it has ended, once it has.
    """

    def __init__(self, sock: socket.socket, handle_display: Callable[[WantedDisplay], None]) -> None:
        self.reason = ""
        self._sock = sock
        self._handle_display = handle_display
        self._loop = asyncio.get_running_loop()
        self._states: asyncio.Queue[State | None] = asyncio.Queue(MAX_STATES)
        self._greeted: asyncio.Future[bool] = self._loop.create_future()
        self._loop.add_reader(sock, self._read)

    @classmethod
    async def connect(cls, path: str, handle_display: Callable[[WantedDisplay], None]) -> Self:
        """Connect to the worker that listens at `path` and greet it; one that is being started is waited for.

        Raises:
            OSError, MachineLinkError: there is none, or it is another version's.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, path)
            link = cls(sock, handle_display)
        except BaseException:
            sock.close()
            raise
        try:
            link._send(_HELLO, _TWO.pack(VERSION, 0), ())
            if not await link._greeted:
                raise MachineLinkError(f"the render worker did not greet: {link.reason}")
        except BaseException:
            link.close()
            raise
        return link

    def attach(self, vhost_fd: int, journal: Journal, *, recover: bool) -> None:
        """Give the worker the socket of QEMU's device; both fds stay the caller's.

        Raises:
            OSError: the worker is gone.
        """
        self._send(_ATTACH, _TWO.pack(int(recover), 0), (vhost_fd, journal.fd))

    async def next_state(self) -> State | None:
        """Wait for the next state; None once the link has ended. Cancelling is safe."""
        return await self._states.get() if not self.reason or not self._states.empty() else None

    def close(self) -> None:
        """May be called twice."""
        if not self.reason:
            self._end("closed")
        self._sock.close()

    def _send(self, kind: int, body: bytes, fds: tuple[int, ...]) -> None:
        packet = _HEADER.pack(_HEADER.size + len(body), kind, len(fds), 0, 0) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._sock.sendmsg([packet], rights)

    def _read(self) -> None:
        try:
            packet = self._sock.recv(MAX_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if not packet:
            self._end("the render worker is gone")
            return
        try:
            self._handle(packet)
        except (MachineLinkError, struct.error) as error:
            self._end(f"the render worker broke the machine link: {error}")

    def _end(self, reason: str) -> None:
        self._loop.remove_reader(self._sock)
        self.reason = reason
        if not self._greeted.done():
            self._greeted.set_result(False)
        if not self._states.full():
            self._states.put_nowait(None)  # for who waits

    def _handle(self, packet: bytes) -> None:
        length, kind, fd_count, _sequence, _reserved = _HEADER.unpack_from(packet)
        if length != len(packet) or fd_count:
            raise MachineLinkError("a packet's header does not fit it")
        body = packet[_HEADER.size :]
        if kind == _HELLO_REPLY:
            if _TWO.unpack(body)[0] != VERSION or self._greeted.done():
                raise MachineLinkError("HELLO_REPLY.version is wrong")
            self._greeted.set_result(True)
        elif not self._greeted.done():
            raise MachineLinkError("HELLO_REPLY comes first")
        elif kind == _STATE:
            state = _TWO.unpack(body)[0]
            if state not in State.__members__.values():
                raise MachineLinkError(f"STATE.state {state} is not known")
            if self._states.full():
                raise MachineLinkError("STATE changes without end")
            self._states.put_nowait(State(state))
        elif kind == _DISPLAY_WANTED:
            wanted = WantedDisplay(*_DISPLAY.unpack(body))
            is_off = wanted.width == wanted.height == 0
            is_sane = 16 <= wanted.width <= 16384 and 16 <= wanted.height <= 16384
            if wanted.scanout_id > 15 or not (is_sane or is_off):
                raise MachineLinkError("DISPLAY.scanout_id, width or height is wrong")
            self._handle_display(wanted)
        else:
            raise MachineLinkError(f"the message type {kind:#x} is not known")
