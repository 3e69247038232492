# SPDX-License-Identifier: Apache-2.0
"""x264 through PyAV: in place, in order, keyframes only on demand, a rate that follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from streamer.encode.av_encoder import AvEncoder
from streamer.encode.encoder import EncoderError, EncoderSettings, PixelFormat, Planes
from streamer.encode.probe import choose, software_after
from streamer.encode.profiles import profile_by_name
from streamer.encode.sps import NAL_IDR, NAL_PPS, NAL_SPS, find_sps, nal_types

SETTINGS = EncoderSettings(width=320, height=240, pixel_format="yuv420p", fps=60, bitrate_bps=4_000_000)
STRIDE = 384


def make_encoder(settings: EncoderSettings = SETTINGS) -> AvEncoder:
    profile = profile_by_name("libx264")
    assert profile is not None
    return AvEncoder(profile, settings)


@pytest.fixture
def encoder() -> Iterator[AvEncoder]:
    made = make_encoder()
    yield made
    made.close()


def noise(rng: np.random.Generator, settings: EncoderSettings = SETTINGS) -> Planes:
    return rng.integers(16, 235, (settings.height * 3 // 2, STRIDE), np.uint8)


def test_the_first_frame_is_a_keyframe_and_no_other_is_unless_asked(encoder: AvEncoder) -> None:
    rng = np.random.default_rng(1)
    for index in range(300):
        # Every frame is a scene of its own: encoders like to put keyframes there.
        wanted = index == 200
        frame = encoder.encode(noise(rng), keyframe=wanted, pts=index * 1500)
        assert frame.is_keyframe == (index in (0, 200))
        kinds = nal_types(frame.data)
        assert (NAL_IDR in kinds) == frame.is_keyframe
        if frame.is_keyframe:
            assert kinds.index(NAL_SPS) < kinds.index(NAL_PPS) < kinds.index(NAL_IDR)
        assert kinds.count(1) + kinds.count(5) <= 4, "browsers' decoders take four slices"
        assert frame.pts == index * 1500


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_the_parameter_set_says_no_reordering_and_bt709(pixel_format: PixelFormat) -> None:
    encoder = make_encoder(replace(SETTINGS, pixel_format=pixel_format, width=642, height=364))
    planes = np.full((364 * 3 // 2, 704), 128, np.uint8)
    sps = find_sps(encoder.encode(planes, keyframe=True, pts=0).data)
    encoder.close()
    assert sps is not None
    assert sps.max_num_reorder_frames == 0
    assert sps.max_dec_frame_buffering == 1
    assert sps.is_constrained_baseline
    assert (sps.width, sps.height) == (642, 364)
    assert (sps.full_range, sps.colour_primaries, sps.transfer, sps.matrix) == (False, 1, 1, 1)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_planes_are_read_in_place(pixel_format: PixelFormat) -> None:
    encoder = make_encoder(replace(SETTINGS, pixel_format=pixel_format))
    slot = np.zeros((360, STRIDE), np.uint8)
    slot.flags.writeable = False
    frame = encoder.wrap(slot)
    address = slot.ctypes.data
    luma = 240 * STRIDE
    if pixel_format == "nv12":
        expected = [(address, STRIDE), (address + luma, STRIDE)]
    else:
        expected = [(address, STRIDE), (address + luma, STRIDE // 2), (address + luma + luma // 4, STRIDE // 2)]
    assert [(plane.buffer_ptr, plane.line_size) for plane in frame.planes] == expected
    assert encoder.encode(slot, keyframe=False, pts=0).is_keyframe
    encoder.close()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_the_picture_comes_back_right(pixel_format: PixelFormat) -> None:
    encoder = make_encoder(replace(SETTINGS, pixel_format=pixel_format))
    planes = np.empty((360, STRIDE), np.uint8)
    planes[:240, :160], planes[:240, 160:] = 60, 190
    chroma = planes[240:]
    if pixel_format == "nv12":
        chroma[:, 0::2], chroma[:, 1::2] = 90, 170
    else:
        chroma[:60], chroma[60:] = 90, 170
    data = encoder.encode(planes, keyframe=True, pts=0).data
    encoder.close()
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    assert len(frames) == 1
    picture = np.asarray(frames[0].to_ndarray(format="yuv420p"))
    assert abs(int(picture[100, 40]) - 60) <= 3 and abs(int(picture[100, 280]) - 190) <= 3
    assert abs(int(picture[260, 50]) - 90) <= 4 and abs(int(picture[330, 50]) - 170) <= 4


def test_the_rate_changes_without_another_encoder(encoder: AvEncoder) -> None:
    rng = np.random.default_rng(3)
    codec = encoder._codec
    pts = iter(range(0, 10**9, 1500))

    def size(count: int) -> int:
        frames = [encoder.encode(noise(rng), keyframe=False, pts=next(pts)) for _ in range(count)]
        # What the rate control needs to get there does not count.
        return sum(len(frame.data) for frame in frames[count // 2 :])

    first = size(60)
    encoder.set_bitrate(1_000_000)
    assert encoder.bitrate_bps == 1_000_000
    low = size(60)
    encoder.set_bitrate(4_000_000)
    high = size(60)
    assert low < first / 2 and low < high / 2
    assert encoder._codec is codec
    encoder.set_bitrate(400_000_000)
    assert encoder.bitrate_bps == SETTINGS.bitrate_bps


def test_no_frame_is_larger_than_its_share_allows(encoder: AvEncoder) -> None:
    rng = np.random.default_rng(4)
    sizes = [len(encoder.encode(noise(rng), keyframe=index == 30, pts=index * 1500).data) for index in range(60)]
    share = SETTINGS.bitrate_bps // SETTINGS.fps // 8
    # The rate control only estimates, and noise is its worst case.
    assert max(sizes[1:]) < 4 * share


def test_a_still_picture_costs_less_and_less(encoder: AvEncoder) -> None:
    still = noise(np.random.default_rng(5))
    sizes = [len(encoder.encode(still, keyframe=False, pts=index * 1500).data) for index in range(120)]
    assert sizes[-1] < 400
    assert sizes[-1] < sizes[0] / 10


def test_wrong_planes_are_refused(encoder: AvEncoder) -> None:
    for shape in ((240, STRIDE), (360, 300), (360,)):
        with pytest.raises(EncoderError, match="planes"):
            encoder.encode(np.zeros(shape, np.uint8), keyframe=False, pts=0)
    encoder.close()
    encoder.close()
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(np.zeros((360, STRIDE), np.uint8), keyframe=False, pts=0)


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(EncoderError, match="libx264 cannot be opened"):
        make_encoder(replace(SETTINGS, width=321, height=241))


def test_probe_falls_back_to_software_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert choose("no_such_encoder").name == choose("auto").name
    assert "no_such_encoder is unknown" in caplog.text
    assert choose("libx264").name == "libx264"


def test_without_the_systems_libx264_pyavs_is_chosen_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: EncoderSettings) -> None:
        raise EncoderError("x264 cannot be opened: libx264.so.164 cannot be loaded")

    caplog.set_level("INFO")
    assert choose("auto").name == "x264"
    monkeypatch.setattr("streamer.encode.probe.DamageEncoder", refuse)
    assert choose("auto").name == "libx264"
    assert "encoder x264 is not usable here: cannot be opened: libx264.so.164 cannot be loaded" in caplog.text
    assert software_after("h264_nvenc") == profile_by_name("libx264")
    assert software_after("libx264") is None


def test_time_base_is_that_of_rtp(encoder: AvEncoder) -> None:
    frame = encoder.wrap(np.zeros((360, STRIDE), np.uint8))
    frame.pts, frame.time_base = 90_000, Fraction(1, 90_000)
    assert frame.time == 1.0
