# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.pipeline_guest`: a guest on the display link that ticks, until its standard input ends."""

from __future__ import annotations

import argparse
import select
import sys
import time

import numpy as np

from bench.synthetic_guest import SyntheticGuest
from bench.text_page import text_page

SCENES = ("small", "scroll")
# As bench/guest_programs/clock.py has them.
SMALL_WIDTH, SMALL_HEIGHT, CELL = 256, 96, 16
PIXELS_PER_TICK = 2


def main() -> None:
    """Draw and flush at every tick. One that takes longer than a tick leaves the next out."""
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline_guest", description=__doc__)
    parser.add_argument("path", help="the worker's display link")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--scene", choices=SCENES, default="scroll")
    parser.add_argument("--fps", type=float, default=60.0)
    args = parser.parse_args()
    width, height, interval_s = args.width, args.height, 1.0 / args.fps
    # Twice, so that any offset below the period can be copied at once.
    once = text_page(width, height)
    page = np.repeat(np.concatenate((once, once))[:, :, None], 4, axis=2)
    random = np.random.default_rng(2)
    with SyntheticGuest(args.path, width, height) as guest:
        guest.pixels[...] = page[:height]
        guest.flush(0, 0, width, height)
        begin_s, tick = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], max(0.0, begin_s + tick * interval_s - time.monotonic()))[0]:
            if args.scene == "small":
                squares = random.integers(0, 2, (SMALL_HEIGHT // CELL, SMALL_WIDTH // CELL), np.uint8) * 255
                cells = squares.repeat(CELL, axis=0).repeat(CELL, axis=1)
                guest.pixels[:SMALL_HEIGHT, :SMALL_WIDTH] = cells[:, :, None]
                guest.flush(0, 0, SMALL_WIDTH, SMALL_HEIGHT)
            else:
                offset = tick * PIXELS_PER_TICK % height
                guest.pixels[...] = page[offset : offset + height]
                guest.flush(0, 0, width, height)
            tick = max(tick + 1, int((time.monotonic() - begin_s) / interval_s))


if __name__ == "__main__":
    main()
