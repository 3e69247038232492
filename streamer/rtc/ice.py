# SPDX-License-Identifier: Apache-2.0
"""ICE on the addresses and ports that were asked for, and on no others."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

from aioice import ice, stun, turn
from aioice.candidate import Candidate, candidate_foundation, candidate_priority

_log = logging.getLogger(__name__)

# How soon a viewer that has vanished is noticed: aioice's own 5 s and 6 make half a minute.
CONSENT_INTERVAL_S = 1
CONSENT_FAILURES = 5

# Each is an address that checks are sent to.
MAX_REMOTE_CANDIDATES = 64
_MAX_HOSTS = 32


class GatheringError(OSError):
    """No address or port can be used for media; the text says which."""


class StreamProtocol(ice.StunProtocol):
    """A UDP socket of ours. Datagrams that are not STUN are taken from checked peers only."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        # Anyone can send here; an empty datagram would end aiortc's transport.
        if len(data) < 2 or (not stun_like(data) and not self._is_known(addr)):
            return
        super().datagram_received(data, addr)

    def _is_known(self, addr: tuple[Any, ...]) -> bool:
        host, port = addr[0], addr[1]
        return any(
            candidate.port == port and candidate._network_host == host for candidate in self.receiver._remote_candidates
        )


def stun_like(data: bytes | str) -> bool:
    """Whether a datagram can be STUN: its first two bits are 0 and its cookie is right (RFC 7983)."""
    return isinstance(data, bytes) and len(data) >= 20 and data[0] < 4 and data[4:8] == stun.COOKIE.to_bytes(4)


class StreamConnection(ice.Connection):
    """aioice's connection, bound to `hosts` (IP addresses of this machine; loopback at first) and `ports`.

    Both are set before candidates are gathered. `on_pair` hears of each pair that is nominated after another, and None
    when nothing may be sent any more.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    ports: range | None = None
    on_pair: Callable[[ice.CandidatePair | None], None] | None = None

    @property
    def takes_candidates(self) -> bool:
        """Whether the viewer may name another address of its own."""
        return len(self._remote_candidates) < MAX_REMOTE_CANDIDATES

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol) -> None:
        # A viewer can send from as many ports as it likes, each of which would become a candidate.
        known = any(each.port == addr[1] and each._network_host == addr[0] for each in self._remote_candidates)
        if known or len(self._remote_candidates) < 2 * MAX_REMOTE_CANDIDATES:
            super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: ice.CandidatePair) -> None:
        before = self._nominated.get(pair.component)
        super().check_complete(pair)
        nominated = self._nominated.get(pair.component)
        if nominated is not before and self.on_pair is not None:
            self.on_pair(nominated)

    async def close(self) -> None:
        # Also when the viewer does not consent any more (RFC 7675): not one packet after this.
        if self.on_pair is not None:
            self.on_pair(None)
        await super().close()

    def drop_sockets(self) -> None:
        """Close the sockets that close() has not got to; nothing after it."""
        self._closing = True
        for protocol in self._protocols:
            protocol.transport.close()

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """Add a candidate of the viewer's; None, the end of them, is not the end of hope (RFC 8863).

        Browsers name no loopback address and hide others behind mDNS names, so it is often the viewer's own check that
        tells us where it is. aioice would fail at once when the end comes before it. Who connects sets the time limit.
        """
        if remote_candidate is not None:
            await super().add_remote_candidate(remote_candidate)

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109  (aioice's signature)
    ) -> list[Candidate]:
        if self._transport_policy == ice.TransportPolicy.RELAY:
            return await super().get_component_candidates(component, [], timeout)
        candidates: list[Candidate] = []
        protocols: list[ice.StunProtocol] = []
        for host in self.hosts[:_MAX_HOSTS]:
            try:
                protocol = await self._bind(host)
            except OSError as error:
                _log.warning("media cannot use %s: %s", host, error)
                continue
            if self._closing:
                # The viewer left while we waited: close() has not seen this one.
                await protocol.close()
                raise GatheringError("the connection was closed meanwhile")
            self._protocols.append(protocol)  # at once: whoever is cancelled leaves it to close()
            address = protocol.transport.get_extra_info("sockname")
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                # Addresses are preferred in the order they were given.
                priority=candidate_priority(component, "host", 65535 - len(protocols)),
                host=host,
                port=address[1],
                type="host",
            )
            protocols.append(protocol)
            candidates.append(protocol.local_candidate)
        if not protocols:
            raise GatheringError(f"no UDP port is free for media on {', '.join(self.hosts)} ({self.ports or 'any'})")
        if self.stun_server is not None:
            candidates += await self._reflexive(protocols, timeout)
        if self.turn_server is not None:
            # Binds no host address of its own: the list is empty.
            stun_server, self.stun_server = self.stun_server, None
            try:
                candidates += await super().get_component_candidates(component, [], timeout)
            finally:
                self.stun_server = stun_server
        return candidates

    async def _bind(self, host: str) -> ice.StunProtocol:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for port in self._port_order():
            try:
                transport, protocol = await loop.create_datagram_endpoint(
                    lambda: StreamProtocol(self), local_addr=(host, port)
                )
            except OSError as error:
                failure = error
                continue
            sock = transport.get_extra_info("socket")
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, turn.UDP_SOCKET_BUFFER_SIZE)
            return protocol
        raise failure or OSError("the port range is empty")

    def _port_order(self) -> Iterator[int]:
        if self.ports is None:
            yield 0
            return
        start = random.randrange(len(self.ports)) if self.ports else 0
        yield from self.ports[start:]
        yield from self.ports[:start]

    async def _reflexive(self, protocols: list[ice.StunProtocol], wait_s: float) -> list[Candidate]:
        assert self.stun_server is not None
        waits = [
            asyncio.wait_for(ice.server_reflexive_candidate(protocol, self.stun_server), wait_s)
            for protocol in protocols
            if ipaddress.ip_address(protocol.local_candidate.host).version == 4
        ]
        found = []
        for result in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(result, BaseException):
                _log.warning("the STUN server did not answer: %s", result)
            else:
                found.append(result[0])
        return found
