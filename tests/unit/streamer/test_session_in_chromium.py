# SPDX-License-Identifier: Apache-2.0
"""A session seen by a real browser: what it negotiates, shows, and reports back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from streamer.rtc.track import ViewerTrack
from tests.support.relay import Relay
from tests.support.streaming import WAIT_S, SessionBench, session_bench, wait_until

pytestmark = pytest.mark.e2e

CHROMIUM = "/usr/bin/chromium"

_PAGE = """
async () => {
  const pc = window.pc = new RTCPeerConnection({bundlePolicy: "max-bundle"});
  window.seen = []; window.rtp = []; window.messages = [];
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  document.body.append(video);
  const receiver = pc.addTransceiver("video", {direction: "recvonly"}).receiver;
  receiver.jitterBufferTarget = 0;
  for (const [label, options] of [["control", {}], ["motion", {ordered: false, maxRetransmits: 0}]]) {
    const channel = pc.createDataChannel(label, options);
    channel.onmessage = (event) => window.messages.push(JSON.parse(event.data));
    window[label] = channel;
  }
  const canvas = new OffscreenCanvas(1, 1), context = canvas.getContext("2d", {willReadFrequently: true});
  const look = (now, metadata) => {
    context.drawImage(video, video.videoWidth >> 1, video.videoHeight >> 1, 1, 1, 0, 0, 1, 1);
    window.seen.push([...context.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
    window.rtp.push(metadata.rtpTimestamp);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  pc.ontrack = (event) => { video.srcObject = new MediaStream([event.track]); };
  pc.onicecandidate = (event) => window.trickle(event.candidate && event.candidate.toJSON());
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await window.exchange(pc.localDescription.sdp);
  await pc.setRemoteDescription({type: "answer", sdp: answer});
  return answer;
}
"""


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


async def connect(page: Page, bench: SessionBench) -> str:
    """Make the page viewer 1; returns the answer's SDP."""
    bench.session.open_viewer(1, "control")

    async def exchange(sdp: str) -> str:
        bench.session.signal(1, {"type": "offer", "sdp": sdp})
        return str((await bench.next_signal(1, "answer"))["sdp"])

    def trickle(candidate: dict[str, Any] | None) -> None:
        bench.session.signal(1, {"type": "candidate", "candidate": "", **(candidate or {})})

    await page.expose_function("exchange", exchange)
    await page.expose_function("trickle", trickle)
    async with asyncio.timeout(WAIT_S):
        return str(await page.evaluate(_PAGE))


async def wait_for_colour(page: Page, red: int, green: int, blue: int) -> None:
    await page.wait_for_function(
        "([colour]) => window.seen.length && window.seen.at(-1).every((value, i) => Math.abs(value - colour[i]) <= 6)",
        arg=[[red, green, blue]],
        timeout=WAIT_S * 1000,
    )


async def test_chromium_shows_the_picture_and_reports_on_it() -> None:
    async with session_bench() as bench, browser_page() as page:
        ring = await bench.show(640, 360)
        answer = await connect(page, bench)
        assert "playout-delay" in answer
        assert "transport-wide-cc" in answer
        assert "transport-cc" in answer
        assert "ccm fir" in answer
        # BT.709 limited: red, then grey.
        ring.publish(ring.picture(63, 102, 240))
        await wait_for_colour(page, 255, 0, 0)
        ring.publish(ring.picture(126, 128, 128))
        await wait_for_colour(page, 128, 128, 128)
        metrics = bench.session.metrics().values
        assert metrics["keyframes"] <= 2
        peer = bench.session._viewers[1].peer
        assert peer is not None and peer.native is not None
        await wait_until(lambda: bench.session.metrics().values["feedbacks"] > 0)
        assert bench.session.metrics().values["packets_lost"] == 0
        # The trace names frames by the RTP time that the browser sees.
        await page.wait_for_function(
            """() => {
              const traced = window.messages.filter((m) => m.type === "frames").flatMap((m) => m.frames);
              return window.rtp.every((rtp) => traced.some((trace) => trace[0] === rtp));
            }""",
            timeout=WAIT_S * 1000,
        )


async def test_chromium_gets_again_what_was_lost() -> None:
    async with session_bench() as bench, browser_page() as page:
        ring = await bench.show(640, 360)
        await connect(page, bench)
        ring.publish(ring.picture(63, 102, 240))
        await wait_for_colour(page, 255, 0, 0)
        peer = bench.session._viewers[1].peer
        assert peer is not None and peer.native is not None
        ice = peer._ice
        assert ice is not None
        direct = ice._nominated[1]
        peer.native.follow(Relay(direct.protocol.transport, drop_every=5).pair(direct))
        for luma in range(30, 90):
            ring.publish(ring.picture(luma))
            await asyncio.sleep(1 / 60)
        ring.publish(ring.picture(126, 128, 128))
        await wait_for_colour(page, 128, 128, 128)
        assert peer.native.counters().resent_packets > 0


async def test_chromium_gets_a_new_size_in_the_same_stream() -> None:
    async with session_bench() as bench, browser_page() as page:
        ring = await bench.show(640, 360)
        await connect(page, bench)
        ring.publish(ring.picture(180))
        await page.wait_for_function("() => document.querySelector('video').videoWidth === 640")
        ring = await bench.show(333, 251)
        ring.publish(ring.picture(90))
        await page.wait_for_function("() => document.querySelector('video').videoWidth === 334")
        await page.wait_for_function("() => document.querySelector('video').videoHeight === 252")
        await page.evaluate("() => control.send(JSON.stringify({type: 'ping', t: 1.5}))")
        await page.wait_for_function("() => window.messages.some((m) => m.type === 'pong' && m.t === 1.5)")


async def test_a_browser_that_vanishes_is_noticed() -> None:
    async with session_bench() as bench:
        ring = await bench.show(320, 240)
        async with browser_page() as page:
            await connect(page, bench)
            ring.publish(ring.picture(180))
            await page.wait_for_function("() => window.seen.length > 0")
            assert bench.link.active
        await wait_until(lambda: not bench.link.active)


async def test_chromiums_doubt_about_a_still_screen_costs_no_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = 0
    request_keyframe = ViewerTrack.request_keyframe

    def count(track: ViewerTrack) -> None:
        nonlocal requests
        requests += 1
        request_keyframe(track)

    async with session_bench() as bench, browser_page() as page:
        ring = await bench.show(640, 360)
        await connect(page, bench)
        ring.publish(ring.picture(63, 102, 240))
        await wait_for_colour(page, 255, 0, 0)
        monkeypatch.setattr(ViewerTrack, "request_keyframe", count)
        before = bench.session.metrics().values["keyframes"]
        # It asks once when it has seen nothing for 3 s.
        await wait_until(lambda: requests > 0)
        await asyncio.sleep(1)
        assert requests == 1
        assert bench.session.metrics().values["keyframes"] == before
        ring.publish(ring.picture(126, 128, 128))
        await wait_for_colour(page, 128, 128, 128)
        assert bench.session.metrics().values["keyframes"] == before
