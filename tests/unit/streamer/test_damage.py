# SPDX-License-Identifier: Apache-2.0
"""What the encoder is told to have changed: never less than what did."""

from __future__ import annotations

import numpy as np
import pytest

from render_core import Rect
from streamer.damage import DamageChain
from tests.support.fake_frame_link import FakeFrame, FakeRing


def take(ring: FakeRing, *damages: Rect) -> FakeFrame:
    """Publish frames with these damages, then take the newest."""
    for damage in damages:
        ring.publish(ring.picture(1), (damage,))
    frame = ring.acquire()
    assert frame is not None
    return frame


def test_damage_since_the_frame_seen_last() -> None:
    chain, ring = DamageChain(), FakeRing(64, 64)
    one, two, three = Rect(0, 0, 1, 1), Rect(1, 0, 1, 1), Rect(2, 0, 1, 1)
    first = take(ring, one)
    assert chain.since_last(ring, first) is None
    chain.handle_encoded(ring, first)
    assert chain.since_last(ring, first) == ()
    second = take(ring, two, three)
    assert chain.since_last(ring, second) == (two, three)
    # Not encoded: the next frame's damage does not say what was in it.
    second.release()
    third = take(ring, one)
    assert chain.since_last(ring, third) is None
    ring.close()


def test_another_ring_or_a_break_means_everything() -> None:
    chain, ring, other = DamageChain(), FakeRing(64, 64), FakeRing(64, 64)
    first = take(ring, Rect(0, 0, 1, 1))
    chain.handle_encoded(ring, first)
    assert chain.since_last(other, take(other, Rect(0, 0, 1, 1))) is None
    assert chain.since_last(None, first) is None
    chain.break_off()
    assert chain.since_last(ring, first) is None
    ring.close()
    other.close()


@pytest.mark.parametrize("sequence", [0, 2**64 - 1])
def test_sequences_that_a_broken_worker_makes_up_mean_everything(sequence: int) -> None:
    chain, ring = DamageChain(), FakeRing(64, 64)
    first = take(ring, Rect(0, 0, 1, 1))
    chain.handle_encoded(ring, first)
    made_up = take(ring, Rect(0, 0, 1, 1))
    made_up.base_sequence = sequence if sequence else 5
    made_up.sequence = 2 if sequence else 0
    assert chain.since_last(ring, made_up) is None
    assert np.any(made_up.planes)
    ring.close()
