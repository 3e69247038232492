# SPDX-License-Identifier: Apache-2.0
"""A session whose screen moves, watched by Chromium through a relay that can be narrow, lossy and long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Browser, Page

from streamer.rtc.congestion.controller import Decision
from streamer.viewer import Viewer
from tests.support.fake_frame_link import FakeRing
from tests.support.streaming import WAIT_S, SessionBench, session_bench
from tests.support.udp_relay import PathSettings, RelayThread, server_address, through_relay, without_candidates

_PAGE = """
async () => {
  const pc = window.pc = new RTCPeerConnection({bundlePolicy: "max-bundle"});
  window.shown = []; window.traces = [];
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  document.body.append(video);
  pc.addTransceiver("video", {direction: "recvonly"}).receiver.jitterBufferTarget = 0;
  pc.createDataChannel("control");
  const motion = pc.createDataChannel("motion", {ordered: false, maxRetransmits: 0});
  motion.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type !== "frames") return;
    window.traces.push(...message.frames.map(([rtp, key, bytes, flush]) => [rtp, flush]));
  };
  const look = (now, metadata) => {
    window.shown.push([metadata.rtpTimestamp, performance.timeOrigin, now]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  pc.ontrack = (event) => { video.srcObject = new MediaStream([event.track]); };
  await pc.setLocalDescription(await pc.createOffer());
  await pc.setRemoteDescription({type: "answer", sdp: await window.exchange(pc.localDescription.sdp)});
}
"""
_INBOUND = """async () => {
  const found = {};
  for (const each of (await pc.getStats()).values()) {
    if (each.type === "inbound-rtp" && each.kind === "video") {
      for (const name of ["framesDecoded", "keyFramesDecoded", "bytesReceived", "packetsLost", "pliCount"]) {
        found[name] = each[name] ?? 0;
      }
    }
  }
  return found;
}"""
_TAKE = "() => ({shown: window.shown.splice(0), traces: window.traces.splice(0)})"


@dataclass(frozen=True, slots=True)
class LinkSample:
    """What was seen for some seconds. Delays are from the picture's making to its showing; waits are the relay's."""

    seconds: float
    goodput_bps: float
    decisions: tuple[tuple[float, Decision], ...]
    decoded_per_s: float
    keyframes: int
    plis: int
    delays_ms: tuple[float, ...]
    longest_waits_ms: tuple[float, ...]

    @property
    def target_bps(self) -> float:
        """The median target."""
        return median(decision.target_bps for _, decision in self.decisions) if self.decisions else 0.0

    def reached_s(self, bps: float) -> float:
        """Seconds until a target was that high; infinite when none was."""
        return next((at for at, decision in self.decisions if decision.target_bps >= bps), float("inf"))


@dataclass(eq=False)
class LinkViewer:
    """One page behind one relay."""

    number: int
    page: Page
    relay: RelayThread
    zero_ms: float
    decisions: list[tuple[float, Decision]]

    async def measure(self, seconds: float) -> LinkSample:
        """Watch for some seconds."""
        before = await self.page.evaluate(_INBOUND)
        await self.page.evaluate(_TAKE)
        self.decisions.clear()
        self.relay.take_longest_wait_ms()
        begin_s, begin_bytes = time.monotonic(), self.relay.bytes_down
        waits: list[float] = []
        while time.monotonic() < begin_s + seconds:
            await asyncio.sleep(0.1)
            waits.append(self.relay.take_longest_wait_ms())
        span_s = time.monotonic() - begin_s
        passed_bytes = self.relay.bytes_down - begin_bytes
        decisions = tuple((at - begin_s, decision) for at, decision in self.decisions)
        after = await self.page.evaluate(_INBOUND)
        taken = await self.page.evaluate(_TAKE)
        flushed = {rtp: flush for rtp, flush in taken["traces"] if flush}
        delays = [now + self.zero_ms - flushed[rtp] / 1e6 for rtp, _, now in taken["shown"] if rtp in flushed]
        return LinkSample(
            span_s,
            passed_bytes * 8 / span_s,
            decisions,
            (after["framesDecoded"] - before.get("framesDecoded", 0)) / span_s,
            after["keyFramesDecoded"] - before.get("keyFramesDecoded", 0),
            after["pliCount"] - before.get("pliCount", 0),
            tuple(sorted(delays)),
            tuple(waits),
        )


class _Scene:
    """Noise that is another in each picture: it takes whatever rate there is."""

    _PICTURES = 12

    def __init__(self, ring: FakeRing, seed: int = 5) -> None:
        random = np.random.default_rng(seed)
        self._pictures: list[NDArray[np.uint8]] = []
        for _ in range(self._PICTURES):
            planes = ring.picture(128)
            small = random.integers(60, 196, (ring.coded_height // 2, ring.stride // 2), np.uint8)
            planes[: ring.coded_height] = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)[: ring.coded_height]
            self._pictures.append(planes)
        self._next = 0

    def next(self) -> NDArray[np.uint8]:
        self._next += 1
        return self._pictures[self._next % self._PICTURES]


async def _navigation_ms(page: Page) -> float:
    """Chromium's clock is CLOCK_MONOTONIC, as ours."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable")
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    await devtools.detach()
    return float({metric["name"]: metric["value"] for metric in metrics}["NavigationStart"]) * 1000


class LinkLab:
    """A session and the viewers that were connected."""

    def __init__(self, bench: SessionBench, ring: FakeRing) -> None:
        self.bench = bench
        self.ring = ring
        self.is_moving = True
        self.viewers: dict[int, LinkViewer] = {}
        self._decisions: dict[int, list[tuple[float, Decision]]] = {}
        self._open: list[Page | RelayThread] = []
        # Hears of each decision as the session does.
        session: Any = bench.session
        self._handle_rate = session.handle_rate
        session.handle_rate = self._hear

    def _hear(self, viewer: Viewer, decision: Decision) -> None:
        self._decisions.setdefault(viewer.number, []).append((time.monotonic(), decision))
        self._handle_rate(viewer, decision)

    def metrics(self) -> dict[str, float]:
        """The session's values."""
        return dict(self.bench.session.metrics().values)

    async def connect(self, browser: Browser, down: PathSettings, up: PathSettings | None = None) -> LinkViewer:
        """Let another page watch through a relay of its own; returns when it has a picture."""
        number = len(self.viewers) + 1
        page = await browser.new_page()
        self._open.append(page)
        self.bench.session.open_viewer(number, "view")
        relays: list[RelayThread] = []

        async def exchange(sdp: str) -> str:
            self.bench.session.signal(number, {"type": "offer", "sdp": without_candidates(sdp)})
            answer = str((await self.bench.next_signal(number, "answer"))["sdp"])
            relay = RelayThread(server_address(answer), down, up).__enter__()
            relays.append(relay)
            self._open.append(relay)
            return through_relay(answer, relay.port)

        await page.expose_function("exchange", exchange)
        await page.evaluate(_PAGE)
        await page.wait_for_function("() => window.shown.length > 0", timeout=WAIT_S * 1000)
        decisions = self._decisions.setdefault(number, [])
        viewer = LinkViewer(number, page, relays[0], await _navigation_ms(page), decisions)
        self.viewers[number] = viewer
        return viewer

    async def move(self, fps: int) -> None:
        """Draw until cancelled."""
        scene = _Scene(self.ring)
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + 1 / fps, time.monotonic())
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if self.is_moving and not self.ring.is_closed:
                self.ring.publish(scene.next())

    async def close(self) -> None:
        """End pages and relays."""
        for each in self._open:
            if isinstance(each, RelayThread):
                each.__exit__(None, None, None)
            else:
                await each.close()


@asynccontextmanager
async def link_lab(
    *, size: tuple[int, int] = (640, 360), fps: int = 60, max_bps: int = 30_000_000
) -> AsyncIterator[LinkLab]:
    """Run a session whose screen moves; connect viewers to it."""
    async with session_bench(bitrate_bps=max_bps, fps=fps) as bench:
        lab = LinkLab(bench, await bench.show(*size))
        try:
            async with asyncio.TaskGroup() as tasks:
                moving = tasks.create_task(lab.move(fps))
                yield lab
                moving.cancel()
        finally:
            await lab.close()
