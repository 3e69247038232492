# SPDX-License-Identifier: Apache-2.0
"""Messages on a port are found again, whatever was written to it before."""

from __future__ import annotations

import random

import pytest

from guest_agent.link import MAX_MESSAGE_BYTES, encode_message
from guest_agent.port_framing import MARK, PortFramer

MESSAGE = encode_message({"type": "a", "text": "é" * 200})  # its length has a byte 0xFF or not, as it may be
LENGTH_FF = encode_message({"type": "a", "text": "x" * (255 - len('{"type":"a","text":""}'))})


def feed_in_pieces(framer: PortFramer, stream: bytes, size: int) -> list[object]:
    return [found for at in range(0, len(stream), size) for found in framer.feed(stream[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 64, 10_000])
@pytest.mark.parametrize(
    "before",
    [b"", b"\xff", b"\xff\xff\xff\xff", MARK[:-1] + MARK[:2], b"rubbish", MESSAGE[:-1], b"\0\0\0\0", b"\n\xff"],
)
def test_a_mark_begins_anew_in_any_pieces(size: int, before: bytes) -> None:
    framer = PortFramer()
    stream = MARK + MESSAGE + before + MARK + LENGTH_FF + MESSAGE
    assert LENGTH_FF.startswith(b"\xff")
    found = feed_in_pieces(framer, stream, size)
    kinds = [entry if entry is None else "message" for entry in found]
    assert kinds == [None, "message", None, "message", "message"]
    assert framer.failure is None


def test_nothing_is_taken_before_the_first_mark() -> None:
    framer = PortFramer()
    assert framer.feed(MESSAGE) == []
    assert framer.failure is not None
    assert framer.feed(MARK) == [None]


@pytest.mark.parametrize("rubbish", [b"\0\0\0\0", (MAX_MESSAGE_BYTES + 1).to_bytes(4, "little"), b"\x02\0\0\0[]"])
def test_what_is_no_message_is_dropped_with_all_behind_it(rubbish: bytes) -> None:
    framer = PortFramer()
    assert framer.feed(MARK + MESSAGE + rubbish + MESSAGE)[0] is None
    assert framer.failure is not None
    assert framer.feed(MESSAGE) == []
    assert len(framer.feed(MARK + MESSAGE)) == 2


def test_random_bytes_neither_raise_nor_pile_up() -> None:
    rng = random.Random(1)
    framer = PortFramer()
    for _ in range(2000):
        framer.feed(bytes(rng.choices((0, 0xFF, 0x0A, rng.randrange(256)), k=rng.randrange(64))))
    framer.feed(MARK + MESSAGE)
    assert framer.failure is None
