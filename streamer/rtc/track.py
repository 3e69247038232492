# SPDX-License-Identifier: Apache-2.0
"""One viewer's video: access units that are encoded already, in a queue that cannot grow."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from streamer.encode.encoder import CLOCK_RATE
from streamer.rtc.keyframe_gate import KeyframeGate

# More than this, and the viewer gets a keyframe later rather than old frames now.
MAX_QUEUED_FRAMES = 4
MAX_UNSENT_BYTES = 2_000_000

_TIME_BASE = Fraction(1, CLOCK_RATE)


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """An access unit for all viewers, with its trace (CLOCK_MONOTONIC ns).

    `flush_ns`, `gpu_done_ns` and `handoff_ns` are 0 when the picture is a repeat of the last one.
    """

    data: bytes
    is_keyframe: bool
    pts: int
    flush_ns: int
    gpu_done_ns: int
    handoff_ns: int
    encode_begin_ns: int
    encode_end_ns: int


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame whose last packet has gone out to this viewer, at `sent_ns`, with the RTP time the viewer sees."""

    frame: StreamFrame
    rtp: int
    sent_ns: int


class ViewerTrack(MediaStreamTrack):
    """Feeds one sender. A viewer that falls behind loses frames until the next keyframe, and asks for one.

    Event loop only. The callbacks are called on it: `on_keyframe_wanted` when the viewer needs a keyframe,
    `on_sent` after a frame's last packet; `unsent_bytes` says what waits below.
    """

    kind = "video"

    def __init__(
        self,
        on_keyframe_wanted: Callable[[], None],
        on_sent: Callable[[SentFrame], None],
        unsent_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self._on_keyframe_wanted = on_keyframe_wanted
        self._on_sent = on_sent
        self.unsent_bytes = unsent_bytes
        self._queue: deque[StreamFrame] = deque()
        self._pushed = asyncio.Event()
        self._in_flight: StreamFrame | None = None
        self._awaits_keyframe = True
        self._keyframe_gate = KeyframeGate()
        self.dropped = 0

    def push(self, frame: StreamFrame) -> None:
        """Queue a frame; a keyframe replaces what is older."""
        if self.readyState != "live":
            return
        if frame.is_keyframe:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._awaits_keyframe = False
        elif self._awaits_keyframe:
            self.dropped += 1
            return
        elif len(self._queue) >= MAX_QUEUED_FRAMES or self.unsent_bytes() > MAX_UNSENT_BYTES:
            self.dropped += len(self._queue) + 1
            self._queue.clear()
            self._awaits_keyframe = True
            self._on_keyframe_wanted()
            return
        self._queue.append(frame)
        self._keyframe_gate.handle_frame(time.monotonic_ns())
        self._pushed.set()

    def request_keyframe(self) -> None:
        """The viewer says that it lost the picture (PLI, FIR)."""
        if self._keyframe_gate.lets_pass(time.monotonic_ns()):
            self._on_keyframe_wanted()

    def mark_sent(self, rtp: int, sent_ns: int) -> None:
        """The frame that recv() returned last has gone out."""
        frame, self._in_flight = self._in_flight, None
        if frame is not None:
            self._on_sent(SentFrame(frame, rtp, sent_ns))

    async def recv(self) -> Packet[Any]:
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._pushed.clear()
            await self._pushed.wait()
        frame = self._queue.popleft()
        self._in_flight = frame
        packet: Packet[Any] = Packet(frame.data)
        packet.pts = frame.pts
        packet.time_base = _TIME_BASE
        return packet

    def stop(self) -> None:
        super().stop()
        self._queue.clear()
        self._pushed.set()
