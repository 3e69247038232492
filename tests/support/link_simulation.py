# SPDX-License-Identifier: Apache-2.0
"""A bottleneck, its senders and their feedback in virtual time: no I/O, seconds in milliseconds."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from streamer.rate_policy import frame_rate
from streamer.rtc.congestion.controller import CongestionController, Decision
from streamer.rtc.congestion.packets import PacketResult

PACKET_BYTES = 1200
PIXELS = 1280 * 720
SECOND_US = 1_000_000


@dataclass
class SimulatedLink:
    """A FIFO of `rate_bps` that drops what would wait longer than `queue_us`; jitter keeps the order."""

    rate_bps: float
    queue_us: int = 300_000
    delay_us: int = 10_000
    loss: float = 0.0
    jitter_us: int = 0
    seed: int = 1
    free_us: float = 0.0
    dropped: int = 0
    waits_us: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._last_us = 0.0

    def send(self, size_bytes: int, now_us: float) -> float | None:
        """Return when a packet arrives; None when it does not."""
        wait_us = max(0.0, self.free_us - now_us)
        if wait_us > self.queue_us:
            self.dropped += 1
            return None
        self.waits_us.append((now_us, wait_us))
        self.free_us = now_us + wait_us + size_bytes * 8e6 / self.rate_bps
        if self._random.random() < self.loss:
            return None
        arrival_us = self.free_us + self.delay_us + self._random.uniform(0, self.jitter_us)
        self._last_us = max(self._last_us, arrival_us)
        return self._last_us

    def change(self, rate_bps: float, now_us: float) -> None:
        """Another rate from now on; what waits is sent at it."""
        self.free_us = now_us + max(0.0, self.free_us - now_us) * self.rate_bps / rate_bps
        self.rate_bps = rate_bps


@dataclass
class SimulatedFlow:
    """Frames as an encoder makes them: as large as the target allows while something moves, held back by the window.

    `demand_bps(now_us)` is what the picture could use.
    """

    link: SimulatedLink
    controller: CongestionController
    demand_bps: Callable[[float], float] = lambda now_us: 1e9
    fps: int = 60
    return_us: int = 10_000
    feedback_us: int = 75_000
    # The receiver's clock begins somewhere.
    clock_us: int = -7_000_000
    frames: int = 0
    frames_held: int = 0
    keyframe_at: list[float] = field(default_factory=list)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    arrived: list[tuple[float, int]] = field(default_factory=list)
    seed: int = 3

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._sequence = 0
        # Sent and not yet reported: result, arrival in true time.
        self._unreported: list[tuple[PacketResult, float | None]] = []

    def tick(self, now_us: float) -> float:
        """A picture is there, or waits: encode and send it; returns when to come again."""
        self.controller.tick(int(now_us))
        ready_us = self.controller.window.ready_us(int(now_us))
        if ready_us > now_us:
            # The pipeline is woken by a report as well.
            self.frames_held += 1
            return min(ready_us, now_us + SECOND_US / self.fps)
        target_bps = self.controller.decision.target_bps
        fps = frame_rate(target_bps, PIXELS, self.fps)
        size_bytes = min(target_bps / fps, self.demand_bps(now_us) / self.fps) / 8 * self._random.uniform(0.7, 1.3)
        if self.keyframe_at and now_us >= self.keyframe_at[0]:
            self.keyframe_at.pop(0)
            size_bytes = 2 * target_bps / fps / 8
        if size_bytes >= 1:
            self.frames += 1
            self.send(int(size_bytes) + 30, now_us)
        return now_us + SECOND_US / self.fps

    def send(self, size_bytes: int, now_us: float) -> None:
        """Send a frame in one burst."""
        self.controller.window.add(size_bytes, int(now_us))
        while size_bytes > 0:
            packet_bytes = min(size_bytes, PACKET_BYTES)
            size_bytes -= packet_bytes
            arrival_us = self.link.send(packet_bytes, now_us)
            stamp_us = None if arrival_us is None else (int(arrival_us) + self.clock_us) // 250 * 250
            result = PacketResult(self._sequence & 0xFFFF, packet_bytes, int(now_us), stamp_us)
            self._sequence += 1
            self._unreported.append((result, arrival_us))
            if arrival_us is not None:
                self.arrived.append((arrival_us, packet_bytes))
            now_us += 30

    def report(self, now_us: float) -> list[PacketResult]:
        """What the receiver tells now: everything up to the newest packet that has arrived."""
        newest = max(
            (i for i, (_, arrival) in enumerate(self._unreported) if arrival is not None and arrival <= now_us),
            default=-1,
        )
        told = [result for result, _ in self._unreported[: newest + 1]]
        del self._unreported[: newest + 1]
        return told

    def apply(self, results: list[PacketResult], now_us: float) -> None:
        """A report arrives."""
        self.decisions.append((now_us, self.controller.apply(results, int(now_us))))

    def goodput_bps(self, begin_s: float, end_s: float) -> float:
        """What arrived between two times."""
        window = (begin_s * SECOND_US, end_s * SECOND_US)
        return sum(size for at, size in self.arrived if window[0] <= at < window[1]) * 8 / (end_s - begin_s)

    def targets(self, begin_s: float, end_s: float) -> list[int]:
        """The targets decided on between two times."""
        return [each.target_bps for at, each in self.decisions if begin_s <= at / SECOND_US < end_s]

    def time_of(self, reached_bps: float, after_s: float) -> float:
        """When a target reached that rate, in seconds after `after_s`."""
        return next(
            (
                at / SECOND_US - after_s
                for at, each in self.decisions
                if at >= after_s * SECOND_US and each.target_bps >= reached_bps
            ),
            float("inf"),
        )


def simulate(
    flows: list[SimulatedFlow], seconds: float, changes: dict[float, Callable[[float], None]] | None = None
) -> None:
    """Run; `changes` are called at their second with the time in µs."""
    order = itertools.count()
    events: list[tuple[float, int, Callable[[float], None]]] = []

    def at(time_us: float, call: Callable[[float], None]) -> None:
        heapq.heappush(events, (time_us, next(order), call))

    def frames(flow: SimulatedFlow) -> Callable[[float], None]:
        def run(now_us: float) -> None:
            at(flow.tick(now_us), run)

        return run

    def feedback(flow: SimulatedFlow) -> Callable[[float], None]:
        def run(now_us: float) -> None:
            if results := flow.report(now_us):
                at(now_us + flow.return_us, lambda later_us: flow.apply(results, later_us))
            at(now_us + flow.feedback_us, run)

        return run

    for number, flow in enumerate(flows):
        at(1000.0 + 3700 * number, frames(flow))
        at(2000.0 + 3700 * number, feedback(flow))
    for second, change in (changes or {}).items():
        at(second * SECOND_US, change)
    while events and events[0][0] < seconds * SECOND_US:
        now_us, _, call = heapq.heappop(events)
        call(now_us)


def waits_us(link: SimulatedLink, begin_s: float, end_s: float) -> list[float]:
    """How long packets waited in the link between two times."""
    return sorted(wait for at, wait in link.waits_us if begin_s * SECOND_US <= at < end_s * SECOND_US)
