# SPDX-License-Identifier: Apache-2.0
"""A session end to end in one process: fake ring, real x264, real aiortc on both sides, real sockets."""

from __future__ import annotations

import asyncio

import pytest

from guest_agent.messages import Button, Clipboard, Key, Message, Motion, Relative, Shown, Sound
from render_core import CursorImage
from tests.support.fake_frame_link import FakeRing
from tests.support.streaming import AiortcViewer, next_input, session_bench, wait_until


async def test_a_viewer_sees_the_colour_that_the_ring_holds() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            for value in (60, 200):
                ring.publish(ring.picture(value))
                await viewer.wait_for_luma(value)
            assert (viewer.frames[-1].width, viewer.frames[-1].height) == (320, 240)
            assert viewer.received("screen")[0]["width"] == 320


async def test_a_size_that_changes_needs_no_new_connection() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            ring.publish(ring.picture(60))
            await viewer.wait_for_luma(60)
            larger = await bench.show(401, 301)
            larger.publish(larger.picture(150))
            await viewer.wait_for_luma(150)
            assert (viewer.frames[-1].width, viewer.frames[-1].height) == (402, 304)
            screen = viewer.received("screen")[-1]
            assert (screen["width"], screen["height"]) == (401, 301)
            assert (screen["coded_width"], screen["coded_height"]) == (402, 304)
            assert ring.is_closed and ring.held == 0
            assert not bench.closed


async def test_a_viewer_hears_what_the_guest_shows_and_how_much_smaller_it_comes() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        ring = FakeRing(321, 241, source=(1283, 961), divisor=4)
        bench.link.post(ring)
        async with AiortcViewer(bench, 1) as viewer:
            ring.publish(ring.picture(60))
            await viewer.wait_for_luma(60)
            assert (viewer.frames[-1].width, viewer.frames[-1].height) == (322, 244)
            screen = viewer.received("screen")[-1]
            assert (screen["width"], screen["height"], screen["divisor"]) == (1283, 961, 4)
            assert (screen["coded_width"], screen["coded_height"]) == (322, 244)


async def test_a_ring_too_large_for_browsers_is_refused() -> None:
    async with session_bench() as bench:
        ring = await bench.show(4096, 2305)
        async with AiortcViewer(bench, 1) as viewer:
            assert "too large" in (await viewer.wait_for("status"))["message"]
            assert ring.is_closed
            ring = await bench.show(320, 240)
            ring.publish(ring.picture(60))
            await viewer.wait_for_luma(60)


async def test_nobody_watching_means_no_frames_and_no_encoding() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        await wait_until(lambda: bench.session.metrics().values["worker_connected"] == 1)
        assert not bench.link.active
        ring.publish(ring.picture(60))
        async with AiortcViewer(bench, 1) as viewer:
            await wait_until(lambda: bench.link.active)
            await viewer.wait_for_luma(60)
        await wait_until(lambda: not bench.link.active)
        await wait_until(lambda: ring.held == 0)
        before = bench.session.metrics().values["frames_encoded"]
        taken = len(ring.acquired)
        ring.publish(ring.picture(90))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(ring.acquired) == taken
        assert bench.session.metrics().values["frames_encoded"] == before


async def test_viewers_share_one_encode_and_a_second_one_sees_a_still_screen() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as first:
            ring.publish(ring.picture(70))
            await first.wait_for_luma(70)
            async with AiortcViewer(bench, 2, role="view") as second:
                # Nothing is published: the held slot is encoded again, as a keyframe.
                await second.wait_for_luma(70)
                assert len(ring.acquired) == 1
                ring.publish(ring.picture(170))
                await first.wait_for_luma(170)
                await second.wait_for_luma(170)
                assert bench.session.metrics().values["encoder_opens"] == 1
            ring.publish(ring.picture(40))
            await first.wait_for_luma(40)


async def test_a_keyframe_can_be_asked_for_on_a_still_screen() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            ring.publish(ring.picture(70))
            await viewer.wait_for_luma(70)
            before = bench.session.metrics().values["keyframes"]
            for _ in range(20):
                viewer.send("control", type="keyframe")
            await wait_until(lambda: bench.session.metrics().values["keyframes"] > before)
            # Twenty requests at once are answered by one, or by two where they fell on both sides of it.
            assert bench.session.metrics().values["keyframes"] <= before + 2
            assert len(ring.acquired) == 1


