# SPDX-License-Identifier: Apache-2.0
"""Frames of the ring in, encoded frames out: newest wins, nothing queues, an idle screen costs nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from render_core import Rect
from streamer.damage import DamageChain
from streamer.encode.encoder import CLOCK_RATE, EncodedFrame, Encoder, EncoderError, EncoderSettings
from streamer.frames import FrameRing, HeldFrame
from streamer.rate_policy import encoder_rate
from streamer.refinement import Refinement
from streamer.ring_watch import RingWatch
from streamer.rtc.track import StreamFrame
from streamer.slow_stream import SlowStream

_log = logging.getLogger(__name__)

NS = 1_000_000_000
# However many viewers ask for a keyframe, this is how often one is made.
KEYFRAME_INTERVAL_NS = 300_000_000
MAX_ENCODER_FAILURES = 3

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


@dataclass(frozen=True, slots=True)
class _Picture:
    """One call of the encoder, with what it reads. `ring` is None when the frame's ring has gone."""

    held: HeldFrame
    ring: FrameRing | None
    settings: EncoderSettings
    damage: Sequence[Rect] | None
    is_new: bool
    keyframe: bool
    refine: bool
    flush_ns: int
    pts: int
    begin_ns: int


class Pipeline:
    """Encodes one stream for all viewers. Event loop only.

    A picture that is encoded in less time than a thread takes to wake is encoded at once, on the loop; others on one
    thread of the pipeline's own, where `open_encoder` is called too. `on_frame` hears of each encoded frame;
    `on_failure` once, when encoders keep failing; `ready_ns` says when the next frame may be encoded: until then a
    newer one can still replace it (call `wake()` when it has become earlier); `on_ring_failure` when a ring raised one
    of `ring_errors`: it is not used any more then.
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
        self._ready_ns = ready_ns
        self._slow_stream = slow_stream
        self._on_slow_frame = on_slow_frame
        self._clock_ns = clock_ns
        self._wanted_bps: int | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_advancing = False
        # What the thread is doing.
        self._work: asyncio.Future[EncodedFrame | None] | None = None
        self._watch = RingWatch(self._advance, on_ring_failure, ring_errors)
        self._held: HeldFrame | None = None
        # What the held frame's planes are, also when its ring has gone.
        self._held_settings: EncoderSettings | None = None
        self._held_ring: FrameRing | None = None
        self._damage = DamageChain()
        self._encoder: Encoder | None = None
        # What the encoder was told last.
        self._applied_bps: int | None = None
        self._is_active = False
        self._keyframe_wanted = False
        self._last_keyframe_ns = -KEYFRAME_INTERVAL_NS
        self._refinement = Refinement()
        self._last_pts = -1
        self._failures = 0
        # After a failure.
        self._not_before_ns = 0
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
        if not active:
            self._release()
            self._refinement.reset()
        self._advance()

    def set_ring(self, ring: FrameRing | None) -> None:
        """Take frames from `ring` (now the pipeline's) from here on; None: there is none, the last picture stays."""
        self._watch.set_ring(ring)
        self._advance()

    def request_keyframe(self) -> None:
        """Make the next frame a keyframe; on a still screen, repeat the last one as such. Requests are coalesced."""
        self._keyframe_wanted = True
        self._advance()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Let the encoder aim at that rate from the next frame on; its settings are the ceiling."""
        self._wanted_bps = bitrate_bps

    def wake(self) -> None:
        """`ready_ns()` says something else now."""
        self._advance()

    async def run(self) -> None:
        """Work until cancelled."""
        loop = self._loop = asyncio.get_running_loop()
        self._advance()
        try:
            await loop.create_future()
        finally:
            self._loop = None
            if self._timer is not None:
                self._timer.cancel()
            # The thread reads a slot of the ring: milliseconds at most.
            if self._work is not None:
                await asyncio.wait([self._work])
            self.set_ring(None)
            self._release()
            self._encoder = None
            if self._slow_stream is not None:
                self._executor.submit(self._slow_stream.close)
            self._executor.shutdown(wait=False)

    # When

    def _advance(self) -> None:
        """Do what is due, and see to it that the rest is not forgotten. Called whenever something has changed."""
        if self._is_advancing:
            # From a callback of ours: the loop below looks again.
            return
        self._is_advancing = True
        try:
            self._do_what_is_due()
        finally:
            self._is_advancing = False
        self._watch.watch(self._loop is not None and self._is_active)

    def _do_what_is_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._loop is not None and self._work is None:
            due_ns = self._due_ns()
            now_ns = self._clock_ns()
            if due_ns is None:
                break
            if due_ns > now_ns:
                self._timer = self._loop.call_later((due_ns - now_ns) / NS, self._advance)
                break
            self._step()

    def _due_ns(self) -> int | None:
        if not self._is_active:
            return None
        earliest_ns = max(self._ready_ns(), self._not_before_ns)
        if self._watch.is_readable:
            return earliest_ns
        times = []
        if self._held is not None:
            if self._keyframe_wanted:
                times.append(self._last_keyframe_ns + KEYFRAME_INTERVAL_NS)
            if self._refinement.due_ns is not None:
                times.append(self._refinement.due_ns)
        return max(min(times), earliest_ns) if times else None

    # What

    def _step(self) -> None:
        is_new = self._acquire()
        held, settings = self._held, self._held_settings
        if held is None or settings is None:
            return
        now_ns = self._clock_ns()
        keyframe = self._keyframe_wanted and now_ns - self._last_keyframe_ns >= KEYFRAME_INTERVAL_NS
        is_due = self._refinement.due_ns is not None and now_ns >= self._refinement.due_ns
        if is_new or keyframe or is_due:
            self._begin(held, settings, is_new=is_new, keyframe=keyframe)

    def _acquire(self) -> bool:
        """Take the newest frame, give the one before back."""
        frame, ring = self._watch.acquire(), self._watch.ring
        if frame is None or ring is None:
            return False
        self._release()
        self._held = frame
        self._held_ring = ring
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

    def _begin(self, held: HeldFrame, settings: EncoderSettings, *, is_new: bool, keyframe: bool) -> None:
        flush_ns = held.trace.flush_ns if is_new else 0
        begin_ns = self._clock_ns()
        if keyframe:
            self._keyframe_wanted = False
        picture = _Picture(
            held=held,
            ring=self._held_ring,
            settings=settings,
            damage=self._damage.since_last(self._held_ring, held),
            is_new=is_new,
            keyframe=keyframe,
            refine=not is_new and not keyframe,
            flush_ns=flush_ns,
            # A worker's time may be any number, and one from the future would stop the stream's clock.
            pts=max(self._last_pts + 1, min(flush_ns or begin_ns, begin_ns) * CLOCK_RATE // NS),
            begin_ns=begin_ns,
        )
        self._damage.break_off()
        # The slot must not be given back while the encoder reads it, whatever comes meanwhile.
        self._held = None
        if self._is_instant(picture):
            try:
                encoded = self._encode(picture)
            except EncoderError as error:
                self._handle_failure(picture, error)
            else:
                self._handle_encoded(picture, encoded)
            return
        self._start(partial(self._encode, picture), partial(self._handle_work, picture))

    def _is_instant(self, picture: _Picture) -> bool:
        encoder = self._encoder
        return (
            encoder is not None
            and encoder.settings == picture.settings
            and not picture.keyframe
            and not picture.refine
            and encoder.is_instant(picture.damage)
        )

    def _start(
        self, work: Callable[[], EncodedFrame | None], done: Callable[[asyncio.Future[EncodedFrame | None]], None]
    ) -> None:
        """Let the thread do something; `done` is called here afterwards. Nothing else begins meanwhile."""
        assert self._loop is not None and self._work is None
        self._work = self._loop.run_in_executor(self._executor, work)
        self._work.add_done_callback(done)

    def _encode(self, picture: _Picture) -> EncodedFrame | None:
        """Encode; on the thread, or on the loop while the thread does nothing."""
        encoder = self._encoder
        if encoder is None or encoder.settings != picture.settings:
            if encoder is not None:
                encoder.close()
                self._encoder = None
            encoder = self._encoder = self._open_encoder(picture.settings)
            self._applied_bps = None
            self.statistics.encoder_opens += 1
        if self._wanted_bps is not None and self._wanted_bps != self._applied_bps:
            self._applied_bps = self._wanted_bps
            encoder.set_bitrate(self._wanted_bps)
        return encoder.encode(
            picture.held.planes,
            damage=picture.damage,
            keyframe=picture.keyframe,
            pts=picture.pts,
            refine=picture.refine,
        )

    def _handle_work(self, picture: _Picture, work: asyncio.Future[EncodedFrame | None]) -> None:
        self._work = None
        self._is_advancing = True
        try:
            encoded = work.result()
        except EncoderError as error:
            self._handle_failure(picture, error)
        else:
            self._handle_encoded(picture, encoded)
        finally:
            self._is_advancing = False
        self._advance()

    def _handle_encoded(self, picture: _Picture, encoded: EncodedFrame | None) -> None:
        end_ns = self._clock_ns()
        self._failures = 0
        self._last_pts = picture.pts
        self._damage.handle_encoded(picture.ring, picture.held)
        # Nothing has changed, or nothing can be refined yet, when there is no frame.
        if encoded is not None or picture.refine:
            self._plan_refinement(end_ns, refine=picture.refine and (encoded is None or not encoded.is_keyframe))
        if encoded is None:
            self._put_back(picture)
            return
        if encoded.is_keyframe:
            self._last_keyframe_ns = end_ns
            # A new encoder's first frame answers a request as well.
            self._keyframe_wanted = False
        self._count(encoded, end_ns - picture.begin_ns, picture.is_new)
        trace = picture.held.trace
        frame = StreamFrame(
            data=encoded.data,
            is_keyframe=encoded.is_keyframe,
            pts=picture.pts,
            flush_ns=picture.flush_ns,
            gpu_done_ns=trace.gpu_done_ns if picture.is_new else 0,
            handoff_ns=trace.handoff_ns if picture.is_new else 0,
            encode_begin_ns=picture.begin_ns,
            encode_end_ns=end_ns,
        )
        self._on_frame(frame)
        # Those whose path is fast have theirs by now.
        slow = self._slow_stream
        if slow is None or self._loop is None or not slow.is_due(self._clock_ns()):
            self._put_back(picture)
            return
        begin_ns = self._clock_ns()
        self._start(
            partial(slow.encode, picture.held.planes, picture.settings, picture.pts, begin_ns),
            partial(self._handle_slow_work, picture, replace(frame, encode_begin_ns=begin_ns)),
        )

    def _handle_slow_work(
        self, picture: _Picture, frame: StreamFrame, work: asyncio.Future[EncodedFrame | None]
    ) -> None:
        """The picture was encoded for slow viewers too; a failure costs them a picture."""
        self._work = None
        self._put_back(picture)
        try:
            encoded = work.result()
        except EncoderError as error:
            _log.error("the encoder for slow viewers: %s", error)
            encoded = None
        if encoded is not None:
            end_ns = self._clock_ns()
            self._on_slow_frame(
                replace(frame, data=encoded.data, is_keyframe=encoded.is_keyframe, encode_end_ns=end_ns)
            )
        self._advance()

    def _handle_failure(self, picture: _Picture, error: EncoderError) -> None:
        _log.error("%s", error)
        self._put_back(picture)
        self.statistics.encoder_failures += 1
        self._failures += 1
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
        self._keyframe_wanted = True
        if self._failures == MAX_ENCODER_FAILURES:
            self._on_failure(str(error))
        self._refinement.reset()
        self._not_before_ns = self._clock_ns() + int(min(0.1 * 2**self._failures, 5) * NS)

    def _put_back(self, picture: _Picture) -> None:
        if self._loop is not None and self._is_active and self._held is None:
            self._held, self._held_settings, self._held_ring = picture.held, picture.settings, picture.ring
        else:
            picture.held.release()

    def _plan_refinement(self, now_ns: int, *, refine: bool) -> None:
        encoder = self._encoder
        if encoder is None or not self._is_active:
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
