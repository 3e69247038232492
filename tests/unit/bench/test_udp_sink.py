# SPDX-License-Identifier: Apache-2.0
"""What the sink counts of the packets that come."""

from __future__ import annotations

import struct

import pytest

from bench.udp_sink import Count


def _packet(sequence: int, rtp: int = 7, marker: bool = False) -> bytes:
    return struct.pack(">BBHII", 0x80, 97 | 0x80 * marker, sequence & 0xFFFF, rtp, 1) + b"payload"


def test_last_packets_of_pictures_are_noted() -> None:
    count = Count()
    for sequence, rtp, marker in ((1, 10, False), (2, 10, True), (3, 20, True)):
        count.take(_packet(sequence, rtp, marker), now_ns=100 + sequence)
    assert count.as_json() == {"packets": 3, "size_bytes": 3 * 19, "lost": 0, "ends": [(10, 102), (20, 103)]}


@pytest.mark.parametrize(
    ("sequences", "lost"), [([65534, 65535, 65536, 65538], 1), ([5, 7, 6], 0), ([9], 0), ([1, 4], 2), ([], 0)]
)
def test_lost_are_those_that_never_come(sequences: list[int], lost: int) -> None:
    count = Count()
    for sequence in sequences:
        count.take(_packet(sequence), 0)
    assert count.lost == lost


@pytest.mark.parametrize("data", [b"", b"\x80" * 11, b"\x00" * 40])
def test_what_is_no_rtp_is_passed_over(data: bytes) -> None:
    count = Count()
    count.take(data, 0)
    assert count.packets == 0
