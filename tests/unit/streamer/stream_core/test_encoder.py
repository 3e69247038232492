# SPDX-License-Identifier: Apache-2.0
"""The stream core's encoder: what is decoded is the picture, whatever the damage; still pictures get sharp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import av
import numpy as np
import pytest

from render_core import Rect
from streamer.encode.encoder import EncodedFrame, EncoderError, EncoderSettings, PixelFormat, Planes
from streamer.encode.sps import NAL_IDR, NAL_PPS, NAL_SPS, find_sps, nal_types
from streamer.stream_core.encoder import DamageEncoder, Path

SETTINGS = EncoderSettings(width=320, height=240, pixel_format="yuv420p", fps=60, bitrate_bps=4_000_000)
TICK = 1500


class Screen:
    """A picture that is drawn on, its encoder, and a decoder that shows what a viewer sees."""

    def __init__(self, settings: EncoderSettings = SETTINGS, path: Path = "auto", seed: int = 1) -> None:
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        self.stride = (settings.width + 63) // 64 * 64
        self.planes: Planes = np.full((settings.height * 3 // 2, self.stride), 128, np.uint8)
        self.planes[: settings.height] = 220
        self.encoder = DamageEncoder(settings, path=path)
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._pts = 0
        self.shown: Planes | None = None

    def encode(
        self,
        damage: list[Rect] | None = None,
        *,
        keyframe: bool = False,
        refine: bool = False,
        ticks: int = TICK,
    ) -> EncodedFrame | None:
        self._pts += ticks
        frame = self.encoder.encode(self.planes, damage=damage, keyframe=keyframe, pts=self._pts, refine=refine)
        if frame is not None:
            (shown,) = self._decoder.decode(av.Packet(frame.data))
            self.shown = np.asarray(shown.to_ndarray(format="yuv420p"))
        return frame

    def refine(self) -> list[EncodedFrame]:
        """Until it is sharp."""
        frames: list[EncodedFrame] = []
        for _ in range(500):
            if self.encoder.is_refined:
                return frames
            frame = self.encode([], refine=True, ticks=2 * TICK)
            if frame is not None:
                frames.append(frame)
        raise AssertionError("the picture does not get sharp")

    def source(self) -> tuple[Planes, Planes, Planes]:
        width, height, chroma = self.settings.width, self.settings.height, self.planes[self.settings.height :]
        luma = self.planes[:height, :width]
        if self.settings.pixel_format == "nv12":
            return luma, chroma[:, 0:width:2], chroma[:, 1:width:2]
        half = chroma.reshape(2, height // 2, self.stride // 2)
        return luma, half[0, :, : width // 2], half[1, :, : width // 2]

    def psnr_db(self, part: Rect | None = None) -> float:
        """Of the worst plane; luma alone with `part`."""
        assert self.shown is not None
        width, height = self.settings.width, self.settings.height
        half = self.shown[height:].reshape(2, height // 2, width // 2)
        pairs = list(zip((self.shown[:height], half[0], half[1]), self.source(), strict=True))
        if part is not None:
            window = np.s_[part.y : part.y + part.height, part.x : part.x + part.width]
            pairs = [(pairs[0][0][window], pairs[0][1][window])]
        errors = [float(np.mean((a.astype(np.int32) - b) ** 2)) for a, b in pairs]
        return 10 * float(np.log10(255**2 / max(*errors, 1e-9)))

    def draw(self, most: int = 200) -> Rect:
        """Something at a random place, of a kind that screens show; where it is."""
        sizes = (self.settings.width, self.settings.height)
        width, height = (int(self.rng.integers(1, min(most, size))) for size in sizes)
        x = int(self.rng.integers(0, self.settings.width - width + 1))
        y = int(self.rng.integers(0, self.settings.height - height + 1))
        luma = self.planes[y : y + height, x : x + width]
        match self.rng.integers(3):
            case 0:
                luma[:] = self.rng.integers(16, 235)
            case 1:
                luma[:] = np.where(self.rng.random(luma.shape) < 0.2, 30, 220)
            case _:
                luma[:] = np.linspace(30, 200, width, dtype=np.uint8)
        for plane in self.source()[1:]:
            plane[y // 2 : (y + height + 1) // 2, x // 2 : (x + width + 1) // 2] = self.rng.integers(60, 200)
        return Rect(x, y, width, height)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.encoder.close()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("size", [(320, 240), (642, 364), (50, 20)])
def test_what_is_decoded_is_the_picture_over_random_damage(pixel_format: PixelFormat, size: tuple[int, int]) -> None:
    settings = replace(SETTINGS, pixel_format=pixel_format, width=size[0], height=size[1], bitrate_bps=40_000_000)
    screen = Screen(settings)
    # The same without hints and slices of ours: what a part may look like.
    plain = Screen(settings, path="plain")
    plain.planes = screen.planes
    kinds = set()
    for index in range(150):
        damage = [screen.draw(16 if index % 3 else 300) for _ in range(int(screen.rng.integers(1, 4)))]
        screen.encode(damage, keyframe=index == 80, refine=index % 5 == 0)
        kinds.add(screen.encoder.statistics.is_patch)
        plain.encode(keyframe=index == 80)
        assert screen.psnr_db() > min(30.0, plain.psnr_db() - 3), f"picture {index} is stale or broken"
    assert kinds == {True, False}
    screen.refine()
    assert screen.psnr_db() >= 45


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_what_scrolls_stays_sharp(pixel_format: PixelFormat) -> None:
    settings = replace(SETTINGS, pixel_format=pixel_format, width=642, height=484, bitrate_bps=30_000_000)
    screen = Screen(settings)
    for _ in range(40):
        screen.draw(120)
    screen.encode()
    screen.refine()
    patches = 0
    for index in range(60):
        # Whole screens and windows, up and down, odd and even, with and without something that moves on its own.
        x, y, width, height = ((0, 0, 642, 484), (100, 61, 403, 333), (64, 48, 320, 400))[index % 3]
        shift = int(screen.rng.integers(-100, 101)) or 1
        for plane, part in zip(screen.source(), (1, 2, 2), strict=True):
            window = plane[y // part : (y + height) // part, x // part : (x + width) // part]
            # Chroma moves by what is nearest.
            window[:] = np.roll(window, shift // part, axis=0)
        damage = [Rect(x, y, width, height)]
        if index % 2:
            damage.append(screen.draw(40))
        screen.encode(damage)
        patches += screen.encoder.statistics.is_patch
        assert screen.psnr_db() > 24, f"picture {index} is stale or broken"
        if index % 4 == 3:
            screen.refine()
            assert screen.psnr_db() >= 44
    assert patches > 15


def test_helpers_leave_nothing_out() -> None:
    settings = replace(SETTINGS, width=1284, height=724, bitrate_bps=60_000_000, threads=4)
    screen = Screen(settings)
    for _ in range(40):
        screen.draw(200)
    screen.encode()
    screen.refine()
    patches = 0
    for shift in (3, -5, 40, -2, 17, -64, 1, 8):
        for plane, part in zip(screen.source(), (1, 2, 2), strict=True):
            plane[:] = np.roll(plane, 2 * shift // part, axis=0)
        damage = [Rect(0, 0, 1284, 724), screen.draw(60)]
        screen.encode(damage)
        patches += screen.encoder.statistics.is_patch
        screen.refine()
        assert screen.psnr_db() >= 44, f"rows are missing after {shift}"
    assert patches >= 4


def test_a_change_reaches_the_viewer_even_where_the_rate_is_small() -> None:
    screen = Screen(replace(SETTINGS, bitrate_bps=200_000))
    screen.encode()
    for index in range(60):
        rect = screen.draw(60)
        screen.encode([rect])
        assert screen.psnr_db(rect) > 12, f"nothing of picture {index} is to be seen"


def test_small_changes_are_coded_by_themselves_and_small(screen: Screen) -> None:
    screen.encode()
    screen.refine()
    screen.planes[100:116, 100:102] = 20
    frame = screen.encode([Rect(100, 100, 2, 16)])
    assert frame is not None and len(frame.data) < 300
    assert screen.encoder.statistics.is_patch and screen.encoder.statistics.changed <= 2
    assert screen.psnr_db() >= 45
    assert screen.encoder.is_refined


def test_what_is_drawn_again_unchanged_costs_nothing(screen: Screen) -> None:
    screen.encode()
    assert screen.encode(None) is None
    assert screen.encode([Rect(0, 0, 320, 240)]) is None
    screen.planes[7, 9] ^= 64
    assert screen.encode(None) is not None
    assert screen.encoder.statistics.changed == 1


@pytest.mark.parametrize("path", ["auto", "x264"])
def test_a_still_picture_gets_sharp_and_is_then_only_repeated(path: Path) -> None:
    screen = Screen(path=path)
    screen.planes[:240] = np.where(screen.rng.random((240, screen.stride)) < 0.1, 30, 220)
    screen.encode()
    assert not screen.encoder.is_refined
    screen.refine()
    if path == "auto":
        assert screen.psnr_db() >= 45
        repeated = screen.encode([], refine=True)
        assert repeated is not None and len(repeated.data) < 20
    assert screen.encode([]) is None


def test_still_parts_get_sharp_beside_what_moves() -> None:
    screen = Screen()
    still, moving = Rect(0, 0, 320, 160), Rect(0, 176, 320, 64)
    screen.planes[:160] = np.where(screen.rng.random((160, screen.stride)) < 0.1, 30, 220)
    screen.encode()
    before = screen.psnr_db(still)
    for index in range(240):
        screen.planes[176:240] = screen.rng.integers(100, 140, (64, screen.stride))
        screen.encode([moving])
        if index % 6 == 5:
            screen.encode([], refine=True, ticks=1)
    assert screen.psnr_db(still) > before + 6
    assert screen.psnr_db(moving) > 20


def test_keyframes_come_on_demand_and_only_then(screen: Screen) -> None:
    for index in range(60):
        wanted = index in (0, 20, 41)
        if index % 2:
            screen.planes[: screen.settings.height] = screen.rng.integers(16, 235, (240, screen.stride))
            damage = None
        else:
            damage = [screen.draw(30)]
        frame = screen.encode(damage, keyframe=wanted)
        assert frame is not None and frame.is_keyframe == wanted
        kinds = nal_types(frame.data)
        assert (NAL_IDR in kinds) == wanted and (NAL_SPS in kinds) == wanted and (NAL_PPS in kinds) == wanted
        assert kinds.count(1) + kinds.count(5) <= 4


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_the_parameter_set_says_no_reordering_and_bt709(pixel_format: PixelFormat) -> None:
    screen = Screen(replace(SETTINGS, pixel_format=pixel_format, width=642, height=364))
    frame = screen.encode()
    assert frame is not None
    sps = find_sps(frame.data)
    assert sps is not None
    assert sps.max_num_reorder_frames == 0 and sps.max_dec_frame_buffering == 1
    assert sps.is_constrained_baseline and (sps.width, sps.height) == (642, 364)
    assert (sps.full_range, sps.colour_primaries, sps.transfer, sps.matrix) == (False, 1, 1, 1)


def test_the_rate_changes_both_ways_without_a_keyframe(screen: Screen) -> None:
    def size() -> int:
        frames = []
        for _ in range(60):
            screen.planes[:240] = screen.rng.integers(16, 235, (240, screen.stride))
            frames.append(screen.encode())
        assert all(frame is not None and NAL_SPS not in nal_types(frame.data) for frame in frames[1:])
        # What the rate control needs to get there does not count.
        return sum(len(frame.data) for frame in frames[30:] if frame is not None)

    first = size()
    screen.encoder.set_bitrate(1_000_000)
    assert screen.encoder.bitrate_bps == 1_000_000
    low = size()
    screen.encoder.set_bitrate(16_000_000)
    high = size()
    assert low < first / 2 and high > first * 2


def test_patches_keep_to_the_budget() -> None:
    screen = Screen(replace(SETTINGS, width=640, height=480, bitrate_bps=2_000_000))
    screen.encode()
    share = 2_000_000 // 60 // 8
    for _ in range(30):
        screen.planes[100:164, 100:356] = screen.rng.integers(16, 235, (64, 256))
        frame = screen.encode([Rect(100, 100, 256, 64)])
        assert frame is not None and screen.encoder.statistics.is_patch
        assert len(frame.data) <= 3 * share


@pytest.mark.parametrize(
    ("rect", "text"),
    [
        (Rect(0, 0, 0, 5), r"damage\[1\]: 0x5\+0\+0 is empty"),
        (Rect(300, 0, 21, 5), r"damage\[1\]: .* not within 320x240"),
        (Rect(0, 240, 1, 1), r"damage\[1\]"),
        (Rect(2**32 - 1, 0, 2, 1), r"damage\[1\]"),
        (Rect(1, 1, 2**32 - 1, 2**32 - 1), r"damage\[1\]"),
        (Rect(-1, 0, 2, 2), "damage"),
        (Rect(0, 0, 2**32, 2), "damage"),
    ],
)
def test_damage_out_of_range_is_refused_by_name(screen: Screen, rect: Rect, text: str) -> None:
    screen.encode()
    with pytest.raises(EncoderError, match=text):
        screen.encode([Rect(0, 0, 16, 16), rect])
    screen.planes[:16, :16] = 50
    assert screen.encode([Rect(0, 0, 16, 16)]) is not None


def test_too_many_rectangles_and_a_clock_that_stands_are_refused(screen: Screen) -> None:
    screen.encode()
    with pytest.raises(EncoderError, match="damage: more than"):
        screen.encode([Rect(0, 0, 1, 1)] * 4097)
    with pytest.raises(EncoderError, match="pts"):
        screen.encode([], ticks=-2 * TICK)


def test_wrong_planes_are_refused(screen: Screen) -> None:
    for shape in ((240, 384), (360, 300), (360,)):
        with pytest.raises(EncoderError, match="planes"):
            screen.encoder.encode(np.zeros(shape, np.uint8), keyframe=False, pts=1)
    with pytest.raises(EncoderError, match="rows are apart"):
        screen.encoder.encode(np.zeros((720, 384), np.uint8)[::2], keyframe=False, pts=1)
    screen.encoder.close()
    screen.encoder.close()
    with pytest.raises(EncoderError, match="closed"):
        screen.encoder.encode(screen.planes, keyframe=False, pts=1)


@pytest.mark.parametrize("size", [(321, 240), (320, 242), (0, 240), (320, 20000)])
def test_sizes_that_cannot_be_are_refused_by_name(size: tuple[int, int]) -> None:
    with pytest.raises(EncoderError, match=r"width|height"):
        DamageEncoder(replace(SETTINGS, width=size[0], height=size[1]))
