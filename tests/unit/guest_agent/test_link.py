# SPDX-License-Identifier: Apache-2.0
"""Framing of the JSON links, and the asyncio adapter on real sockets."""

import asyncio
import json
import socket
import struct

import pytest

from guest_agent import link, messages
from guest_agent.link import Link, LinkError, MessageFramer, encode_message


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def test_framer_finds_messages_in_any_pieces() -> None:
    stream = encode_message({"type": "a", "text": "é"}) + encode_message({"type": "b"})
    for piece in range(1, len(stream) + 1):
        framer = MessageFramer()
        found = [m for at in range(0, len(stream), piece) for m in framer.feed(stream[at : at + piece])]
        assert found == [{"type": "a", "text": "é"}, {"type": "b"}]
        assert not framer.is_inside_message


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("<I", 0),
        struct.pack("<I", link.MAX_MESSAGE_BYTES + 1),
        frame(b"[]"),
        frame(b"{"),
        frame(b"\xff"),
        frame(b'{"a": NaN}'),
        frame(b'{"a": ' + b"[" * 100_000),
        frame(b'{"a": ' + b"1" * 5000 + b"}"),
    ],
    ids=["empty", "too long", "list", "cut", "not UTF-8", "NaN", "deep", "long number"],
)
def test_framer_refuses(stream: bytes) -> None:
    with pytest.raises(LinkError):
        MessageFramer().feed(stream)


@pytest.mark.parametrize("value", ["\ud800", float("inf"), float("nan")])
def test_what_json_cannot_say_is_not_sent(value: object) -> None:
    with pytest.raises(LinkError, match="JSON"):
        encode_message({"type": "x", "value": value})


def test_too_long_message_is_not_sent() -> None:
    with pytest.raises(LinkError, match="over the limit"):
        encode_message({"type": "x", "text": "x" * link.MAX_MESSAGE_BYTES})


async def test_link_carries_messages_and_ends() -> None:
    ours, theirs = socket.socketpair()
    agent = await Link.open(ours, messages.STREAMER_TO_AGENT)
    streamer = await Link.open(theirs, messages.AGENT_TO_STREAMER)
    async with agent, streamer:
        streamer.send(messages.Key(65, True))
        assert await agent.receive() == messages.Key(65, True)
        text = "x" * messages.MAX_CLIPBOARD_BYTES
        agent.send(messages.Clipboard(text))
        assert await streamer.receive() == messages.Clipboard(text)
        streamer.close()
        streamer.close()
        assert await agent.receive() is None
        agent.send(messages.Clipboard("nobody hears this"))


async def test_wrong_message_is_answered_and_the_next_is_served() -> None:
    ours, theirs = socket.socketpair()
    agent = await Link.open(ours, messages.STREAMER_TO_AGENT)
    async with agent:
        for fields in ({"type": "nonsense"}, {"type": "key", "keysym": -1, "down": True}, {"type": "error"}):
            theirs.sendall(frame(json.dumps(fields).encode()))
        theirs.sendall(encode_message(messages.ReleaseAll().to_dict()))
        assert await agent.receive() == messages.ReleaseAll()
    with theirs:
        framer, answers = MessageFramer(), []
        while data := await asyncio.to_thread(theirs.recv, 4096):
            answers += framer.feed(data)
    assert [answer["message"] for answer in answers] == [
        "message.type: 'nonsense' is not known here",
        "key.keysym: must be within 1…536870911",
    ]


async def test_broken_framing_closes_the_link() -> None:
    ours, theirs = socket.socketpair()
    agent = await Link.open(ours, messages.STREAMER_TO_AGENT)
    with theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(LinkError):
            await agent.receive()
        assert agent.is_closed
        assert await agent.receive() is None
        await agent.wait_closed()


async def test_peer_that_never_reads_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        agent = await Link.open(ours, messages.STREAMER_TO_AGENT)
        message = messages.Clipboard("x" * messages.MAX_CLIPBOARD_BYTES)
        for _ in range(2 * link.MAX_UNSENT_BYTES // messages.MAX_CLIPBOARD_BYTES):
            agent.send(message)
        assert agent.is_closed


async def test_a_peer_whose_messages_are_all_wrong_is_left() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with await Link.open(ours, messages.WORKER_TO_GATEWAY) as receiver:
            theirs.sendall(frame(b"{}") * (link.MAX_REFUSED + 1))
            with pytest.raises(LinkError, match="were wrong"):
                await receiver.receive()
            assert receiver.is_closed
        await receiver.wait_closed()
