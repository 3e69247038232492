# SPDX-License-Identifier: Apache-2.0
"""A guest with several outputs: fake rings, real x264, real aiortc on both sides."""

from __future__ import annotations

import threading

import pytest

from guest_agent.messages import Button, Motion, Pointer, Touch
from render_core import CursorImage, ScanoutOff
from streamer import screen as screen_module
from tests.support.fake_frame_link import FakeRing
from tests.support.streaming import AiortcViewer, SessionBench, next_input, session_bench, wait_until


def ids(viewer: AiortcViewer) -> list[int]:
    """The outputs that the viewer was told of last."""
    return [each["id"] for each in viewer.received("outputs")[-1]["outputs"]] if viewer.received("outputs") else []


async def test_each_viewer_sees_its_output_and_only_watched_ones_are_encoded() -> None:
    async with session_bench() as bench:
        rings = [await bench.show(320, 240, number) for number in range(3)]
        for ring in rings:
            ring.publish(ring.picture(200))
        async with AiortcViewer(bench, 1) as first:
            await wait_until(lambda: bench.link.watched == {0})
            await first.wait_for_luma(200)
            assert rings[1].acquired == rings[2].acquired == []
            async with AiortcViewer(bench, 2, output=2) as second:
                for luma in (60, 120):
                    rings[0].publish(rings[0].picture(luma))
                    rings[2].publish(rings[2].picture(luma + 60))
                    await first.wait_for_luma(luma)
                    await second.wait_for_luma(luma + 60)
                assert bench.link.watched == {0, 2}
                assert sum(thread.name.startswith("encode") for thread in threading.enumerate()) <= 2
                assert bench.session.metrics().values["encoder_opens"] == 2
                assert (second.frames[-1].width, second.frames[-1].height) == (320, 240)
            await wait_until(lambda: bench.link.watched == {0})
            rings[0].publish(rings[0].picture(90))
            await first.wait_for_luma(90)
        assert rings[1].acquired == []
        await wait_until(lambda: rings[0].held == rings[2].held == 0)
    assert all(ring.is_closed for ring in rings)


async def test_outputs_are_told_and_told_again_when_they_change() -> None:
    async with session_bench(outputs=3) as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1, role="view") as viewer:
            await wait_until(lambda: ids(viewer) == [0])
            assert viewer.received("outputs")[-1] == {
                "type": "outputs",
                "outputs": [{"id": 0, "width": 320, "height": 240}],
                "limit": 3,
            }
            before = len(viewer.received("outputs"))
            for number in range(15, 0, -1):
                bench.link.post(FakeRing(64, 64, scanout_id=number))
            await wait_until(lambda: ids(viewer) == list(range(16)))
            # They came faster than they are told.
            assert len(viewer.received("outputs")) <= before + 2
            bench.link.post(ScanoutOff(7))
            await wait_until(lambda: ids(viewer) == [*range(7), *range(8, 16)])


async def test_an_output_that_is_turned_off_says_so_and_comes_back() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        ring = await bench.show(320, 240, 1)
        async with AiortcViewer(bench, 1) as first, AiortcViewer(bench, 2, output=1) as second:
            ring.publish(ring.picture(60))
            await second.wait_for_luma(60)
            bench.link.post(ScanoutOff(1))
            assert (await second.wait_for("status"))["message"] == "The guest shows nothing."
            await wait_until(lambda: ids(second) == ids(first) == [0])
            assert ring.is_closed
            ring = await bench.show(640, 240, 1)
            ring.publish(ring.picture(150))
            await second.wait_for_luma(150)
            # Messages and pictures do not wait for each other.
            await wait_until(lambda: second.received("status")[-1]["level"] == "info")
            await wait_until(lambda: second.received("screen")[-1]["width"] == 640)
            assert not first.received("status")
            assert bench.closed == {}


async def test_a_viewer_that_opens_an_output_plugs_it_in_by_the_size_of_its_window() -> None:
    async with session_bench(outputs=2) as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as first, AiortcViewer(bench, 2, output=1) as second:
            first.send("control", type="resize", width=800, height=600)
            second.send("control", type="resize", width=500, height=400)
            await wait_until(lambda: len(bench.link.displays) == 2)
            assert sorted(bench.link.displays) == [(0, 800, 600), (1, 500, 400)]
            assert (await second.wait_for("owner"))["viewer"] == 2
            assert (await first.wait_for("owner"))["viewer"] == 1
            # A worker that takes the dead one's place is told again.
            bench.link.drop()
            await wait_until(lambda: len(bench.links) == 2)
            await wait_until(lambda: sorted(bench.link.displays) == [(0, 800, 600), (1, 500, 400)])
            await wait_until(lambda: bench.link.watched == {0, 1})
            # What lies beyond the limit can be looked at, not asked for.
            async with AiortcViewer(bench, 3, output=2) as third:
                third.send("control", type="resize", width=500, height=400)
                third.send("control", type="ping", t=1)
                await third.wait_for("pong")
                assert len(bench.link.displays) == 2
                ring = await bench.show(320, 240, 2)
                ring.publish(ring.picture(99))
                await third.wait_for_luma(99)
                assert not (await third.wait_for("screen"))["resizable"]


