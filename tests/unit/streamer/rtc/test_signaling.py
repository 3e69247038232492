# SPDX-License-Identifier: Apache-2.0
"""Signalling messages are checked before aiortc sees them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiortc import RTCPeerConnection

from streamer.rtc.signaling import Bye, Offer, SignalError, TrickledCandidate, parse_signal

UDP = "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host"


async def make_offer(video: str = "recvonly", channel: bool = True, audio: bool = False) -> str:
    connection = RTCPeerConnection()
    if video:
        connection.addTransceiver("video", direction=video)
    if audio:
        connection.addTransceiver("audio", direction="recvonly")
    if channel:
        connection.createDataChannel("control")
    text = (await connection.createOffer()).sdp
    await connection.close()
    return text


async def test_a_good_offer_passes_without_hidden_candidates() -> None:
    sdp = await make_offer()
    hidden = "a=candidate:1 1 udp 2122260223 0a1b.local 50000 typ host\r\n"
    shown = "a=candidate:2 1 udp 2122260223 192.0.2.7 50000 typ host\r\n"
    offer = parse_signal({"type": "offer", "sdp": sdp + hidden + shown})
    assert isinstance(offer, Offer)
    assert not offer.has_audio
    assert ".local" not in offer.sdp and "192.0.2.7" in offer.sdp


async def test_an_offer_may_have_a_section_for_sound() -> None:
    offer = parse_signal({"type": "offer", "sdp": await make_offer(audio=True)})
    assert isinstance(offer, Offer) and offer.has_audio


async def test_offers_that_cannot_be_served_are_refused() -> None:
    good = await make_offer()
    offers = [
        (await make_offer(channel=False), "one video section"),
        (await make_offer(video=""), "one video section"),
        ((await make_offer(audio=True)).replace("opus/48000", "flac/48000"), "Opus"),
        ((await make_offer(audio=True)).replace("a=recvonly", "a=sendonly", 1), "recvonly"),
        (await make_offer(video="sendonly"), "recvonly"),
        (good.replace("H264", "H26X"), "H.264"),
        (good.replace("a=ice-pwd", "a=x-pwd"), "ICE credentials"),
        (good.replace("a=fingerprint", "a=x"), "fingerprint"),
        (good.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), "bundled"),
        (good.replace("m=video 9", "m=video 0"), "port 0"),
        ("", "one video section"),
    ]
    for sdp, reason in offers:
        with pytest.raises(SignalError, match=r"^offer\.sdp: .*" + reason.replace(".", r"\.")):
            parse_signal({"type": "offer", "sdp": sdp})


def test_candidates() -> None:
    trickled = parse_signal({"type": "candidate", "candidate": UDP, "sdpMid": "0", "sdpMLineIndex": 0})
    assert isinstance(trickled, TrickledCandidate) and trickled.candidate is not None
    assert (trickled.candidate.ip, trickled.candidate.port, trickled.candidate.sdpMid) == ("192.0.2.7", 50000, "0")
    assert parse_signal({"type": "candidate", "candidate": ""}) == TrickledCandidate(None, is_end=True)
    for passed_over in (UDP.replace("192.0.2.7", "ab-c.local"), UDP.replace("udp", "tcp")):
        assert parse_signal({"type": "candidate", "candidate": passed_over, "sdpMid": "0"}) == TrickledCandidate(None)
    assert parse_signal({"type": "bye"}) == Bye()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "candidate"}, "candidate.candidate"),
        ({"type": "candidate", "candidate": 5}, "candidate.candidate"),
        ({"type": "candidate", "candidate": "x" * 2000}, "candidate.candidate"),
        ({"type": "candidate", "candidate": "a b c"}, "candidate.candidate"),
        ({"type": "candidate", "candidate": UDP}, "candidate.sdpMid"),
        ({"type": "candidate", "candidate": UDP, "sdpMid": 0}, "candidate.sdpMid"),
        ({"type": "candidate", "candidate": UDP, "sdpMLineIndex": -1}, "candidate.sdpMLineIndex"),
        ({"type": "candidate", "candidate": UDP.replace("50000", "0"), "sdpMid": "0"}, "candidate.candidate"),
        ({"type": "candidate", "candidate": UDP.replace("50000", "x"), "sdpMid": "0"}, "candidate.candidate"),
        ({"type": 3}, "message.type"),
        ({}, "message.type"),
    ],
)
def test_the_message_and_the_field_are_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(SignalError) as caught:
        parse_signal(message)
    assert str(caught.value).startswith(f"{field}:")


async def test_a_mangled_offer_raises_nothing_else() -> None:
    good = await make_offer()
    rng = random.Random(5)
    lines = good.split("\r\n")
    for _ in range(500):
        mangled = list(lines)
        for _ in range(rng.randrange(1, 4)):
            index = rng.randrange(len(mangled))
            line = mangled[index]
            cut = rng.randrange(len(line) + 1)
            mangled[index] = rng.choice((line[:cut], line[cut:], line[:cut] + "\x00é9" + line[cut:], ""))
        try:
            parse_signal({"type": "offer", "sdp": "\r\n".join(mangled)})
        except SignalError:
            pass


@pytest.mark.parametrize("line", ["a=x", "a=rtpmap:96 H264/90000", "a=rtcp-fb:* nack"])
@pytest.mark.parametrize("end", ["\r\n", "\r", "\x0b", "\u2028"])
async def test_offers_that_take_seconds_to_read_are_refused(line: str, end: str) -> None:
    good = await make_offer()
    with pytest.raises(SignalError, match="has over"):
        parse_signal({"type": "offer", "sdp": good + (line + end) * 1501})


async def test_an_offer_names_the_output_that_it_wants() -> None:
    good = await make_offer()
    for output in (0, 15):
        offer = parse_signal({"type": "offer", "sdp": good, "output": output})
        assert isinstance(offer, Offer) and offer.output == output
    for wrong in (-1, 16, 1.0, "1", True, None):
        with pytest.raises(SignalError, match=r"^offer\.output: "):
            parse_signal({"type": "offer", "sdp": good, "output": wrong})
