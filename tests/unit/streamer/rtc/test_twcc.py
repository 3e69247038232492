# SPDX-License-Identifier: Apache-2.0
"""Transport-wide feedback: known packets, and anything at all."""

from __future__ import annotations

import random
import struct

import pytest

from streamer.rtc.twcc import MAX_PACKETS, FeedbackError, parse_feedback


def fci(base: int, count: int, reference: int, number: int, *chunks: int, deltas: bytes = b"") -> bytes:
    head = struct.pack("!HHI", base, count, (reference & 0xFFFFFF) << 8 | number)
    return head + b"".join(struct.pack("!H", chunk) for chunk in chunks) + deltas


def test_a_run_of_small_deltas() -> None:
    feedback = parse_feedback(fci(65534, 3, 2, 9, 1 << 13 | 3, deltas=bytes((4, 0, 8))))
    assert (feedback.base_sequence, feedback.feedback_count, feedback.lost) == (65534, 9, 0)
    assert feedback.arrivals_us == (129_000, 129_000, 131_000)


def test_losses_and_large_and_negative_deltas_in_two_bit_symbols() -> None:
    symbols = 0b11 << 14 | 2 << 12 | 0 << 10 | 1 << 8 | 2 << 6
    feedback = parse_feedback(fci(5, 4, 1, 0, symbols, deltas=struct.pack("!hBh", 1000, 2, -40)))
    assert feedback.arrivals_us == (314_000, None, 314_500, 304_500)
    assert feedback.lost == 1


def test_one_bit_symbols_and_a_run_of_losses_with_padding() -> None:
    symbols = 1 << 15 | 0b10100000000001
    feedback = parse_feedback(fci(0, 20, 0, 0, symbols, 0 << 13 | 6, deltas=bytes((1, 1, 1, 0, 0))))
    assert [index for index, arrival in enumerate(feedback.arrivals_us) if arrival is not None] == [0, 2, 13]
    assert feedback.lost == 17


def test_the_reference_time_is_signed() -> None:
    assert parse_feedback(fci(0, 1, -1, 0, 1 << 13 | 1, deltas=b"\0")).arrivals_us == (-64_000,)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "header"),
        (fci(0, 0, 0, 0), "count"),
        (fci(0, 5, 0, 0), "chunks"),
        (fci(0, 5, 0, 0, 1 << 13), "length 0"),
        (fci(0, 1, 0, 0, 3 << 13 | 1), "reserved"),
        (fci(0, 2, 0, 0, 1 << 13 | 2, deltas=b"\1"), "deltas"),
        (fci(0, 1, 0, 0, 2 << 13 | 1, deltas=b"\1"), "deltas"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, field: str) -> None:
    with pytest.raises(FeedbackError, match=field):
        parse_feedback(data)


def test_random_bytes_raise_nothing_else_and_stay_small() -> None:
    rng = random.Random(11)
    parsed = 0
    for _ in range(10_000):
        data = bytearray(rng.randbytes(rng.randrange(64)))
        if len(data) > 4:
            data[2] = 0  # few packets: else nearly all are truncated
        try:
            feedback = parse_feedback(bytes(data))
        except FeedbackError:
            continue
        parsed += 1
        assert 0 < len(feedback.arrivals_us) <= 65_535
    assert parsed > 0


def test_a_report_on_more_packets_than_anyone_sends_is_refused() -> None:
    most = [1 << 13 | 0x1FFF] * 9
    with pytest.raises(FeedbackError, match=r"feedback\.count"):
        parse_feedback(fci(0, MAX_PACKETS + 1, 0, 0, *most, deltas=bytes(MAX_PACKETS + 1)))
    assert len(parse_feedback(fci(0, MAX_PACKETS, 0, 0, *most, deltas=bytes(MAX_PACKETS))).arrivals_us) == MAX_PACKETS
