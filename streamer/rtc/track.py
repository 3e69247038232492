# SPDX-License-Identifier: Apache-2.0
"""One viewer's video: access units that are encoded already, on their way to whoever sends them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from streamer.encode.encoder import CLOCK_RATE
from streamer.rtc.congestion.resend import Resend
from streamer.rtc.keyframe_gate import KeyframeGate
from streamer.stream_core.sender import Backlog

# More than this, and the viewer gets a keyframe later rather than old frames now.
MAX_QUEUED_FRAMES = 4
MAX_UNSENT_BYTES = 2_000_000
# While a keyframe is spread at the path's pace, frames wait behind it: dropping them would only ask for the next one.
MAX_SPREAD_FRAMES = 30

_TIME_BASE = Fraction(1, CLOCK_RATE)


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """An access unit for all viewers, with its trace (CLOCK_MONOTONIC ns).

    `pts` is CLOCK_MONOTONIC in units of 1/90000 s, and grows from frame to frame. `flush_ns`, `gpu_done_ns` and
    `handoff_ns` are 0 when the picture is a repeat of the last one.
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
    first_packet_ns: int
    sent_ns: int


class FrameOutlet(Protocol):
    """Who sends frames at once when they are pushed."""

    def push(self, frame: StreamFrame) -> bool:
        """Send a frame; False when it was dropped and a keyframe is needed."""

    def backlog(self) -> Backlog:
        """What waits."""


class ViewerTrack(MediaStreamTrack):
    """Feeds one sender. A viewer that falls behind loses frames until the next keyframe, and asks for one.

    Frames go straight to the native sender, once there is one; else they wait for aiortc's loop to fetch them. Event
    loop only. `on_keyframe_wanted` is called when the viewer needs a keyframe, and may push a frame by then; `on_sent`
    after a frame's last packet; `unsent_bytes` says what waits below aiortc.
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
        self.round_trip_us: Callable[[], int] = lambda: 0
        self.ask_resend: Callable[[int, int], Resend] = lambda sequence, size_bytes: Resend.SEND
        self._queue: deque[StreamFrame] = deque()
        self._pushed = asyncio.Event()
        self._in_flight: StreamFrame | None = None
        self._fetched_ns = 0
        self._outlet: FrameOutlet | None = None
        self._awaits_keyframe = True
        self._keyframe_ns: int | None = None
        self._keyframe_gate = KeyframeGate()
        self.dropped = 0

    def attach(self, outlet: FrameOutlet) -> None:
        """Send by `outlet` from now on, what waits first."""
        self._outlet = outlet
        while self._queue:
            self._hand_over(self._queue.popleft())

    def switch(self) -> None:
        """The frames from here on are of another stream: they begin with a keyframe."""
        self._ask_for_keyframe()

    def push(self, frame: StreamFrame) -> bool:
        """Send or queue a frame; a keyframe replaces what is older. False when it was dropped."""
        if self.readyState != "live":
            return False
        if frame.is_keyframe:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._awaits_keyframe = False
            self._keyframe_ns = time.monotonic_ns()
        elif self._awaits_keyframe:
            self.dropped += 1
            return False
        elif self._is_behind():
            self.dropped += len(self._queue) + 1
            self._queue.clear()
            self._ask_for_keyframe()
            return False
        self._keyframe_gate.handle_frame(time.monotonic_ns())
        return self._hand_over(frame)

    def _is_behind(self) -> bool:
        if self._outlet is not None:
            backlog = self._outlet.backlog()
            frames = MAX_QUEUED_FRAMES if backlog.is_blocked else MAX_SPREAD_FRAMES
            return backlog.unsent_frames >= frames or backlog.unsent_bytes > MAX_UNSENT_BYTES
        return len(self._queue) >= MAX_QUEUED_FRAMES or self.unsent_bytes() > MAX_UNSENT_BYTES

    def _hand_over(self, frame: StreamFrame) -> bool:
        if self._outlet is None:
            self._queue.append(frame)
            self._pushed.set()
            return True
        if self._outlet.push(frame):
            return True
        self.dropped += 1
        self._ask_for_keyframe()
        return False

    def _ask_for_keyframe(self) -> None:
        self._awaits_keyframe = True
        self._on_keyframe_wanted()

    def request_keyframe(self) -> None:
        """The viewer lost the picture (PLI, FIR). It asks again when the keyframe on its way does not help."""
        now_ns = time.monotonic_ns()
        if self._keyframe_ns is not None and now_ns - self._keyframe_ns < self.round_trip_us() * 1000:
            return
        if self._keyframe_gate.lets_pass(now_ns):
            self._on_keyframe_wanted()

    @property
    def is_keyframe_in_flight(self) -> bool:
        """Whether the frame that recv() returned last is a keyframe."""
        return self._in_flight is not None and self._in_flight.is_keyframe

    def may_resend(self, sequence: int, size_bytes: int) -> bool:
        """Say whether a packet that the viewer misses goes out again; what does not costs a keyframe."""
        resend = self.ask_resend(sequence, size_bytes)
        if resend is Resend.REFUSE:
            self.request_keyframe()
        return resend is Resend.SEND

    def mark_sent(self, rtp: int, sent_ns: int) -> None:
        """The frame that recv() returned last has gone out."""
        frame, self._in_flight = self._in_flight, None
        if frame is not None:
            self._on_sent(SentFrame(frame, rtp, self._fetched_ns, sent_ns))

    def report_sent(self, sent: SentFrame) -> None:
        """The outlet has sent a frame."""
        self._on_sent(sent)

    async def recv(self) -> Packet[Any]:
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._pushed.clear()
            await self._pushed.wait()
        frame = self._queue.popleft()
        self._in_flight = frame
        self._fetched_ns = time.monotonic_ns()
        packet: Packet[Any] = Packet(frame.data)
        packet.pts = frame.pts
        packet.time_base = _TIME_BASE
        return packet

    def stop(self) -> None:
        super().stop()
        self._queue.clear()
        self._pushed.set()
