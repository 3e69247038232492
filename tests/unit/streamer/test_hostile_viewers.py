# SPDX-License-Identifier: Apache-2.0
"""Viewers, guests and workers that mean harm: each hurts itself at most, and the session goes on for the others."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiortc.rtcsctptransport import SCTP_DATA_FIRST_FRAG, DataChunk, RTCSctpTransport, tsn_plus_one

from guest_agent.messages import Clipboard
from render_core import CursorImage
from streamer.rtc.ice import MAX_REMOTE_CANDIDATES
from streamer.rtc.sctp import MAX_STREAMS
from tests.support.fake_frame_link import FakeRing
from tests.support.streaming import AiortcViewer, SessionBench, session_bench, wait_until


async def _still_serves(bench: SessionBench, viewer: AiortcViewer) -> None:
    before = len(viewer.received("pong"))
    viewer.send("control", type="ping", t=1)
    await wait_until(lambda: len(viewer.received("pong")) > before)
    assert viewer.number not in bench.closed


async def test_a_flood_of_messages_ends_its_viewer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            monkeypatch.setattr("streamer.viewer.MESSAGES_AT_ONCE", 20)
            monkeypatch.setattr("streamer.viewer.MESSAGES_PER_S", 0.001)
            async with AiortcViewer(bench, 2, role="view") as flooder:
                for number in range(40):
                    flooder.send("control", type="ping", t=number)
                await wait_until(lambda: 2 in bench.closed)
                assert "too many messages" in bench.closed[2].reason
                assert len(flooder.received("pong")) <= 20
            await _still_serves(bench, viewer)


async def test_channels_that_are_refused_again_and_again_end_their_viewer() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            for number in range(20):
                viewer.connection.createDataChannel(f"x{number}")
            await wait_until(lambda: 1 in bench.closed)
            assert "data channels" in bench.closed[1].reason


def _association(viewer: AiortcViewer) -> RTCSctpTransport:
    association = viewer.connection.sctp
    assert association is not None
    return association


async def _send_chunk(association: RTCSctpTransport, stream_id: int, data: bytes) -> None:
    """Send the beginning of a message that never ends."""
    chunk = DataChunk(flags=SCTP_DATA_FIRST_FRAG)
    chunk.tsn, chunk.stream_id, chunk.user_data = association._local_tsn, stream_id, data
    association._local_tsn = tsn_plus_one(association._local_tsn)
    try:
        await association._send_chunk(chunk)
    except ConnectionError:
        pass


async def test_messages_that_never_end_do_not_fill_the_memory() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            async with AiortcViewer(bench, 2, role="view") as hostile:
                for _ in range(1500):
                    await _send_chunk(_association(hostile), 1, bytes(1000))
                    await asyncio.sleep(0)
                await wait_until(lambda: 2 in bench.closed)
            await _still_serves(bench, viewer)


async def test_streams_without_number_do_not_fill_the_memory() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 2, role="view") as hostile:
            for number in range(10, 11 + MAX_STREAMS):
                await _send_chunk(_association(hostile), number, b"x")
                await asyncio.sleep(0)
            await wait_until(lambda: 2 in bench.closed)


async def test_candidates_without_number_are_passed_over() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            for number in range(3 * MAX_REMOTE_CANDIDATES):
                candidate = f"candidate:{number} 1 udp 1 10.9.{number // 200}.{number % 200 + 1} 9 typ host"
                bench.session.signal(1, {"type": "candidate", "candidate": candidate, "sdpMid": "0"})
                await asyncio.sleep(0)
            await _still_serves(bench, viewer)
            peer = bench.session._viewers[1].peer
            assert peer is not None and peer._ice is not None
            assert len(peer._ice._remote_candidates) <= MAX_REMOTE_CANDIDATES


async def test_offers_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.viewer.OFFERS_AT_ONCE", 1)
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            bench.session.signal(1, {"type": "offer", "sdp": viewer.connection.localDescription.sdp})
            assert "too many" in (await bench.next_signal(1, "error"))["message"]
            await _still_serves(bench, viewer)


async def test_nothing_is_done_for_a_viewer_that_has_left() -> None:
    async with session_bench() as bench:
        await wait_until(lambda: bench.session._tasks is not None)
        bench.session.open_viewer(1, "view")
        for _ in range(60):
            bench.session.signal(1, {"type": "dance"})
        bench.session.remove_viewer(1)
        async with AiortcViewer(bench, 2) as viewer:
            await _still_serves(bench, viewer)
        assert [bench.signals[1].get_nowait()["type"] for _ in range(bench.signals[1].qsize())] == ["welcome"]


async def test_too_many_signals_close_the_viewer_once() -> None:
    async with session_bench() as bench:
        await wait_until(lambda: bench.session._tasks is not None)
        bench.session.open_viewer(1, "view")
        for _ in range(65):
            bench.session.signal(1, {"type": "dance"})
        assert "too many" in bench.closed.pop(1).reason
        bench.session.signal(1, {"type": "dance"})
        assert not bench.closed


async def test_a_guest_that_copies_without_end_does_not_cost_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.rtc.peer.MAX_CONTROL_BYTES", 400_000)
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with await bench.accept_agent() as agent, AiortcViewer(bench, 1) as viewer:
            for number in range(12):
                agent.send(Clipboard(f"{number} " + "x" * 100_000))
            agent.send(Clipboard("the last"))
            await wait_until(lambda: any(part["text"] == "the last" for part in viewer.received("clipboard")))
            await _still_serves(bench, viewer)


async def test_of_a_flood_of_cursors_the_last_one_is_seen() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            for number in range(200):
                bench.link.post(CursorImage(0, number, 2, 1, number % 2, 0, bytes(range(8))))
            bench.link.post(CursorImage(0, 999, 0, 0, 0, 0, None))
            await wait_until(lambda: bool(viewer.received("cursor")) and viewer.received("cursor")[-1]["png"] is None)
            assert len(viewer.received("cursor")) < 100


async def test_a_screen_that_h264_cannot_say_is_refused() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            huge = FakeRing(64, 64)
            huge.coded_width = huge.coded_height = 16384
            bench.link.post(huge)
            assert (await viewer.wait_for("status"))["level"] == "error"
            assert huge.is_closed
            ring = await bench.show(320, 240)
            ring.publish(ring.picture(70))
            await viewer.wait_for_luma(70)


class _RestlessRing(FakeRing):
    """Its event never ends, and there is no frame."""

    def acquire(self) -> None:
        os.eventfd_write(self.fileno(), 1)


async def test_a_worker_whose_event_never_ends_is_left() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            ring = _RestlessRing(64, 64)
            os.eventfd_write(ring.fileno(), 1)
            bench.link.post(ring)
            await wait_until(lambda: len(bench.links) == 2)
            assert ring.is_closed
            await _still_serves(bench, viewer)
