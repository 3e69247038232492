# SPDX-License-Identifier: Apache-2.0
"""The session's sound for the viewers that listen: recorded and encoded once, and only while there is one."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass

from streamer.audio.opus import OpusEncoder, OpusError
from streamer.audio.pcm import FRAME_BYTES, PcmFrame, PcmFramer, SilenceGate
from streamer.audio.track import AudioPacket, AudioTrack

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
MAX_RETRY_S = 4.0
_READ_BYTES = 16 * FRAME_BYTES


@dataclass(slots=True)
class AudioStatistics:
    """Sums over the session; `packets` are counted once for all viewers."""

    frames: int = 0
    packets: int = 0
    bytes: int = 0
    encode_ns: int = 0


class AudioStream:
    """Event loop only. Being connected to the sound link is what makes the guest record.

    Args:
        path: the sound link's socket; None where the session has no sound.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._tracks: set[AudioTrack] = set()
        self._listened = asyncio.Event()
        self._sock: socket.socket | None = None
        self._framer = PcmFramer()
        self._gate = SilenceGate()
        self._encoder: OpusEncoder | None = None
        self.statistics = AudioStatistics()

    @property
    def is_possible(self) -> bool:
        """Whether the session has sound at all."""
        return self._path is not None

    @property
    def is_recording(self) -> bool:
        """Whether the guest records for us."""
        return self._sock is not None

    @property
    def listeners(self) -> int:
        return len(self._tracks)

    def listen(self, track: AudioTrack) -> None:
        """Send the sound on this track from now on. May be called twice."""
        track.is_listening = True
        self._tracks.add(track)
        self._listened.set()

    def leave(self, track: AudioTrack) -> None:
        """Send it nothing more. May be called twice, and for a track that never listened."""
        track.mute()
        self._tracks.discard(track)
        if not self._tracks:
            self._listened.clear()
            if self._sock is not None:
                # Ends the read that waits, and the guest's recorder.
                self._sock.shutdown(socket.SHUT_RDWR)

    async def run(self) -> None:
        """Serve until cancelled."""
        path, retry_s = self._path, FIRST_RETRY_S
        if path is None:
            return
        while True:
            await self._listened.wait()
            try:
                retry_s = FIRST_RETRY_S if await self._record(path) else min(2 * retry_s, MAX_RETRY_S)
            except OSError as error:
                _log.debug("the sound link: %s", error)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
            except OpusError as error:
                _log.error("the session's sound cannot be sent: %s", error)
                return
            # Also a bound on how often a viewer that plays with the switch makes the guest start a recorder.
            await asyncio.sleep(retry_s)

    async def _record(self, path: str) -> bool:
        """Connect, and send what comes until nobody listens or the link ends; whether anything came."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            await loop.sock_connect(sock, path)
            if not self._listened.is_set():
                return True
            self._sock = sock
            self._framer.reset()
            self._gate = SilenceGate()
            self._encoder = OpusEncoder()
            has_come = False
            try:
                while data := await loop.sock_recv(sock, _READ_BYTES):
                    has_come = True
                    for frame in self._framer.feed(data, time.monotonic_ns()):
                        self._send(frame)
            finally:
                self._sock = None
                self._encoder = None
            return has_come

    def _send(self, frame: PcmFrame) -> None:
        self.statistics.frames += 1
        if self._encoder is None or not self._gate.is_open(frame):
            return
        begin_ns = time.monotonic_ns()
        data = self._encoder.encode(frame)
        self.statistics.encode_ns += time.monotonic_ns() - begin_ns
        if not data:
            return
        self.statistics.packets += 1
        self.statistics.bytes += len(data)
        packet = AudioPacket(data, frame.pts)
        for track in self._tracks:
            track.push(packet)
