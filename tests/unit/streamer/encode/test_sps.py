# SPDX-License-Identifier: Apache-2.0
"""Parsing of sequence parameter sets."""

from __future__ import annotations

import random

import pytest

from streamer.encode.sps import SpsError, find_sps, nal_types, nal_units, parse_sps

# Written out bit by bit from the standard: baseline, 16x16, VUI with bitstream restriction.
_BITS = (
    "01000010" "11000000" "00011111"  # profile 66, constraint sets 0 and 1, level 31
    "1" "1" "1" "010"  # id 0, log2_max_frame_num 0, order type 0, its log2 1
    "010" "0" "1" "1" "1" "1" "0"  # 1 reference, no gaps, 1x1 macroblocks, frames only, 8x8 inference, no crop
    "1" "0" "0" "1" "101" "0" "1" "00000001" "00000001" "00000001" "0"  # VUI: colours 1/1/1, limited; no chroma place
    "0" "0" "0" "0" "1" "1" "1" "1" "1" "1" "1" "010"  # no timing, no models; restriction: reorder 0, buffering 1
    "1"
)  # fmt: skip


def _set(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8)


def test_every_field_is_read() -> None:
    sps = parse_sps(_set(_BITS))
    assert (sps.profile_idc, sps.level_idc, sps.is_constrained_baseline) == (66, 31, True)
    assert (sps.width, sps.height) == (16, 16)
    assert (sps.full_range, sps.colour_primaries, sps.transfer, sps.matrix) == (False, 1, 1, 1)
    assert (sps.max_num_reorder_frames, sps.max_dec_frame_buffering) == (0, 1)


def test_a_set_that_ends_early_is_refused() -> None:
    whole = _set(_BITS)
    for length in range(4, len(whole) - 1):
        with pytest.raises(SpsError):
            parse_sps(whole[:length])


def test_random_bytes_raise_nothing_else() -> None:
    rng = random.Random(7)
    for _ in range(5000):
        try:
            parse_sps(b"\x67" + rng.randbytes(rng.randrange(60)))
        except SpsError:
            pass


def test_units_are_cut_at_both_kinds_of_start_codes() -> None:
    stream = b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\1\x65defg"
    assert list(nal_units(stream)) == [b"\x67ab", b"\x68c", b"\x65defg"]
    assert nal_types(stream) == [7, 8, 5]
    assert find_sps(b"\0\0\1\x65abc") is None
    assert list(nal_units(b"nothing")) == []
