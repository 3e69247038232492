# SPDX-License-Identifier: Apache-2.0
"""A fake of a TURN server's transport: the way of a pair that has no socket of ours, and may lose packets."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from aioice.ice import CandidatePair


class Relay:
    """Passes datagrams on to `inner`, but for each `drop_every`th; 0: none is lost.

    One in each round of the loop: so many a receiver on the same loop reads, whose buffer then never overflows.
    """

    def __init__(self, inner: Any, drop_every: int = 0) -> None:
        self._inner = inner
        self._drop_every = drop_every
        self._waiting: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.relayed = 0

    def pair(self, direct: CandidatePair) -> CandidatePair:
        """Return a pair like `direct` that goes this way."""
        pair = CandidatePair(direct.protocol, direct.remote_candidate)
        pair.protocol = _Protocol(self)  # type: ignore[assignment]
        return pair

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        self.relayed += 1
        if not self._drop_every or self.relayed % self._drop_every:
            self._waiting.append((data, address))
            if len(self._waiting) == 1:
                asyncio.get_running_loop().call_soon(self._pass_on)

    def _pass_on(self) -> None:
        self._inner.sendto(*self._waiting.popleft())
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._pass_on)


class _Protocol:
    def __init__(self, transport: Relay) -> None:
        self.transport = transport