async def test_in_a_session_of_a_fixed_size_others_get_that_size() -> None:
    async with session_bench(outputs=2, is_resizable=False, size=(1024, 768)) as bench:
        await bench.show(320, 240)
        async with AiortcViewer(bench, 1) as first, AiortcViewer(bench, 2, output=1, role="view") as watcher:
            watcher.send("control", type="resize", width=500, height=400)
            first.send("control", type="resize", width=500, height=400)
            async with AiortcViewer(bench, 3, output=1) as second:
                second.send("control", type="resize", width=500, height=400)
                await wait_until(lambda: bench.link.displays == [(1, 1024, 768)])


async def _plug_in(bench: SessionBench, number: int) -> None:
    async with AiortcViewer(bench, number, output=1) as viewer:
        viewer.send("control", type="resize", width=500, height=400)
        await wait_until(lambda: bench.link.displays[-1:] == [(1, 500, 400)])
        await wait_until(lambda: 1 in bench.link.watched)
    bench.session.remove_viewer(number)


async def test_an_output_that_nobody_has_watched_for_a_while_is_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "UNPLUG_S", 0.2)
    async with session_bench(outputs=2) as bench:
        await bench.show(320, 240)
        await _plug_in(bench, 1)
        await wait_until(lambda: bench.link.displays[-1] == (1, 0, 0))
        # Whoever opens it again gets it, in the same size.
        await _plug_in(bench, 2)
        await wait_until(lambda: bench.link.displays == [(1, 500, 400), (1, 0, 0)] * 2)


async def test_pointers_touches_and_cursors_belong_to_an_output() -> None:
    async with session_bench() as bench:
        await bench.show(320, 240)
        await bench.show(320, 240, 1)
        bench.link.post(CursorImage(1, 1, 2, 1, 1, 0, bytes(range(8))))
        async with await bench.accept_agent() as agent, AiortcViewer(bench, 1) as first:
            async with AiortcViewer(bench, 2, output=1) as second:
                assert (await second.wait_for("cursor"))["width"] == 2
                assert not first.received("cursor")
                second.send("control", type="touch", id=3, phase="down", x=1, y=2)
                assert (await second.wait_for("error"))["message"].startswith("touch: ")
                agent.send(Pointer(True))
                for viewer in (first, second):
                    await wait_until(
                        lambda viewer=viewer: any(each["touch"] for each in viewer.received("pointer"))  # type: ignore[misc]
                    )
                second.send("motion", type="motion", seq=1, x=10, y=20)
                assert await next_input(agent) == Motion(10, 20, 1)
                first.send("motion", type="motion", seq=1, x=10, y=20)
                assert await next_input(agent) == Motion(10, 20, 0)
                before = bench.link.expected
                second.send("control", type="button", button=1, down=True, x=11, y=21)
                assert [await next_input(agent) for _ in range(2)] == [Motion(11, 21, 1), Button(1, True)]
                # What comes of it may show on either.
                assert bench.link.expected == before + 2
                second.send("control", type="touch", id=3, phase="down", x=1, y=2)
                assert await next_input(agent) == Touch(0, "down", 1, 2, 1)
            assert {await next_input(agent) for _ in range(2)} == {Touch(0, "cancel", 1, 2, 1), Button(1, False)}


async def test_a_viewer_may_change_its_output_by_another_offer() -> None:
    async with session_bench() as bench:
        rings = [await bench.show(320, 240, number) for number in range(2)]
        for luma, ring in zip((60, 150), rings, strict=True):
            ring.publish(ring.picture(luma))
        async with AiortcViewer(bench, 1) as viewer:
            await viewer.wait_for_luma(60)
            bench.session.signal(1, {"type": "bye"})
            await wait_until(lambda: bench.link.watched == set())
            async with AiortcViewer(bench, 1, output=1, is_new=False) as again:
                await again.wait_for_luma(150)
                assert bench.link.watched == {1}
