# SPDX-License-Identifier: Apache-2.0
"""One viewer's sound: Opus packets that are encoded already, in a queue that cannot grow."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from guest_agent.sound import RATE_HZ

# 100 ms: whoever is later than that hears the newest.
MAX_QUEUED_PACKETS = 10

_TIME_BASE = Fraction(1, RATE_HZ)


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One Opus packet for all viewers; `pts` in samples."""

    data: bytes
    pts: int


class AudioTrack(MediaStreamTrack):
    """Feeds one sender, which waits while nothing is pushed. Event loop only.

    Attributes:
        is_listening: the viewer wants to hear; nothing of this track is sent before, not even reports.
    """

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.is_listening = False
        self.dropped = 0
        self._queue: deque[AudioPacket] = deque()
        self._pushed = asyncio.Event()

    def push(self, packet: AudioPacket) -> None:
        """Queue a packet; the oldest gives way when the viewer does not follow."""
        if self.readyState != "live" or not self.is_listening:
            return
        if len(self._queue) >= MAX_QUEUED_PACKETS:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(packet)
        self._pushed.set()

    def mute(self) -> None:
        """What has not been sent yet is not sent."""
        self.is_listening = False
        self._queue.clear()

    async def recv(self) -> Packet[Any]:
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._pushed.clear()
            await self._pushed.wait()
        queued = self._queue.popleft()
        packet: Packet[Any] = Packet(queued.data)
        packet.pts = queued.pts
        packet.time_base = _TIME_BASE
        return packet

    def stop(self) -> None:
        super().stop()
        self.mute()
        self._pushed.set()
