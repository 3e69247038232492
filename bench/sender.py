# SPDX-License-Identifier: Apache-2.0
"""Sending by itself: what a packet costs in each way, and how long the event loop stands still for a frame.

The native sender alone, by way of giving packets to the kernel; then whole peers with a viewer in another process: the
native sender against aiortc's own path, as it is and with the pauses that we gave it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.report import Result, Table, Value
from bench.summary import Summary
from streamer.rtc import transport
from streamer.rtc.congestion.controller import Decision
from streamer.rtc.peer import Peer, RtcSettings
from streamer.rtc.signaling import Offer
from streamer.rtc.track import SentFrame, StreamFrame
from streamer.stream_core.packet_log import PacketLog
from streamer.stream_core.sender import ExtensionIds, Rtx, Sender, SenderParameters, SendMode, SrtpProfile

SIZES = (10_000, 42_000, 104_000, 250_000, 1_000_000)
MODES = {SendMode.GSO: "GSO", SendMode.SENDMMSG: "sendmmsg", SendMode.SINGLY: "send"}
IDS = ExtensionIds(mid=1, abs_send_time=2, playout_delay=3, transport_cc=4)
NS = 1_000_000_000
# As much as a frame of the largest size takes in the kernel, and more.
_SINK_BUFFER_BYTES = 16 << 20
_SO_RCVBUFFORCE = 33
_CONNECT_S = 30.0
# What a 60 Hz stream leaves between frames is enough for all but the largest.
_FRAME_INTERVAL_S = 1 / 60


@dataclass(frozen=True, slots=True)
class Way:
    """A way that packets can go in a whole peer."""

    name: str
    is_native: bool
    packets_a_turn: int


WAYS = (
    Way("native", True, 32),
    Way("aiortc, with pauses", False, 32),
    Way("aiortc, stock", False, 1 << 30),
)


def run(repeats: int = 60) -> Result:
    """Measure all; `repeats`: frames of each size."""
    rows: list[dict[str, Value]] = []
    figures: dict[str, float] = {}
    for profile in SrtpProfile:
        for mode, name in MODES.items():
            bench = _KernelBench(profile, mode)
            for size in SIZES:
                costs = Summary.of(bench.send(size) for _ in range(repeats))
                row: dict[str, Value] = {"cipher": profile.name, "way": name, "kB a frame": size // 1000}
                row["packets"] = bench.packets_a_frame
                row |= {column: value * 1000 for column, value in costs.columns("ns a packet").items()}
                rows.append(row)
                if profile is SrtpProfile.AEAD_AES_256_GCM and size == SIZES[2]:
                    figures[f"{name} ns a packet p50"] = costs.p50 * 1000
            bench.close()
    peer_rows = asyncio.run(_measure_peers(repeats))
    for row in peer_rows:
        if row["kB a frame"] == SIZES[-1] // 1000:
            for column in ("loop stall p50 ms", "process us a packet"):
                figures[f"{row['way']}: 1 MB {column}"] = float(row[column])
    settings: dict[str, Value] = {"frames of each size": repeats, "packet bytes": 1200}
    tables = (
        Table("the native sender alone, CPU of its thread, loopback's receiving half included", tuple(rows)),
        Table("a whole peer, the viewer in another process", tuple(peer_rows)),
    )
    return Result("sender", settings, figures, tables)


def _access_unit(size_bytes: int, number: int) -> bytes:
    # No start codes inside; not all alike, or some memory would be warmer than it is in life.
    return b"\0\0\0\1\x65" + bytes(2 + (number + index) % 250 for index in range(251)) * (size_bytes // 251)


class _KernelBench:
    """A native sender on a socket whose other end is emptied between frames."""

    def __init__(self, profile: SrtpProfile, mode: SendMode) -> None:
        self.packets_a_frame = 0
        self._log = PacketLog()
        parameters = SenderParameters(
            profile, bytes(profile.key_bytes), bytes(12), 1, 97, rtx=Rtx(2, 98), extensions=IDS, mid="0"
        )
        self._sender = Sender(parameters, self._log)
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        near, far = self._sockets
        for sock in self._sockets:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        try:
            far.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SINK_BUFFER_BYTES)
        except PermissionError:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SINK_BUFFER_BYTES)
        self._sender.limit_mode(mode)
        self._sender.set_path(near.fileno(), *far.getsockname())
        self._number = 0

    def send(self, size_bytes: int) -> float:
        """Send one frame; returns µs a packet, of this thread's CPU."""
        self._number += 1
        unit = _access_unit(size_bytes, self._number)
        before = self._sender.counters().packets
        begin_ns = time.thread_time_ns()
        self._sender.send_frame(unit, self._number * 1500, is_keyframe=True, now_ns=time.monotonic_ns())
        spent_ns = time.thread_time_ns() - begin_ns
        self.packets_a_frame = self._sender.counters().packets - before
        self._sender.take_sent()
        self._drain()
        return spent_ns / 1000 / max(1, self.packets_a_frame)

    def _drain(self) -> None:
        try:
            while True:
                self._sockets[1].recv(2048)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._sender.close()
        for sock in self._sockets:
            sock.close()


