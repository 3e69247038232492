# SPDX-License-Identifier: Apache-2.0
"""The guest's sound through a session: a sound link that this test serves, aiortc's receiver at the other end."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from aiortc.rtp import is_rtcp
from av import AudioFrame

from guest_agent.sound import RATE_HZ
from streamer.audio.pcm import FRAME_BYTES
from streamer.rtc.transport import StreamDtlsTransport
from tests.support.streaming import WAIT_S, AiortcViewer, session_bench, wait_until

TONE_HZ = 1000
_TIMES_S = np.arange(RATE_HZ) / RATE_HZ
TONE = np.repeat((9000 * np.sin(2 * np.pi * TONE_HZ * _TIMES_S)).astype("<i2"), 2).tobytes()


class SentPackets:
    """Counts what is sent, by SSRC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rtp: dict[int, int] = {}
        self.rtcp: dict[int, int] = {}
        send = StreamDtlsTransport._send_rtp

        async def counted(transport: StreamDtlsTransport, data: bytes) -> None:
            place, counts = (4, self.rtcp) if is_rtcp(data) else (8, self.rtp)
            (ssrc,) = struct.unpack_from("!L", data, place)
            counts[ssrc] = counts.get(ssrc, 0) + 1
            await send(transport, data)

        monkeypatch.setattr(StreamDtlsTransport, "_send_rtp", counted)


async def _play(sock: socket.socket) -> None:
    """Send a tone in real time, as a recorder does."""
    loop = asyncio.get_running_loop()
    begin_s, sent = loop.time(), 0
    while True:
        await loop.sock_sendall(sock, TONE[sent % len(TONE) :][:FRAME_BYTES])
        sent += FRAME_BYTES
        await asyncio.sleep(begin_s + sent / FRAME_BYTES / 100 - loop.time())


async def _hears_the_tone(viewer: AiortcViewer) -> None:
    assert viewer.audio is not None
    async with asyncio.timeout(WAIT_S):
        while True:
            samples = []
            for _ in range(10):
                frame = await viewer.audio.recv()
                assert isinstance(frame, AudioFrame)
                samples.append(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(float))
            heard = np.concatenate(samples)
            spectrum = np.abs(np.fft.rfft(heard))
            if spectrum.max() > 1e5 and abs(np.argmax(spectrum) * RATE_HZ / len(heard) - TONE_HZ) < 20:
                return


@pytest.mark.slow
async def test_a_viewer_hears_the_guest_while_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = SentPackets(monkeypatch)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "sound"))
        listener.listen()
        async with session_bench(sound_path=str(tmp_path / "sound")) as bench:
            ring = await bench.show(320, 240)
            async with AiortcViewer(bench, 1, "view", has_audio=True) as viewer:
                ring.publish(ring.picture(99))
                await viewer.wait_for_luma(99)
                peer = bench.session._viewers[1].peer
                assert peer is not None and peer.audio_track is not None
                audio, video = (
                    next(sender._ssrc for sender in peer._connection.getSenders() if sender.kind == kind)
                    for kind in ("audio", "video")
                )
                # Until it is asked for, nothing is sent, not even reports.
                await wait_until(lambda: sent.rtcp.get(video, 0) >= 2)
                assert audio not in sent.rtp and audio not in sent.rtcp
                viewer.send("control", type="audio", on=True)
                async with asyncio.timeout(WAIT_S):
                    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                with sock:
                    async with asyncio.TaskGroup() as tasks:
                        playing = tasks.create_task(_play(sock))
                        await _hears_the_tone(viewer)
                        playing.cancel()
                    assert bench.session.metrics().values["audio_listeners"] == 1
                    viewer.send("control", type="audio", on=False)
                    await wait_until(lambda: bench.session.metrics().values["audio_recording"] == 0)
                # A viewer that vanishes while it listens does not keep the guest recording.
                viewer.send("control", type="audio", on=True)
                async with asyncio.timeout(WAIT_S):
                    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                sock.close()
            bench.session.remove_viewer(1)
            await wait_until(lambda: bench.session.metrics().values["audio_listeners"] == 0)