async def test_traces_reach_the_viewer_with_the_rtp_time_it_sees() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            ring.publish(ring.picture(70))
            await viewer.wait_for_luma(70)
            await viewer.wait_for("frames")
            trace = viewer.received("frames")[0]["frames"][0]  # the first: what is refined later is told too
            rtp, is_keyframe, size, flush, gpu_done, handoff, begin, end, sent, first = trace
            assert is_keyframe and size > 0
            assert 0 < flush < gpu_done < handoff <= begin < end <= first <= sent
            ring.publish(ring.picture(90))
            await viewer.wait_for_luma(90)
            await wait_until(lambda: len(viewer.received("frames")) > 1)
            rtps = [each[0] for message in viewer.received("frames") for each in message["frames"]]
            # aiortc's receiver counts from its first frame.
            times = [frame.pts for frame in viewer.frames]
            shared = min(len(rtps), len(times))
            assert [(each - rtp) & 0xFFFFFFFF for each in rtps[:shared]] == times[:shared]


async def test_the_worker_dies_and_the_same_viewer_sees_the_next_one() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            ring.publish(ring.picture(70))
            await viewer.wait_for_luma(70)
            bench.link.drop()
            assert (await viewer.wait_for("status"))["level"] == "warning"
            await wait_until(lambda: len(bench.links) == 2)
            ring = await bench.show(320, 240)
            ring.publish(ring.picture(150))
            await viewer.wait_for_luma(150)
            await wait_until(lambda: viewer.received("status")[-1]["level"] == "info")
            assert bench.link.active


async def test_input_reaches_the_agent_and_what_is_held_is_released_when_the_viewer_vanishes() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with await bench.accept_agent() as agent:
            received: list[Message] = []
            async with AiortcViewer(bench, 1) as viewer:
                viewer.send("motion", type="relative", seq=1, x=5, y=7)
                received.append(await next_input(agent))
                viewer.send("motion", type="relative", seq=3, x=8, y=7)
                received.append(await next_input(agent))
                viewer.send("control", type="key", key="A", code="KeyA", location=0, down=True)
                viewer.send("control", type="button", button=1, down=True, x=10, y=20)
                viewer.send("control", type="clipboard", text="half ", more=True)
                viewer.send("control", type="clipboard", text="whole")
                received += [await next_input(agent) for _ in range(4)]
            assert received == [
                Relative(5, 7),
                Relative(3, 0),
                Key(0x41, True, "KeyA"),
                Motion(10, 20),
                Button(1, True),
                Clipboard("half whole"),
            ]
            released = {await next_input(agent), await next_input(agent)}
            assert released == {Key(0x41, False, "KeyA"), Button(1, False)}


async def test_the_guests_clipboard_goes_to_those_in_control_only() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with await bench.accept_agent() as agent:
            async with AiortcViewer(bench, 1) as viewer, AiortcViewer(bench, 2, role="view") as watcher:
                text = "größer " * 10_000
                agent.send(Clipboard(text))
                await wait_until(lambda: "".join(part["text"] for part in viewer.received("clipboard")) == text)
                assert all(part["more"] for part in viewer.received("clipboard")[:-1])
                assert "more" not in viewer.received("clipboard")[-1]
                watcher.send("control", type="ping", t=5)
                await watcher.wait_for("pong")
                assert not watcher.received("clipboard")


async def test_a_view_only_link_cannot_type_and_is_told_once() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with await bench.accept_agent() as agent, AiortcViewer(bench, 1) as viewer:
            async with AiortcViewer(bench, 2, role="view") as watcher:
                for _ in range(3):
                    watcher.send("control", type="key", key="x", code="KeyX", location=0, down=True)
                watcher.send("control", type="resize", width=500, height=500)
                watcher.send("control", type="ping", t=1)
                await watcher.wait_for("pong")
                assert len(watcher.received("error")) == 1
                viewer.send("control", type="text", text="mine")
                assert (await next_input(agent)).to_dict() == {"type": "text", "text": "mine"}
                assert bench.link.sizes == []


async def test_the_viewer_who_gave_input_last_owns_the_size() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as first, AiortcViewer(bench, 2) as second:
            first.send("control", type="resize", width=10, height=900_000)
            await wait_until(lambda: bench.link.sizes == [(64, 8192)])
            second.send("control", type="resize", width=500, height=400)
            second.send("control", type="ping", t=1)
            await second.wait_for("pong")
            assert bench.link.sizes == [(64, 8192)]
            second.send("control", type="wheel", dx=0, dy=1)
            await wait_until(lambda: bench.link.sizes == [(64, 8192), (500, 400)])
            assert (await first.wait_for("owner"))["viewer"] in (1, 2)
            await wait_until(lambda: first.received("owner")[-1]["viewer"] == 2)


