# SPDX-License-Identifier: Apache-2.0
"""A guest program that draws its clock (CLOCK_MONOTONIC, ns) as a barcode at every tick, over a scene.

The time is taken right before the picture is drawn; barcode and scene reach the screen in one step. With --clicks,
a second barcode below counts presses of pointer buttons: it is drawn when the press comes, whatever the tick.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.guest_programs import barcode
from bench.guest_programs.window import BLACK, WHITE, Window

SCENES = ("small", "scroll", "noise", "still")
_LINE_HEIGHT = 16
_PIXELS_PER_TICK = 2
_NOISE_MARGIN = 256
_FONT = b"fixed"
# Of a tick; the golden ratio's multiples spread evenly over it, however many there are.
_PHASE_STEP = 0.618


def draw_barcode(window: Window, value: int, top: int = 0) -> None:
    """Draw a number's barcode into the window's canvas."""
    squares = [(x, top + y, barcode.CELL, barcode.CELL) for x, y in barcode.white_squares(value)]
    window.fill(window.canvas, BLACK, [(0, top, barcode.WIDTH, barcode.HEIGHT)])
    window.fill(window.canvas, WHITE, squares)


class Face:
    """What a scene has in front: the clock, and below it the clicks where they are counted."""

    def __init__(self, window: Window, clock: Callable[[], int], counts_clicks: bool) -> None:
        self._window = window
        self._clock = clock
        self._counts_clicks = counts_clicks

    def draw(self) -> None:
        """Draw all of it; for scenes that draw over it."""
        if self._counts_clicks:
            draw_barcode(self._window, self._window.clicks, barcode.CLICKS_TOP)
        self.draw_clock()

    def draw_clock(self) -> None:
        """Draw what every tick changes."""
        draw_barcode(self._window, self._clock())

    def show_clicks(self) -> None:
        """Draw and show the clicks alone."""
        draw_barcode(self._window, self._window.clicks, barcode.CLICKS_TOP)
        self._window.show(0, barcode.CLICKS_TOP, barcode.WIDTH, barcode.HEIGHT)


def small(window: Window, face: Face) -> Callable[[], None]:
    """Nothing but the barcode changes."""
    for index, colour in enumerate((0x24406E, 0x3A7CA5, 0xD9A441, 0xB5543C)):
        band = window.width // 4
        window.fill(window.canvas, colour, [(index * band, 0, window.width - index * band, window.height)])
    face.draw()
    window.show()

    def draw() -> None:
        face.draw_clock()
        window.show(0, 0, barcode.WIDTH, barcode.HEIGHT)

    return draw


def scroll(window: Window, face: Face) -> Callable[[], None]:
    """Lines of text move up, as in a terminal that scrolls smoothly."""
    # Twice the screen's height, the second half as the first: any offset below the period can be copied at once.
    period = -(-window.height // _LINE_HEIGHT) * _LINE_HEIGHT
    page = window.pixmap(window.width, 2 * period)
    window.fill(page, 0x1D2430, [(0, 0, window.width, 2 * period)])
    font = window.x.generate_id()
    window.core.OpenFont(font, len(_FONT), _FONT)
    words = random.Random(1)
    gc: Any = window.x.generate_id()
    for line in range(period // _LINE_HEIGHT):
        text = "".join(words.choice("abcdefghijklmnopqrstuvwxyz     {}()=+*;._0123456789") for _ in range(250))
        colour = words.choice((0xD8DEE9, 0x88C0D0, 0xA3BE8C, 0xEBCB8B))
        if line == 0:
            window.core.CreateGC(gc, page, 0x4 | 0x8 | 0x4000, [colour, 0x1D2430, font])
        else:
            window.core.ChangeGC(gc, 0x4, [colour])
        for half in (0, period):
            window.core.ImageText8(len(text), page, gc, 0, half + line * _LINE_HEIGHT + 12, text.encode())
    ticks = itertools.count()

    def draw() -> None:
        window.copy(page, window.canvas, 0, next(ticks) * _PIXELS_PER_TICK % period, 0, 0, window.width, window.height)
        face.draw()
        window.show()

    return draw


def noise(window: Window, face: Face) -> Callable[[], None]:
    """Every pixel changes at random: the worst that a codec can get."""
    width, height = window.width + _NOISE_MARGIN, window.height + _NOISE_MARGIN
    page = window.pixmap(width, height)
    window.put_noise(page, width, height)
    places = random.Random(2)

    def draw() -> None:
        x, y = places.randrange(_NOISE_MARGIN), places.randrange(_NOISE_MARGIN)
        window.copy(page, window.canvas, x, y, 0, 0, window.width, window.height)
        face.draw()
        window.show()

    return draw


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or int(match[1]) < barcode.WIDTH or int(match[2]) < barcode.HEIGHT:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT of {barcode.WIDTH}x{barcode.HEIGHT} or more")
    return int(match[1]), int(match[2])


def main() -> None:
    """Draw until the program is ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.guest_programs.clock", description=__doc__)
    parser.add_argument("--size", type=_size, help="the window's size; the whole screen when left out")
    parser.add_argument("--fps", type=float, default=60.0, help="ticks a second (60)")
    parser.add_argument("--scene", choices=SCENES, default="small", help="what moves besides the clock (small)")
    parser.add_argument("--count", action="store_true", help="draw how many pictures there were, not the clock")
    parser.add_argument("--clicks", action="store_true", help="count presses of pointer buttons in a second barcode")
    parser.add_argument("--new-phase-s", type=float, help="how often the ticks begin anew, out of step (never)")
    arguments = parser.parse_args()
    window = Window(arguments.size, arguments.clicks)
    clock = itertools.count().__next__ if arguments.count else time.monotonic_ns
    face = Face(window, clock, arguments.clicks)
    scene = arguments.scene
    draw = {"small": small, "still": small, "scroll": scroll, "noise": noise}[scene](window, face)
    window.map()
    interval_s = 1.0 / arguments.fps
    begin_s, tick = time.monotonic(), 0
    while True:
        draw()
        if arguments.new_phase_s and time.monotonic() - begin_s > arguments.new_phase_s:
            begin_s, tick = begin_s + (tick + _PHASE_STEP) * interval_s, 0
        # Ticks that have passed already are left out, not made up for.
        tick = max(tick + 1, int((time.monotonic() - begin_s) / interval_s))
        while True:
            _handle_events(window, face)
            left_s = begin_s + tick * interval_s - time.monotonic()
            if scene != "still" and left_s <= 0:
                break
            window.wait(None if scene == "still" else left_s)


def _handle_events(window: Window, face: Face) -> None:
    clicks = window.clicks
    if window.take_events():
        window.show()
    if window.clicks != clicks:
        face.show_clicks()


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
