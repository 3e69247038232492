# SPDX-License-Identifier: Apache-2.0
"""A second encode of the same pictures, fewer and smaller, for viewers whose path is far below the others'.

It has an encoder of its own, opened when the first such viewer appears and closed with the last, and never more than
MAX_FPS pictures a second: what it costs the others is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamer.encode.encoder import EncodedFrame, Encoder, EncoderSettings, Planes
from streamer.rate_policy import frame_rate

NS = 1_000_000_000
MAX_FPS = 15
# The encoder is opened for so much more than is wanted, and again when that is far off; so large are its keyframes.
HEADROOM, MAX_HEADROOM = 1.3, 4.0
MIN_REOPEN_NS = 2 * NS
KEYFRAME_INTERVAL_NS = 1 * NS


class SlowStream:
    """Driven by the pipeline. `encode()` and `close()` run on the encoder's thread, the rest on the event loop.

    `ready_ns` says when the slow viewers can take the next frame.
    """

    def __init__(
        self, open_encoder: Callable[[EncoderSettings], Encoder], ready_ns: Callable[[], int] = lambda: 0
    ) -> None:
        self._open_encoder = open_encoder
        self._ready_ns = ready_ns
        self._target_bps: int | None = None
        self._encoder: Encoder | None = None
        self._opened_ns = -MIN_REOPEN_NS
        self._keyframe_wanted = False
        self._keyframe_ns = -KEYFRAME_INTERVAL_NS
        self._next_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether there is an encoder to be closed."""
        return self._encoder is not None

    def set_target(self, target_bps: int | None) -> None:
        """Aim at that rate; None: nobody watches."""
        self._target_bps = target_bps

    def request_keyframe(self) -> None:
        """Make the next frame a keyframe, at most one a second."""
        self._keyframe_wanted = True

    def is_due(self, now_ns: int) -> bool:
        """Whether the pipeline's picture of now is to be encoded here as well, or the encoder to be closed."""
        if self._target_bps is None:
            return self._encoder is not None
        return now_ns >= max(self._next_ns, self._ready_ns())

    def encode(self, planes: Planes, settings: EncoderSettings, pts: int, now_ns: int) -> EncodedFrame | None:
        """Encode a picture of the pipeline's; None when nothing is to be sent, or nobody watches any more.

        Raises:
            EncoderError: it failed; the encoder is gone then.
        """
        target_bps = self._target_bps
        if target_bps is None:
            self.close()
            return None
        fps = min(MAX_FPS, frame_rate(target_bps, settings.width * settings.height, settings.fps))
        self._next_ns = now_ns + int(NS / fps)
        wanted_bps = int(target_bps * settings.fps / fps)
        try:
            encoder = self._encoder_for(settings, wanted_bps, now_ns)
            encoder.set_bitrate(wanted_bps)
            keyframe = self._keyframe_wanted and now_ns - self._keyframe_ns >= KEYFRAME_INTERVAL_NS
            encoded = encoder.encode(planes, keyframe=keyframe, pts=pts)
        except Exception:
            self.close()
            raise
        if encoded is not None and encoded.is_keyframe:
            self._keyframe_wanted = False
            self._keyframe_ns = now_ns
        return encoded

    def _encoder_for(self, settings: EncoderSettings, wanted_bps: int, now_ns: int) -> Encoder:
        encoder = self._encoder
        if encoder is not None:
            opened_bps = encoder.settings.bitrate_bps
            is_off = not wanted_bps <= opened_bps <= MAX_HEADROOM * wanted_bps
            is_same = encoder.settings == replace(settings, bitrate_bps=opened_bps)
            if is_same and not (is_off and now_ns - self._opened_ns >= MIN_REOPEN_NS):
                return encoder
            self.close()
        self._opened_ns = now_ns
        self._encoder = self._open_encoder(replace(settings, bitrate_bps=int(HEADROOM * wanted_bps)))
        return self._encoder

    def close(self) -> None:
        """Free the encoder. May be called twice."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()