async def test_a_fixed_size_stays() -> None:
    async with session_bench(is_resizable=False) as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            viewer.send("control", type="resize", width=500, height=400)
            viewer.send("control", type="ping", t=1)
            await viewer.wait_for("pong")
            assert bench.link.sizes == []
            assert not viewer.received("screen")[0]["resizable"]


async def test_the_cursor_is_sent_as_a_png_and_to_those_who_come_later_too() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        bench.link.post(CursorImage(0, 1, 2, 1, 1, 0, bytes(range(8))))
        async with AiortcViewer(bench, 1) as viewer:
            cursor = await viewer.wait_for("cursor")
            assert cursor["png"].startswith("iVBOR")
            assert (cursor["width"], cursor["height"], cursor["hot_x"]) == (2, 1, 1)
            bench.link.post(CursorImage(0, 2, 0, 0, 0, 0, None))
            await wait_until(lambda: viewer.received("cursor")[-1]["png"] is None)


async def test_a_session_that_ends_while_a_viewer_is_closed_keeps_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1):
            peer = bench.session._viewers[1].peer
            assert peer is not None and peer._ice is not None
            transports = [protocol.transport for protocol in peer._ice._protocols]
            assert transports
            monkeypatch.setattr(peer._connection, "close", asyncio.Event().wait)
            bench.session.remove_viewer(1)
    assert all(transport.is_closing() for transport in transports)
    monkeypatch.undo()
    await peer._connection.close()


async def test_bad_signalling_is_refused_by_name_and_the_viewer_may_go_on() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        bench.session.open_viewer(1, "control")
        assert (await bench.next_signal(1, "welcome"))["role"] == "control"
        for message, field in (
            ({"type": "dance"}, "message.type"),
            ({"type": "offer"}, "offer.sdp"),
            ({"type": "offer", "sdp": "v=0\r\nnonsense"}, "offer.sdp"),
            ({"type": "offer", "sdp": "x" * 61_000}, "offer.sdp"),
            ({"type": "candidate", "candidate": "candidate:1 1 udp", "sdpMid": "0"}, "candidate.candidate"),
            ({"type": "candidate", "candidate": ""}, "candidate.candidate"),
        ):
            bench.session.signal(1, message)
            assert (await bench.next_signal(1, "error"))["message"].startswith(field)
        bench.session.remove_viewer(1)
        async with AiortcViewer(bench, 2) as viewer:
            ring.publish(ring.picture(99))
            await viewer.wait_for_luma(99)


async def test_the_guests_sound_is_told_and_a_client_without_an_audio_section_cannot_have_it() -> None:
    async with session_bench(sound_path="/nonexistent") as bench:
        agent = await bench.accept_agent()
        async with AiortcViewer(bench, 1) as viewer:
            assert (await viewer.wait_for("audio"))["available"]
            agent.send(Sound(False))
            await wait_until(lambda: not viewer.received("audio")[-1]["available"])
            for number in range(1000):
                agent.send(Sound(number % 2 == 0))
            agent.send(Clipboard("that was all"))
            await viewer.wait_for("clipboard")
            assert len(viewer.received("audio")) < 100  # of 1000
            viewer.send("control", type="audio", on=True)
            assert (await viewer.wait_for("error"))["message"].startswith("audio.on")
            viewer.send("control", type="audio", on=False)
            assert bench.session.metrics().values["audio_listeners"] == 0
        agent.close()


async def test_nonsense_on_a_data_channel_is_answered_and_hurts_nobody() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as viewer:
            viewer.channels["control"].send("{")
            viewer.channels["control"].send(b"\0\1")
            viewer.send("control", type="button", button=77, down=True)
            viewer.send("motion", type="key")
            await wait_until(lambda: len(viewer.received("error")) == 4)
            assert any(error["message"].startswith("button.button") for error in viewer.received("error"))
            ring.publish(ring.picture(99))
            await viewer.wait_for_luma(99)


async def test_the_agent_is_told_what_is_shown() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        async with await bench.accept_agent() as agent:
            assert await agent.receive() == Shown(0, 320, 240)
            await bench.show(400, 300)
            assert await agent.receive() == Shown(0, 400, 300)
        # Also one that comes later.
        async with await bench.accept_agent() as agent:
            assert await agent.receive() == Shown(0, 400, 300)
