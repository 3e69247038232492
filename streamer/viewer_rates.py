# SPDX-License-Identifier: Apache-2.0
"""What the viewers' paths take, brought to the encoders: the rate, the time of the next frame, who is slow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from streamer.pipeline import Pipeline, default_bitrate
from streamer.rate_policy import encoder_rate, shared_rate
from streamer.rtc.congestion.controller import PathState
from streamer.slow_stream import SlowStream
from streamer.viewer import Viewer

# How often silent viewers are looked for; everything else happens with a viewer's report.
TICK_S = 0.1


class ViewerRates:
    """Reads `viewers`, which the session keeps. Event loop only; `drive()` it before anything else."""

    def __init__(self, viewers: Mapping[int, Viewer], fps: int, bitrate_bps: int | None) -> None:
        self._viewers = viewers
        self._fps = fps
        self._bitrate_bps = bitrate_bps
        # Until a screen is known.
        self._pixels = 1280 * 720
        self._slow: frozenset[int] = frozenset()
        self._shared_bps = 0
        self._pipeline: Pipeline | None = None
        self._slow_stream: SlowStream | None = None

    def drive(self, pipeline: Pipeline, slow_stream: SlowStream) -> None:
        """Say whom the rates go to."""
        self._pipeline, self._slow_stream = pipeline, slow_stream

    def is_slow(self, number: int) -> bool:
        """Whether that viewer is given the second encode."""
        return number in self._slow

    def set_pixels(self, pixels: int) -> None:
        """The screen has that size now, and with it another rate is the most."""
        self._pixels = pixels
        for viewer in self._viewers.values():
            self._limit(viewer)
        self.share()

    def add(self, viewer: Viewer) -> None:
        """A viewer has connected."""
        self._limit(viewer)
        self.share()

    def _limit(self, viewer: Viewer) -> None:
        if viewer.congestion is not None:
            viewer.congestion.set_max(self._bitrate_bps or default_bitrate(self._pixels, 1, self._fps))

    def share(self) -> None:
        """Give the encoder the rate that the viewers share, and those that it is too much for another one."""
        decisions = {
            number: viewer.congestion.decision
            for number, viewer in self._viewers.items()
            if viewer.congestion is not None
        }
        # Of a path that nothing has been heard of yet, nothing follows for the others.
        heard = {number: each for number, each in decisions.items() if each.state is not PathState.START} or decisions
        shared = shared_rate({number: each.target_bps for number, each in heard.items()}, self._slow)
        before, self._slow = self._slow, frozenset() if shared is None else shared.slow
        if self._slow_stream is not None:
            self._slow_stream.set_target(None if shared is None else shared.slow_bps)
        for number in before ^ self._slow:
            viewer = self._viewers.get(number)
            if viewer is not None and viewer.peer is not None:
                viewer.peer.track.switch()
        if shared is not None and self._pipeline is not None:
            self._shared_bps = shared.bps
            self._pipeline.set_bitrate(encoder_rate(shared.bps, self._pixels, self._fps))

    def ready_ns(self) -> int:
        """Return when a frame may be encoded: as soon as one viewer that sets the rate can take it."""
        return min(self._windows_ns(is_slow=False), default=0)

    def slow_ready_ns(self) -> int:
        """Return when the slow viewers' next frame may be encoded: when all of them can take it."""
        return max(self._windows_ns(is_slow=True), default=0)

    def _windows_ns(self, *, is_slow: bool) -> list[int]:
        now_us = time.monotonic_ns() // 1000
        return [
            viewer.congestion.window.ready_us(now_us) * 1000
            for number, viewer in self._viewers.items()
            if (number in self._slow) == is_slow and viewer.congestion is not None
        ]

    def tick(self) -> None:
        """Look for viewers that have fallen silent; every TICK_S."""
        now_us = time.monotonic_ns() // 1000
        congestions = [viewer.congestion for viewer in self._viewers.values()]
        changed = [each for each in congestions if each is not None and each.tick(now_us) is not None]
        if changed:
            self.share()
            if self._pipeline is not None:
                self._pipeline.wake()

    @property
    def shared_bps(self) -> int:
        """What those that set the rate share."""
        return self._shared_bps

    @property
    def slow_count(self) -> int:
        """How many viewers are given the second encode."""
        return len(self._slow)


def path_metrics(viewers: Iterable[Viewer]) -> dict[str, float]:
    """Return the values of the viewers' paths that `/healthz` shows."""
    decisions = [viewer.congestion.decision for viewer in viewers if viewer.congestion is not None]
    return {
        "target_bps_min": min((each.target_bps for each in decisions), default=0),
        "acked_bps": sum(each.acked_bps for each in decisions),
        "round_trip_ms_max": max((each.round_trip_us / 1000 for each in decisions), default=0.0),
        "queue_delay_ms_max": max((each.queue_us / 1000 for each in decisions), default=0.0),
    }
