# SPDX-License-Identifier: Apache-2.0
"""The last hop of packets that are ready: the UDP socket of ICE's nominated pair, or aioice where there is none."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from dataclasses import dataclass

from aioice.ice import CandidatePair

# aioice makes a task of each packet that a TURN server relays: others get a turn in between.
_FORWARDED_A_TURN = 32
_MAX_DATAGRAM_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket sends to. `host` is None where the other end of a socket pair knows."""

    host: str | None
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine."""
        return self.host is not None and ipaddress.ip_address(self.host.partition("%")[0]).is_loopback


class UdpPath:
    """ICE's own socket, dup'ed: what is sent on it comes from the port that the viewer has checked."""

    def __init__(self, sock: socket.socket, pair: CandidatePair) -> None:
        self.address = Address(pair.remote_addr[0], pair.remote_addr[1])
        self._fd = os.dup(sock.fileno())

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Give the socket up. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __str__(self) -> str:
        return f"UDP to {self.address.host} port {self.address.port}"


class ForwardedPath:
    """A pair without a socket of ours, which a TURN server relays: one end of a socket pair is sent on, what comes out
    of the other is given to aioice. Keys, numbers and history stay where they are, so a stream can go on this way and
    come back."""

    def __init__(self, pair: CandidatePair) -> None:
        self.address = Address(None, 0)
        self._pair = pair
        self._loop = asyncio.get_running_loop()
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._loop.add_reader(self._far, self._forward)

    def fileno(self) -> int:
        return self._near.fileno()

    def close(self) -> None:
        """Stop forwarding. May be called twice."""
        if self._far.fileno() >= 0:
            self._loop.remove_reader(self._far)
            self._far.close()
            self._near.close()

    def _forward(self) -> None:
        for _ in range(_FORWARDED_A_TURN):
            try:
                data = self._far.recv(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            if data:
                self._pair.protocol.transport.sendto(data, self._pair.remote_addr)

    def __str__(self) -> str:
        return f"a relay to {self._pair.remote_addr[0]} port {self._pair.remote_addr[1]}"


MediaPath = UdpPath | ForwardedPath


def path_of(pair: CandidatePair) -> MediaPath:
    """Return the way to send on a nominated pair; it is the caller's to close. Event loop only."""
    sock = pair.protocol.transport.get_extra_info("socket")
    # asyncio's sockets know what they are; a TURN transport has none.
    if sock is not None and sock.type == socket.SOCK_DGRAM and sock.family in (socket.AF_INET, socket.AF_INET6):
        return UdpPath(sock, pair)
    return ForwardedPath(pair)