class _Listener:
    """What a viewer is to its peer."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.sent: list[SentFrame] = []

    def handle_connected(self) -> None:
        self.connected.set()

    def handle_channel_open(self, label: str) -> None: ...

    def handle_message(self, label: str, message: str | bytes) -> None: ...

    def handle_keyframe_wanted(self) -> None: ...

    def handle_sent(self, sent: SentFrame) -> None:
        self.sent.append(sent)

    def handle_rate(self, decision: Decision) -> None: ...

    def handle_lost(self, reason: str) -> None:
        raise ConnectionError(reason)


@asynccontextmanager
async def _peer(way: Way) -> AsyncIterator[tuple[Peer, _Listener]]:
    """A connected peer; its viewer is another process."""
    listener = _Listener()
    peer = Peer(RtcSettings(is_native=way.is_native), listener)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.sender_sink", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        async with asyncio.timeout(_CONNECT_S):
            offer = json.loads(await child.stdout.readline())
            child.stdin.write(json.dumps(await peer.answer(Offer(offer))).encode() + b"\n")
            await listener.connected.wait()
        yield peer, listener
    finally:
        child.stdin.close()
        await peer.close()
        await child.wait()


async def _measure_peers(repeats: int) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for size in SIZES:
        for way in WAYS:
            transport._PACKETS_A_TURN = way.packets_a_turn
            async with _peer(way) as (peer, listener):
                rows.append(
                    {"way": way.name, "kB a frame": size // 1000, **await _measure(peer, listener, size, repeats)}
                )
    return rows


async def _measure(peer: Peer, listener: _Listener, size: int, repeats: int) -> dict[str, Value]:
    stalls_ms: list[float] = []
    wire_ms: list[float] = []
    cpu_ns = packets = 0
    for index in range(repeats):
        unit = _access_unit(size, index)
        count, packets_before = len(listener.sent), peer.statistics.packets_sent
        cpu_begin_ns = time.process_time_ns()
        begin_ns, last_ns = time.monotonic_ns(), time.thread_time_ns()
        peer.track.push(
            StreamFrame(unit, True, begin_ns * 90_000 // NS, begin_ns, begin_ns, begin_ns, begin_ns, begin_ns)
        )
        longest_ns = time.thread_time_ns() - last_ns
        last_ns += longest_ns
        # Others want the loop all the time: how long do they wait? By CPU time, so that what other processes take of a
        # busy machine is not counted. In every other frame only, as it takes CPU itself.
        is_watched = index % 2 == 0
        while len(listener.sent) == count:
            await asyncio.sleep(0 if is_watched else 0.001)
            now_ns = time.thread_time_ns()
            longest_ns, last_ns = max(longest_ns, now_ns - last_ns), now_ns
        sent = listener.sent[-1]
        wire_ms.append((sent.sent_ns - begin_ns) / 1e6)
        if is_watched:
            stalls_ms.append(longest_ns / 1e6)
        else:
            cpu_ns += time.process_time_ns() - cpu_begin_ns
            packets += peer.statistics.packets_sent - packets_before
        await asyncio.sleep(max(_FRAME_INTERVAL_S, size / 20e6))
    stalls, wire = Summary.of(stalls_ms), Summary.of(wire_ms)
    return {
        "loop stall p50 ms": stalls.p50,
        "loop stall p95 ms": stalls.p95,
        "loop stall largest ms": stalls.largest,
        "push to last packet p50 ms": wire.p50,
        "push to last packet p95 ms": wire.p95,
        "process us a packet": cpu_ns / 1000 / max(1, packets),
    }
