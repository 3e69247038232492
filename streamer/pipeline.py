# SPDX-License-Identifier: Apache-2.0
"""Frames of the ring in, encoded frames out: newest wins, nothing queues, an idle screen costs next to nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from streamer.encode.encoder import CLOCK_RATE, EncodedFrame, Encoder, EncoderError, EncoderSettings
from streamer.frames import FrameRing, HeldFrame
from streamer.rate_policy import encoder_rate
from streamer.rtc.track import StreamFrame
from streamer.slow_stream import SlowStream

_log = logging.getLogger(__name__)

NS = 1_000_000_000
# However many viewers ask for a keyframe, this is how often one is made.
KEYFRAME_INTERVAL_NS = 300_000_000
# When the picture has been still for the first, it is encoded again at the second interval until nothing gets better.
REFINE_AFTER_NS = 60_000_000
REFINE_INTERVAL_NS = 33_000_000
MAX_REFINEMENTS = 90
# Repeats as small as this skip every block: that many in a row say that nothing gets better any more.
REFINED_BYTES = 150
REFINED_REPEATS = 2
# Keeps browsers from taking a still stream for a dead one.
HEARTBEAT_NS = 1_000_000_000
MAX_ENCODER_FAILURES = 3
MAX_EMPTY_EVENTS = 1000

BITS_PER_PIXEL = 0.2
MIN_BITRATE_BPS, MAX_BITRATE_BPS = 2_000_000, 60_000_000


def default_bitrate(width: int, height: int, fps: int) -> int:
    """Return a rate in bits a second at which moving text stays legible."""
    return int(min(max(width * height * fps * BITS_PER_PIXEL, MIN_BITRATE_BPS), MAX_BITRATE_BPS))


@dataclass(slots=True)
class PipelineStatistics:
    """Sums since the pipeline began."""

    frames: int = 0
    repeats: int = 0
    keyframes: int = 0
    bytes: int = 0
    encode_ns: int = 0
    encoder_opens: int = 0
    encoder_failures: int = 0


class Pipeline:
    """Encodes one stream for all viewers. Event loop only; the encoder runs on one thread of its own.

    `open_encoder` is called on that thread. `on_frame` hears of each encoded frame; `on_failure` once, when encoders
    keep failing; `ready_ns` says when the next frame may be encoded: until then a newer one can still replace it (call
    `wake()` when it has become earlier); `on_ring_failure` when a ring raised one of `ring_errors`: it is not used any
    more then.
    """

    def __init__(
        self,
        open_encoder: Callable[[EncoderSettings], Encoder],
        on_frame: Callable[[StreamFrame], None],
        on_failure: Callable[[str], None],
        *,
        fps: int,
        bitrate_bps: int | None = None,
        ring_errors: tuple[type[Exception], ...] = (),
        on_ring_failure: Callable[[str], None] = lambda reason: None,
        ready_ns: Callable[[], int] = lambda: 0,
        slow_stream: SlowStream | None = None,
        on_slow_frame: Callable[[StreamFrame], None] = lambda frame: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open_encoder = open_encoder
        self._on_frame = on_frame
        self._on_failure = on_failure
        self._fps = fps
        self._bitrate_bps = bitrate_bps
        self._ring_errors = ring_errors
        self._on_ring_failure = on_ring_failure
        self._ready_ns = ready_ns
        self._slow_stream = slow_stream
        self._on_slow_frame = on_slow_frame
        self._clock_ns = clock_ns
        self._wanted_bps: int | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._wake = asyncio.Event()
        self._ring: FrameRing | None = None
        self._ring_fd: int | None = None
        self._held: HeldFrame | None = None
        # What the held frame's planes are, also when its ring has gone.
        self._held_settings: EncoderSettings | None = None
        self._encoder: Encoder | None = None
        # What the encoder was told last; its thread's.
        self._applied_bps: int | None = None
        self._is_active = False
        self._is_readable = False
        self._keyframe_wanted = False
        self._last_keyframe_ns = -KEYFRAME_INTERVAL_NS
        self._refinements_left = 0
        self._small_repeats = 0
        self._next_repeat_ns: int | None = None
        self._last_pts = -1
        self._failures = 0
        self._empty_events = 0
        self.statistics = PipelineStatistics()

    @property
    def bitrate_bps(self) -> int:
        """What the encoder aims at; 0 while there is none."""
        return 0 if self._encoder is None else self._encoder.bitrate_bps

    @property
    def has_picture(self) -> bool:
        """Whether a keyframe can be made at once."""
        return self._held is not None

    def set_active(self, active: bool) -> None:
        """Somebody watches, or nobody does: then nothing is encoded and no frame is held."""
        if active == self._is_active:
            return
        self._is_active = active
        self._watch_ring()
        if not active:
            self._release()
        self._wake.set()

    def set_ring(self, ring: FrameRing | None) -> None:
        """Take frames from `ring` (now the pipeline's) from here on; None: there is none, the last picture stays."""
        self._unwatch_ring()
        if self._ring is not None:
            self._ring.close()
        self._ring = ring
        self._empty_events = 0
        self._is_readable = False
        self._watch_ring()
        self._wake.set()

    def request_keyframe(self) -> None:
        """Make the next frame a keyframe; on a still screen, repeat the last one as such. Requests are coalesced."""
        self._keyframe_wanted = True
        self._wake.set()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Let the encoder aim at that rate from the next frame on; its settings are the ceiling."""
        self._wanted_bps = bitrate_bps

    def wake(self) -> None:
        """`ready_ns()` says something else now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._sleep()
                await self._step()
        finally:
            self.set_ring(None)
            self._release()
            self._encoder = None
            if self._slow_stream is not None:
                self._executor.submit(self._slow_stream.close)
            self._executor.shutdown(wait=False)

    async def _sleep(self) -> None:
        """Wait for a frame, a request or the time of a repeat."""
        due_ns = self._due_ns()
        now_ns = self._clock_ns()
        if due_ns is not None and due_ns <= now_ns:
            await asyncio.sleep(0)
        else:
            try:
                async with asyncio.timeout(None if due_ns is None else (due_ns - now_ns) / NS):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    def _due_ns(self) -> int | None:
        if not self._is_active:
            return None
        ready_ns = self._ready_ns()
        if self._is_readable:
            return ready_ns
        times = []
        if self._held is not None:
            if self._keyframe_wanted:
                times.append(self._last_keyframe_ns + KEYFRAME_INTERVAL_NS)
            if self._next_repeat_ns is not None:
                times.append(self._next_repeat_ns)
        return max(min(times), ready_ns) if times else None

    async def _step(self) -> None:
        if not self._is_active or self._ready_ns() > self._clock_ns():
            return
        is_new = self._acquire()
        held, settings = self._held, self._held_settings
        if held is None or settings is None:
            return
        now_ns = self._clock_ns()
        keyframe = self._keyframe_wanted and now_ns - self._last_keyframe_ns >= KEYFRAME_INTERVAL_NS
        is_due = self._next_repeat_ns is not None and now_ns >= self._next_repeat_ns
        if is_new or keyframe or is_due:
            await self._encode(held, settings, is_new=is_new, keyframe=keyframe)

    def _acquire(self) -> bool:
        """Take the newest frame, give the one before back."""
        if self._ring is None or not self._is_readable:
            return False
        self._is_readable = False
        try:
            frame = self._ring.acquire()
        except self._ring_errors as error:
            self.set_ring(None)
            self._on_ring_failure(str(error))
            return False
        self._watch_ring()
        if frame is None:
            # Now and then a frame was taken before its event was seen; an event that never ends is a broken worker's.
            self._empty_events += 1
            if self._empty_events > MAX_EMPTY_EVENTS:
                self.set_ring(None)
                self._on_ring_failure("the frame ring announces frames that are not there")
            return False
        self._empty_events = 0
        self._release()
        self._held = frame
        ring = self._ring
        self._held_settings = EncoderSettings(
            width=ring.coded_width,
            height=ring.coded_height,
            pixel_format="nv12" if ring.format == "nv12" else "yuv420p",
            fps=self._fps,
            bitrate_bps=self._ceiling(ring.coded_width, ring.coded_height),
        )
        return True

    def _ceiling(self, width: int, height: int) -> int:
        """The most that set_bitrate() may ask for: a rate too low for all pictures is spent on fewer of them."""
        bitrate_bps = self._bitrate_bps or default_bitrate(width, height, self._fps)
        return encoder_rate(bitrate_bps, width * height, self._fps)

    async def _encode(self, held: HeldFrame, settings: EncoderSettings, *, is_new: bool, keyframe: bool) -> None:
        flush_ns = held.trace.flush_ns if is_new else 0
        now_ns = self._clock_ns()
        # A worker's time may be any number, and one from the future would stop the stream's clock.
        pts = max(self._last_pts + 1, min(flush_ns or now_ns, now_ns) * CLOCK_RATE // NS)
        if keyframe:
            self._keyframe_wanted = False
        # The slot must not be given back while the encoder reads it, even when this is cancelled.
        self._held = None
        loop = asyncio.get_running_loop()
        begin_ns = self._clock_ns()
        work = loop.run_in_executor(self._executor, self._encode_on_thread, held, settings, keyframe, pts)
        try:
            encoded = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda _: held.release())
            raise
        except EncoderError as error:
            self._put_back(held, settings)
            await self._handle_failure(error)
            return
        end_ns = self._clock_ns()
        self._failures = 0
        self._last_pts = pts
        if encoded.is_keyframe:
            self._last_keyframe_ns = end_ns
            # A new encoder's first frame answers a request as well.
            self._keyframe_wanted = False
        self._plan_repeat(encoded, is_new=is_new, now_ns=end_ns)
        self._count(encoded, end_ns - begin_ns, is_new)
        frame = StreamFrame(
            data=encoded.data,
            is_keyframe=encoded.is_keyframe,
            pts=pts,
            flush_ns=flush_ns,
            gpu_done_ns=held.trace.gpu_done_ns if is_new else 0,
            handoff_ns=held.trace.handoff_ns if is_new else 0,
            encode_begin_ns=begin_ns,
            encode_end_ns=end_ns,
        )
        self._on_frame(frame)
        # Those whose path is fast have theirs by now.
        await self._encode_slow(held, settings, frame)
        self._put_back(held, settings)

    async def _encode_slow(self, held: HeldFrame, settings: EncoderSettings, frame: StreamFrame) -> None:
        """Encode the picture for slow viewers too, when it is time for one; a failure costs them a picture."""
        stream = self._slow_stream
        begin_ns = self._clock_ns()
        if stream is None or not stream.is_due(begin_ns):
            return
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, stream.encode, held.planes, settings, frame.pts, begin_ns)
        try:
            encoded = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda _: held.release())
            raise
        except EncoderError as error:
            _log.error("the encoder for slow viewers: %s", error)
            return
        if encoded is not None:
            self._on_slow_frame(
                replace(
                    frame,
                    data=encoded.data,
                    is_keyframe=encoded.is_keyframe,
                    encode_begin_ns=begin_ns,
                    encode_end_ns=self._clock_ns(),
                )
            )

    def _encode_on_thread(self, held: HeldFrame, settings: EncoderSettings, keyframe: bool, pts: int) -> EncodedFrame:
        if self._encoder is None or self._encoder.settings != settings:
            if self._encoder is not None:
                self._encoder.close()
                self._encoder = None
            self._encoder = self._open_encoder(settings)
            self._applied_bps = None
            self.statistics.encoder_opens += 1
        if self._wanted_bps is not None and self._wanted_bps != self._applied_bps:
            self._applied_bps = self._wanted_bps
            self._encoder.set_bitrate(self._wanted_bps)
        return self._encoder.encode(held.planes, keyframe=keyframe, pts=pts)

    def _put_back(self, held: HeldFrame, settings: EncoderSettings) -> None:
        if self._is_active and self._held is None:
            self._held, self._held_settings = held, settings
        else:
            held.release()

    async def _handle_failure(self, error: EncoderError) -> None:
        _log.error("%s", error)
        self.statistics.encoder_failures += 1
        self._failures += 1
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
        self._keyframe_wanted = True
        if self._failures == MAX_ENCODER_FAILURES:
            self._on_failure(str(error))
        self._next_repeat_ns = None
        await asyncio.sleep(min(0.1 * 2**self._failures, 5))

    def _plan_repeat(self, encoded: EncodedFrame, *, is_new: bool, now_ns: int) -> None:
        if is_new or encoded.is_keyframe:
            self._refinements_left = MAX_REFINEMENTS
            self._small_repeats = 0
            self._next_repeat_ns = now_ns + REFINE_AFTER_NS
            return
        self._small_repeats = self._small_repeats + 1 if len(encoded.data) <= REFINED_BYTES else 0
        is_refined = self._small_repeats >= REFINED_REPEATS
        self._refinements_left = 0 if is_refined else max(0, self._refinements_left - 1)
        self._next_repeat_ns = now_ns + (REFINE_INTERVAL_NS if self._refinements_left else HEARTBEAT_NS)

    def _count(self, encoded: EncodedFrame, encode_ns: int, is_new: bool) -> None:
        statistics = self.statistics
        statistics.frames += 1
        statistics.repeats += not is_new
        statistics.keyframes += encoded.is_keyframe
        statistics.bytes += len(encoded.data)
        statistics.encode_ns += encode_ns

    def _release(self) -> None:
        held, self._held = self._held, None
        self._held_settings = None
        self._next_repeat_ns = None
        if held is not None:
            held.release()

    def _watch_ring(self) -> None:
        """Look for a frame until there is one: the eventfd stays readable until acquire()."""
        if self._ring is None or not self._is_active or self._is_readable:
            self._unwatch_ring()
        elif self._ring_fd is None:
            self._ring_fd = self._ring.fileno()
            asyncio.get_running_loop().add_reader(self._ring_fd, self._handle_readable)

    def _unwatch_ring(self) -> None:
        if self._ring_fd is not None:
            asyncio.get_running_loop().remove_reader(self._ring_fd)
            self._ring_fd = None

    def _handle_readable(self) -> None:
        self._is_readable = True
        self._unwatch_ring()
        self._wake.set()
