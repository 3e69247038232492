# SPDX-License-Identifier: Apache-2.0
"""Frames of the ring in, encoded frames out: newest wins, nothing queues, an idle screen costs nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from render_core import Rect
from streamer.damage import DamageChain
from streamer.encode.encoder import CLOCK_RATE, EncodedFrame, Encoder, EncoderError, EncoderSettings
from streamer.frames import FrameRing, HeldFrame
from streamer.refinement import Refinement
from streamer.rtc.track import StreamFrame

_log = logging.getLogger(__name__)

NS = 1_000_000_000
# However many viewers ask for a keyframe, this is how often one is made.
KEYFRAME_INTERVAL_NS = 300_000_000
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
    keep failing; `on_ring_failure` when a ring raised one of `ring_errors`: it is not used any more then.
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
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open_encoder = open_encoder
        self._on_frame = on_frame
        self._on_failure = on_failure
        self._fps = fps
        self._bitrate_bps = bitrate_bps
        self._ring_errors = ring_errors
        self._on_ring_failure = on_ring_failure
        self._clock_ns = clock_ns
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._wake = asyncio.Event()
        self._ring: FrameRing | None = None
        self._ring_fd: int | None = None
        self._held: HeldFrame | None = None
        # What the held frame's planes are, also when its ring has gone.
        self._held_settings: EncoderSettings | None = None
        self._held_ring: FrameRing | None = None
        self._damage = DamageChain()
        self._encoder: Encoder | None = None
        self._is_active = False
        self._is_readable = False
        self._keyframe_wanted = False
        self._last_keyframe_ns = -KEYFRAME_INTERVAL_NS
        self._refinement = Refinement()
        self._last_pts = -1
        self._failures = 0
        self._empty_events = 0
        self.statistics = PipelineStatistics()

    @property
    def bitrate_bps(self) -> int:
        """What the encoder aims at; 0 while there is none."""
        return 0 if self._encoder is None else self._encoder.bitrate_bps

    @property
    def is_refined(self) -> bool:
        """Whether the picture shown is sharp: nothing is sent until it changes."""
        return self._refinement.due_ns is None and self._encoder is not None and self._encoder.is_refined

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
            self._refinement.reset()
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
        if self._is_readable:
            return 0
        times = []
        if self._held is not None:
            if self._keyframe_wanted:
                times.append(self._last_keyframe_ns + KEYFRAME_INTERVAL_NS)
            if self._refinement.due_ns is not None:
                times.append(self._refinement.due_ns)
        return min(times, default=None)

    async def _step(self) -> None:
        if not self._is_active:
            return
        is_new = self._acquire()
        held, settings = self._held, self._held_settings
        if held is None or settings is None:
            return
        now_ns = self._clock_ns()
        keyframe = self._keyframe_wanted and now_ns - self._last_keyframe_ns >= KEYFRAME_INTERVAL_NS
        is_due = self._refinement.due_ns is not None and now_ns >= self._refinement.due_ns
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
        ring = self._held_ring = self._ring
        self._held_settings = EncoderSettings(
            width=ring.coded_width,
            height=ring.coded_height,
            pixel_format="nv12" if ring.format == "nv12" else "yuv420p",
            fps=self._fps,
            bitrate_bps=self._bitrate_bps or default_bitrate(ring.coded_width, ring.coded_height, self._fps),
        )
        return True

    async def _encode(self, held: HeldFrame, settings: EncoderSettings, *, is_new: bool, keyframe: bool) -> None:
        flush_ns = held.trace.flush_ns if is_new else 0
        now_ns = self._clock_ns()
        # A worker's time may be any number, and one from the future would stop the stream's clock.
        pts = max(self._last_pts + 1, min(flush_ns or now_ns, now_ns) * CLOCK_RATE // NS)
        if keyframe:
            self._keyframe_wanted = False
        refine = not is_new and not keyframe
        damage = self._damage.since_last(self._held_ring, held)
        ring = self._held_ring
        self._damage.break_off()
        # The slot must not be given back while the encoder reads it, even when this is cancelled.
        self._held = None
        loop = asyncio.get_running_loop()
        begin_ns = self._clock_ns()
        work = loop.run_in_executor(
            self._executor, self._encode_on_thread, held, settings, damage, keyframe, pts, refine
        )
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
        self._damage.handle_encoded(ring, held)
        self._put_back(held, settings)
        self._last_pts = pts
        if encoded is None:
            # Nothing has changed; or nothing can be refined yet.
            if refine:
                self._plan_refinement(end_ns, refine=True)
            return
        self._plan_refinement(end_ns, refine=refine and not encoded.is_keyframe)
        if encoded.is_keyframe:
            self._last_keyframe_ns = end_ns
            # A new encoder's first frame answers a request as well.
            self._keyframe_wanted = False
        self._count(encoded, end_ns - begin_ns, is_new)
        self._on_frame(
            StreamFrame(
                data=encoded.data,
                is_keyframe=encoded.is_keyframe,
                pts=pts,
                flush_ns=flush_ns,
                gpu_done_ns=held.trace.gpu_done_ns if is_new else 0,
                handoff_ns=held.trace.handoff_ns if is_new else 0,
                encode_begin_ns=begin_ns,
                encode_end_ns=end_ns,
            )
        )

    def _encode_on_thread(
        self,
        held: HeldFrame,
        settings: EncoderSettings,
        damage: Sequence[Rect] | None,
        keyframe: bool,
        pts: int,
        refine: bool,
    ) -> EncodedFrame | None:
        if self._encoder is None or self._encoder.settings != settings:
            if self._encoder is not None:
                self._encoder.close()
                self._encoder = None
            self._encoder = self._open_encoder(settings)
            self.statistics.encoder_opens += 1
        return self._encoder.encode(held.planes, damage=damage, keyframe=keyframe, pts=pts, refine=refine)

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
        self._refinement.reset()
        await asyncio.sleep(min(0.1 * 2**self._failures, 5))

    def _plan_refinement(self, now_ns: int, *, refine: bool) -> None:
        encoder = self._encoder
        if encoder is None or self._held is None:
            self._refinement.reset()
        elif refine:
            self._refinement.handle_refined(now_ns, is_refined=encoder.is_refined)
        else:
            self._refinement.handle_picture(
                now_ns, is_refined=encoder.is_refined, follows_damage=encoder.follows_damage
            )

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
