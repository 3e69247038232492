# SPDX-License-Identifier: Apache-2.0
"""QEMU's samples become the sound link's; a fake QEMU may say anything."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest

from guest_agent.vm import dbus_sound
from guest_agent.vm.dbus_sound import OUT_LISTENER, OutListener
from guest_agent.vm.pcm_format import PcmConverter, PcmError, PcmFormat
from tests.support.fake_qemu import FakePeer, fake_peer

LINKS = (16, True, False, 48000, 2)


def init(stream: int = 1, bits: int = 16, rate_hz: int = 48000, channels: int = 2) -> tuple[Any, ...]:
    return (stream, bits, True, False, rate_hz, channels, 4, 192000, False)


async def says(qemu: FakePeer, member: str, signature: str, *body: Any) -> str:
    answer = await qemu.call(OUT_LISTENER, member, signature, body)
    return answer.body[0] if answer.error_name else ""


async def test_one_stream_is_heard_at_its_volume() -> None:
    ours, theirs = socket.socketpair()
    listener = OutListener(ours)
    theirs.settimeout(60)
    async with fake_peer(listener.exports) as (_, qemu):
        for stream in (1, 2):
            assert not await says(qemu, "Init", "tybbuyuub", *init(stream))
        assert not await says(qemu, "SetEnabled", "tb", 2, True)
        samples = np.arange(8, dtype="<i2") * 1000
        assert not await says(qemu, "Write", "tay", 1, bytes(16))  # not heard
        assert not await says(qemu, "Write", "tay", 2, samples.tobytes())
        assert theirs.recv(100) == samples.tobytes()
        assert not await says(qemu, "SetVolume", "tbay", 2, False, b"\xff\x00")
        assert not await says(qemu, "Write", "tay", 2, samples.tobytes())
        assert np.frombuffer(theirs.recv(100), "<i2").tolist() == [0, 0, 2000, 0, 4000, 0, 6000, 0]
        assert not await says(qemu, "SetVolume", "tbay", 2, True, b"")
        assert not await says(qemu, "Write", "tay", 2, samples.tobytes())
        assert theirs.recv(100) == bytes(16)
        assert not await says(qemu, "Fini", "t", 2)
        assert not await says(qemu, "Write", "tay", 1, samples.tobytes())
        assert theirs.recv(100) == samples.tobytes()
    ours.close()
    theirs.close()


async def test_what_cannot_be_played_is_refused() -> None:
    ours, theirs = socket.socketpair()
    async with fake_peer(OutListener(ours).exports) as (_, qemu):
        assert "12 bits" in await says(qemu, "Init", "tybbuyuub", *init(bits=12))
        assert "4294967295 samples a second" in await says(qemu, "Init", "tybbuyuub", *init(rate_hz=2**32 - 1))
        assert "0 channels" in await says(qemu, "Init", "tybbuyuub", *init(channels=0))
        for member, signature, rest in (("Write", "tay", (b"",)), ("SetEnabled", "tb", (True,))):
            assert "no such stream" in await says(qemu, member, signature, 9, *rest)
        for stream in range(dbus_sound.MAX_STREAMS):
            assert not await says(qemu, "Init", "tybbuyuub", *init(stream))
        assert "streams already" in await says(qemu, "Init", "tybbuyuub", *init(99))
        assert "over the limit" in await says(qemu, "Write", "tay", 1, bytes(dbus_sound.MAX_WRITE_BYTES + 1))
    ours.close()
    theirs.close()


async def test_who_does_not_read_loses_whole_frames() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    async with fake_peer(OutListener(ours).exports) as (_, qemu):
        assert not await says(qemu, "Init", "tybbuyuub", *init())
        frames = np.repeat(np.arange(25001, dtype="<i2"), 2).tobytes()
        received = b""
        for _ in range(60):
            assert not await says(qemu, "Write", "tay", 1, frames)
        while True:
            try:
                received += theirs.recv(99_999)
            except BlockingIOError:
                break
            assert not await says(qemu, "Write", "tay", 1, frames)
            if len(received) > 3_000_000:
                break
    whole = np.frombuffer(received[: len(received) // 4 * 4], "<i2").reshape(-1, 2)
    assert len(received) > 100_000 and np.array_equal(whole[:, 0], whole[:, 1])
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("pcm_format", "samples", "wanted"),
    [
        ((16, True, False, 48000, 2, False), np.array([1, -2], "<i2"), [1, -2]),
        ((16, True, False, 48000, 2, True), np.array([1, -2], ">i2"), [1, -2]),
        ((8, False, False, 48000, 1, False), np.array([0, 128, 255], "u1"), [-32768] * 2 + [0] * 2 + [32512] * 2),
        ((32, True, False, 48000, 2, False), np.array([2**31 - 1, -(2**31)], "<i4"), [32767, -32768]),
        ((32, True, True, 48000, 2, False), np.array([0.5, np.nan, np.inf, -9], "<f4"), [16384, 0, 32767, -32768]),
        ((16, False, False, 48000, 3, False), np.array([32768, 65535, 7], "<u2"), [0, 32767]),
    ],
)
def test_formats(pcm_format: tuple[Any, ...], samples: np.ndarray[Any, Any], wanted: list[int]) -> None:
    assert np.frombuffer(PcmConverter(PcmFormat(*pcm_format)).convert(samples.tobytes()), "<i2").tolist() == wanted


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 96000])
def test_other_rates_keep_tone_and_length(rate_hz: int) -> None:
    at = np.arange(rate_hz) / rate_hz
    tone = (np.sin(2 * np.pi * 440 * at) * 16384).astype("<i2").tobytes()
    converter = PcmConverter(PcmFormat(16, True, False, rate_hz, 1, False))
    # In pieces that cut samples.
    made = b"".join(converter.convert(tone[begin : begin + 1001]) for begin in range(0, len(tone), 1001))
    left = np.frombuffer(made, "<i2")[::2].astype(np.float64)
    assert abs(len(left) - 48000) <= 48000 // rate_hz + 2
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(left)) / 48000) * 16384
    assert np.abs(left - wanted).max() < 16384 * (0.02 if rate_hz > 20000 else 0.1)


def test_formats_are_checked() -> None:
    with pytest.raises(PcmError):
        PcmFormat(16, True, True, 48000, 2, False)
