# SPDX-License-Identifier: Apache-2.0
"""Encoders of FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import av
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from render_core import Rect
from streamer.encode.encoder import CLOCK_RATE, EncodedFrame, EncoderError, EncoderSettings, Planes
from streamer.encode.profiles import ENDLESS_GOP, VBV_FRAMES, EncoderProfile

_TIME_BASE = Fraction(1, CLOCK_RATE)
_BT709 = 1
_LIMITED_RANGE = 1
# More slices than this make some browsers' hardware decoders give up.
_MAX_SLICES = 4
_MIN_BITRATE_BPS = 50_000
# Repeats as small as this skip every block: that many in a row say that nothing gets better any more.
_REFINED_BYTES = 150
_REFINED_REPEATS = 2
# Before, they may only say that the rate control has used up what it had for the picture.
_MIN_REFINEMENTS = 20
_MAX_REFINEMENTS = 90


class AvEncoder:
    """An Encoder on a codec of FFmpeg's. See the protocol for the contract."""

    def __init__(self, profile: EncoderProfile, settings: EncoderSettings) -> None:
        """Open it.

        Raises:
            EncoderError: it cannot be opened here; the text says why.
        """
        self._profile = profile
        self._settings = settings
        self._codec: VideoCodecContext | None = None
        self._refinements = 0
        self._small_repeats = 0
        try:
            codec = cast(VideoCodecContext, av.CodecContext.create(profile.name, "w"))
            codec.width = settings.width
            codec.height = settings.height
            codec.pix_fmt = settings.pixel_format
            codec.time_base = _TIME_BASE
            codec.framerate = Fraction(settings.fps, 1)
            codec.gop_size = ENDLESS_GOP
            codec.max_b_frames = 0
            codec.bit_rate = settings.bitrate_bps
            codec.color_range = _LIMITED_RANGE
            codec.colorspace = _BT709
            codec.color_primaries = _BT709
            codec.color_trc = _BT709
            codec.thread_type = ThreadType.SLICE
            codec.thread_count = max(1, min(settings.threads, _MAX_SLICES))
            codec.options = {
                **profile.options,
                "maxrate": str(settings.bitrate_bps),
                "bufsize": str(max(1000, settings.bitrate_bps * VBV_FRAMES // settings.fps)),
            }
            codec.open()
        except (FFmpegError, ValueError, OSError) as error:
            raise EncoderError(f"{profile.name} cannot be opened: {_reason(error)}") from error
        self._codec = codec

    @property
    def name(self) -> str:
        return self._profile.name

    @property
    def settings(self) -> EncoderSettings:
        return self._settings

    @property
    def bitrate_bps(self) -> int:
        return self._settings.bitrate_bps if self._codec is None else int(self._codec.bit_rate or 0)

    def wrap(self, planes: Planes) -> VideoFrame:
        """Return a frame that reads `planes` in place and keeps them alive.

        Raises:
            EncoderError: their shape is not that of the settings.
        """
        rows = self._settings.height * 3 // 2
        if planes.ndim != 2 or planes.shape[0] != rows or planes.shape[1] < self._settings.width:
            raise EncoderError(f"planes of shape {planes.shape} are no {self._settings.width}x{self._settings.height}")
        try:
            return VideoFrame.from_numpy_buffer(planes, self._settings.pixel_format, width=self._settings.width)
        except ValueError as error:
            raise EncoderError(f"planes cannot be used in place: {error}") from error

    def is_instant(self, damage: Sequence[Rect] | None) -> bool:
        return False

    @property
    def follows_damage(self) -> bool:
        return False

    @property
    def is_refined(self) -> bool:
        is_quiet = self._small_repeats >= _REFINED_REPEATS and self._refinements >= _MIN_REFINEMENTS
        return is_quiet or self._refinements >= _MAX_REFINEMENTS

    def encode(
        self,
        planes: Planes,
        *,
        damage: Sequence[Rect] | None = None,
        keyframe: bool,
        pts: int,
        refine: bool = False,
    ) -> EncodedFrame:
        if self._codec is None:
            raise EncoderError("the encoder is closed")
        frame = self.wrap(planes)
        frame.pts = pts
        frame.time_base = _TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        try:
            packets = self._codec.encode(frame)
        except (FFmpegError, ValueError, OSError) as error:
            raise EncoderError(f"{self.name} failed on a frame: {_reason(error)}") from error
        if len(packets) != 1:
            raise EncoderError(f"{self.name} returned {len(packets)} access units for one frame: it delays")
        encoded = EncodedFrame(bytes(packets[0]), packets[0].is_keyframe, pts)
        self._note_refinement(encoded, refine)
        return encoded

    def _note_refinement(self, encoded: EncodedFrame, refine: bool) -> None:
        if not refine or encoded.is_keyframe:
            self._refinements = self._small_repeats = 0
            return
        self._refinements += 1
        self._small_repeats = self._small_repeats + 1 if len(encoded.data) <= _REFINED_BYTES else 0

    def set_bitrate(self, bitrate_bps: int) -> None:
        if self._codec is not None:
            self._codec.bit_rate = max(_MIN_BITRATE_BPS, min(bitrate_bps, self._settings.bitrate_bps))

    def close(self) -> None:
        # PyAV closes a codec when its last reference goes.
        self._codec = None


def _reason(error: Exception) -> str:
    """Return FFmpeg's own words, which tell more than its error code, where it logged some."""
    if isinstance(error, FFmpegError):
        logged = str(error.log[-1]).strip() if error.log else ""
        return logged or error.strerror or str(error)
    return str(error)
