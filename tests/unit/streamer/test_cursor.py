# SPDX-License-Identifier: Apache-2.0
"""Cursor images become PNGs that others can read."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streamer.cursor import encode_png


@pytest.mark.parametrize(("width", "height"), [(1, 1), (24, 24), (256, 3)])
def test_a_decoder_reads_the_same_pixels(width: int, height: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 4), np.uint8)
    png = encode_png(width, height, pixels.tobytes())
    decoder = av.CodecContext.create("png", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    frames = [*decoder.decode(av.Packet(png)), *decoder.decode(None)]
    assert (np.asarray(frames[0].to_ndarray(format="bgra")) == pixels).all()


def test_a_wrong_size_is_refused() -> None:
    for width, height, size in ((2, 2, 15), (0, 2, 0), (2, 0, 0)):
        with pytest.raises(ValueError, match="BGRA"):
            encode_png(width, height, bytes(size))
