# SPDX-License-Identifier: Apache-2.0
"""What a decoder learns from an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1 and E.1.1). No I/O.

A browser's decoder holds frames back unless the set says that none are reordered; so we look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NAL_IDR = 5
NAL_SPS = 7
NAL_PPS = 8

_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_EXTENDED_SAR = 255


class SpsError(ValueError):
    """The bytes are no sequence parameter set."""


@dataclass(frozen=True, slots=True)
class Sps:
    """The fields that matter here. `max_num_reorder_frames` is None when the set does not say."""

    profile_idc: int
    constraint_flags: int
    level_idc: int
    width: int
    height: int
    full_range: bool | None
    colour_primaries: int | None
    transfer: int | None
    matrix: int | None
    max_num_reorder_frames: int | None
    max_dec_frame_buffering: int | None

    @property
    def is_constrained_baseline(self) -> bool:
        """Whether a decoder of constrained baseline takes the stream."""
        return self.profile_idc == 66 and bool(self.constraint_flags & 0x40)


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """Yield the NAL units of an Annex B byte stream, without start codes."""
    start = access_unit.find(b"\0\0\1")
    while start >= 0:
        start += 3
        end = access_unit.find(b"\0\0\1", start)
        unit = access_unit[start:] if end < 0 else access_unit[start:end].rstrip(b"\0")
        if unit:
            yield unit
        start = end


def nal_types(access_unit: bytes) -> list[int]:
    """Return the types of the NAL units, in order."""
    return [unit[0] & 0x1F for unit in nal_units(access_unit)]


def find_sps(access_unit: bytes) -> Sps | None:
    """Parse the first sequence parameter set of an access unit; None when it has none.

    Raises:
        SpsError: it is malformed.
    """
    for unit in nal_units(access_unit):
        if unit[0] & 0x1F == NAL_SPS:
            return parse_sps(unit)
    return None


class _Bits:
    """Reads bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        if count > self._left:
            raise SpsError("the set is truncated")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return self.read(1) == 1

    def unsigned(self) -> int:
        """ue(v): Exp-Golomb."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > 32:
                raise SpsError("an Exp-Golomb code is too long")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """se(v)."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def parse_sps(unit: bytes) -> Sps:
    """Parse a NAL unit of type 7 (header byte included).

    Raises:
        SpsError: it is malformed.
    """
    if len(unit) < 4 or unit[0] & 0x1F != NAL_SPS:
        raise SpsError("this is no sequence parameter set")
    bits = _Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
    profile_idc, constraint_flags, level_idc = bits.read(8), bits.read(8), bits.read(8)
    bits.unsigned()  # seq_parameter_set_id
    chroma_format_idc = 1
    if profile_idc in _HIGH_PROFILES:
        chroma_format_idc = bits.unsigned()
        if chroma_format_idc == 3:
            bits.flag()
        bits.unsigned()
        bits.unsigned()
        bits.flag()
        if bits.flag():
            _skip_scaling_lists(bits, 12 if chroma_format_idc == 3 else 8)
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    bits.unsigned()  # max_num_ref_frames
    bits.flag()
    width = (bits.unsigned() + 1) * 16
    map_units = bits.unsigned() + 1
    frames_only = bits.flag()
    if not frames_only:
        bits.flag()
    bits.flag()  # direct_8x8_inference_flag
    height = map_units * 16 * (1 if frames_only else 2)
    if bits.flag():
        step_x = 2 if chroma_format_idc in (1, 2) else 1
        step_y = (2 if chroma_format_idc == 1 else 1) * (1 if frames_only else 2)
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (left + right) * step_x
        height -= (top + bottom) * step_y
    usability: _Usability = _read_vui(bits) if bits.flag() else (None,) * 6
    return Sps(profile_idc, constraint_flags, level_idc, width, height, *usability)


_Usability = tuple[bool | None, int | None, int | None, int | None, int | None, int | None]


def _skip_scaling_lists(bits: _Bits, count: int) -> None:
    for index in range(count):
        if bits.flag():
            last = following = 8
            for _ in range(16 if index < 6 else 64):
                if following:
                    following = (last + bits.signed()) % 256
                last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    order_type = bits.unsigned()
    if order_type == 0:
        bits.unsigned()
    elif order_type == 1:
        bits.flag()
        bits.signed()
        bits.signed()
        cycle = bits.unsigned()
        if cycle > 255:
            raise SpsError("the cycle of picture orders is too long")
        for _ in range(cycle):
            bits.signed()


def _read_vui(bits: _Bits) -> _Usability:
    if bits.flag() and bits.read(8) == _EXTENDED_SAR:
        bits.read(32)
    if bits.flag():
        bits.flag()
    full_range = primaries = transfer = matrix = None
    if bits.flag():
        bits.read(3)
        full_range = bits.flag()
        if bits.flag():
            primaries, transfer, matrix = bits.read(8), bits.read(8), bits.read(8)
    if bits.flag():
        bits.unsigned()
        bits.unsigned()
    if bits.flag():
        bits.read(65)  # timing: two 32-bit numbers and a flag
    has_decoder_models = [_skip_hypothetical_decoder(bits), _skip_hypothetical_decoder(bits)]
    if any(has_decoder_models):
        bits.flag()
    bits.flag()  # pic_struct_present_flag
    if not bits.flag():
        return full_range, primaries, transfer, matrix, None, None
    bits.flag()
    for _ in range(4):
        bits.unsigned()
    return full_range, primaries, transfer, matrix, bits.unsigned(), bits.unsigned()


def _skip_hypothetical_decoder(bits: _Bits) -> bool:
    if not bits.flag():
        return False
    count = bits.unsigned() + 1
    if count > 32:
        raise SpsError("there are too many decoder models")
    bits.read(8)
    for _ in range(count):
        bits.unsigned()
        bits.unsigned()
        bits.flag()
    bits.read(20)
    return True
