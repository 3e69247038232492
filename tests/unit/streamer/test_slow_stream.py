# SPDX-License-Identifier: Apache-2.0
"""The second encode: how often, how large, opened and closed when."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.encode.encoder import Encoder, EncoderError, EncoderSettings
from streamer.slow_stream import MAX_FPS, MIN_REOPEN_NS, NS, SlowStream
from tests.support.fake_encoder import FakeEncoder

SETTINGS = EncoderSettings(width=640, height=360, pixel_format="yuv420p", fps=60, bitrate_bps=20_000_000)
PLANES = np.zeros((540, 640), np.uint8)


class Bench:
    def __init__(self, *, fails: bool = False) -> None:
        self.opened: list[FakeEncoder] = []
        self.stream = SlowStream(self._open)
        self._fails = fails

    def _open(self, settings: EncoderSettings) -> Encoder:
        self.opened.append(FakeEncoder(settings, fails=self._fails))
        return self.opened[-1]

    def run(self, begin_s: float, end_s: float, fps: int = 60) -> int:
        """Offer pictures at that rate; returns how many were taken."""
        taken = 0
        for index in range(int(begin_s * fps), int(end_s * fps)):
            now_ns = index * NS // fps
            if self.stream.is_due(now_ns):
                taken += self.stream.encode(PLANES, SETTINGS, index, now_ns) is not None
        return taken


def test_nothing_is_opened_without_a_slow_viewer() -> None:
    bench = Bench()
    assert bench.run(0, 1) == 0
    assert not bench.opened


def test_pictures_are_few_and_as_large_as_the_rate_allows() -> None:
    bench = Bench()
    bench.stream.set_target(500_000)
    taken = bench.run(0, 2)
    assert MAX_FPS <= taken <= 2 * MAX_FPS + 1
    (encoder,) = bench.opened
    # It believes in 60 pictures a second.
    assert encoder.bitrate_bps == pytest.approx(500_000 * 60 / MAX_FPS, rel=0.01)
    assert encoder.settings.bitrate_bps < 2 * encoder.bitrate_bps
    assert encoder.keyframes.count(True) == 1


def test_keyframes_are_one_a_second_however_often_they_are_wanted() -> None:
    bench = Bench()
    bench.stream.set_target(500_000)
    for index in range(40):
        bench.stream.request_keyframe()
        bench.run(index / 10, (index + 1) / 10)
    assert 3 <= sum(bench.opened[0].keyframes) <= 5


def test_another_rate_by_far_opens_another_encoder_but_not_often() -> None:
    bench = Bench()
    for index in range(100):
        bench.stream.set_target(100_000 if index % 2 else 4_000_000)
        bench.run(index / 10, (index + 1) / 10)
    assert 2 <= len(bench.opened) <= 10 * NS // MIN_REOPEN_NS + 1
    assert all(encoder.is_closed for encoder in bench.opened[:-1])


def test_it_is_closed_with_the_last_viewer_and_when_it_fails() -> None:
    bench = Bench()
    bench.stream.set_target(500_000)
    bench.run(0, 1)
    bench.stream.set_target(None)
    assert bench.run(1, 2) == 0
    assert bench.opened[0].is_closed and not bench.stream.is_open
    failing = Bench(fails=True)
    failing.stream.set_target(500_000)
    with pytest.raises(EncoderError):
        failing.run(0, 1)
    assert failing.opened[0].is_closed and not failing.stream.is_open
