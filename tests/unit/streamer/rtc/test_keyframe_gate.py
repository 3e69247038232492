# SPDX-License-Identifier: Apache-2.0
"""A browser's keyframe requests: believed, except a single one after silence."""

from __future__ import annotations

from streamer.rtc.keyframe_gate import AGAIN_NS, SILENCE_NS, KeyframeGate

MS = 1_000_000


def test_requests_are_believed_while_frames_flow_and_before_the_first() -> None:
    gate = KeyframeGate()
    assert gate.lets_pass(0)
    gate.handle_frame(0)
    assert all(gate.lets_pass(time_ms * MS) for time_ms in range(0, 2400, 200))


def test_a_single_request_after_silence_is_passed_over_but_not_an_insistent_one() -> None:
    gate = KeyframeGate()
    gate.handle_frame(0)
    now_ns = SILENCE_NS + 500 * MS
    assert not gate.lets_pass(now_ns)
    assert gate.lets_pass(now_ns + 200 * MS)
    assert gate.lets_pass(now_ns + 400 * MS)


def test_requests_far_apart_are_single_ones() -> None:
    gate = KeyframeGate()
    gate.handle_frame(0)
    now_ns = SILENCE_NS
    for _ in range(5):
        assert not gate.lets_pass(now_ns)
        now_ns += AGAIN_NS + 1
    gate.handle_frame(now_ns)
    assert gate.lets_pass(now_ns + 1)
