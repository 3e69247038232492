# SPDX-License-Identifier: Apache-2.0
"""The stream core's H.264 encoder (include/sc_encoder.h): its work follows the damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from render_core import Rect
from streamer.encode.encoder import EncodedFrame, EncoderError, EncoderSettings, Planes
from streamer.stream_core._ffi import ffi, lib

NAME = "x264"
# So many changed pixels take some 0.2 ms at the most.
INSTANT_PIXELS = 65_536
Path = Literal["auto", "x264", "plain"]
_PATHS = {"auto": lib.SC_PATH_AUTO, "x264": lib.SC_PATH_X264, "plain": lib.SC_PATH_X264_PLAIN}


@dataclass(frozen=True, slots=True)
class UnitStatistics:
    """How the last picture was coded. `changed` and `refined` count macroblocks; `qp` is 0 where x264 chose it."""

    is_patch: bool
    changed: int
    refined: int
    qp: int


class DamageEncoder:
    """An Encoder on libx264 and on slices of our own. See the protocol for the contract."""

    def __init__(
        self,
        settings: EncoderSettings,
        *,
        path: Path = "auto",
        threads: int | None = None,
        constant_qp: int | None = None,
    ) -> None:
        """Open it. `path` and `constant_qp` (x264's rate control left out) are for measurements.

        Raises:
            EncoderError: it cannot be opened here; the text says why.
        """
        self._settings = settings
        self._text = ffi.new("char[]", lib.SC_ENCODER_TEXT_BYTES)
        params = ffi.new(
            "struct sc_encoder_params *",
            {
                "width": settings.width,
                "height": settings.height,
                "fps": settings.fps,
                "bitrate_bps": settings.bitrate_bps,
                "threads": max(1, min(threads or settings.threads, 4)),
                "path": _PATHS[path],
                "nv12": settings.pixel_format == "nv12",
                "constant_qp": constant_qp is not None,
                "qp": constant_qp or 0,
            },
        )
        out = ffi.new("struct sc_encoder **")
        result = lib.sc_encoder_create(params, out, self._text)
        if result != lib.SC_OK:
            raise EncoderError(f"{NAME} cannot be opened: {self._reason(result)}")
        self._encoder = ffi.gc(out[0], lib.sc_encoder_destroy)
        self._picture = ffi.new("struct sc_encoder_picture *")
        self._unit = ffi.new("struct sc_encoder_unit *")
        self.statistics = UnitStatistics(False, 0, 0, 0)

    @property
    def name(self) -> str:
        return NAME

    @property
    def settings(self) -> EncoderSettings:
        return self._settings

    @property
    def bitrate_bps(self) -> int:
        return 0 if self._encoder is None else int(lib.sc_encoder_bitrate(self._encoder))

    @property
    def follows_damage(self) -> bool:
        return True

    @property
    def is_refined(self) -> bool:
        return self.unrefined == 0

    def is_instant(self, damage: Sequence[Rect] | None) -> bool:
        return damage is not None and sum(rect.width * rect.height for rect in damage) <= INSTANT_PIXELS

    @property
    def unrefined(self) -> int:
        """Macroblocks that are not known to be sharp."""
        return 0 if self._encoder is None else int(lib.sc_encoder_unrefined(self._encoder))

    def encode(
        self,
        planes: Planes,
        *,
        damage: Sequence[Rect] | None = None,
        keyframe: bool,
        pts: int,
        refine: bool = False,
    ) -> EncodedFrame | None:
        if self._encoder is None:
            raise EncoderError("the encoder is closed")
        rows = self._settings.height * 3 // 2
        if planes.ndim != 2 or planes.shape[0] != rows or planes.shape[1] < self._settings.width:
            raise EncoderError(f"planes of shape {planes.shape} are no {self._settings.width}x{self._settings.height}")
        if not planes.flags.c_contiguous:
            raise EncoderError("planes cannot be used in place: their rows are apart")
        picture, unit = self._picture, self._unit
        buffer = ffi.from_buffer(planes)
        picture.planes = ffi.cast("uint8_t *", buffer)
        picture.planes_bytes = len(buffer)
        picture.stride = planes.shape[1]
        rects = ffi.NULL
        if damage is not None:
            try:
                rects = ffi.new("struct sc_encoder_rect[]", [(r.x, r.y, r.width, r.height) for r in damage] or 1)
            except OverflowError as error:
                raise EncoderError(f"damage: {error}") from error
        picture.damage = rects
        picture.damage_count = 0 if damage is None else len(damage)
        picture.keyframe = keyframe
        picture.refine = refine
        picture.pts = pts
        result = lib.sc_encoder_encode(self._encoder, picture, unit, self._text)
        if result != lib.SC_OK:
            raise EncoderError(f"{NAME}: {self._reason(result)}")
        self.statistics = UnitStatistics(unit.is_patch, unit.changed, unit.refined, unit.qp)
        if unit.data == ffi.NULL:
            return None
        return EncodedFrame(bytes(ffi.buffer(unit.data, unit.bytes)), bool(unit.is_keyframe), pts)

    def set_bitrate(self, bitrate_bps: int) -> None:
        if self._encoder is not None:
            lib.sc_encoder_set_bitrate(self._encoder, max(0, min(bitrate_bps, 2**32 - 1)))

    def close(self) -> None:
        if self._encoder is not None:
            ffi.release(self._encoder)
            self._encoder = None

    def _reason(self, result: int) -> str:
        text: str = ffi.string(self._text).decode(errors="replace")
        return text or str(ffi.string(lib.sc_result_text(result)).decode())
