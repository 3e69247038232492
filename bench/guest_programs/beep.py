# SPDX-License-Identifier: Apache-2.0
"""A guest program that flashes and beeps at the same moment, as a player does that keeps picture and sound together:
the flash is drawn when the sound server says that the beep is heard."""

from __future__ import annotations

import argparse
import array
import ctypes
import math
import random
import sys
import threading
import time
from typing import Any

from bench.guest_programs.window import BLACK, WHITE, Window

RATE_HZ = 48_000
_CHUNK_SAMPLES = 240  # 5 ms
_BUFFER_SAMPLES = 960
_BEEP_CHUNKS = 20
_FLASH_S = 0.1
_AMPLITUDE = 12_000
_S16LE = 3
_PLAYBACK = 1


class _SampleSpec(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _BufferAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


class Player:
    """A playback stream of PulseAudio's simple API: stereo, s16le."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL("libpulse-simple.so.0")
        self._library.pa_simple_new.restype = ctypes.c_void_p
        self._library.pa_simple_get_latency.restype = ctypes.c_uint64
        spec = _SampleSpec(_S16LE, RATE_HZ, 2)
        default = 2**32 - 1
        attributes = _BufferAttributes(default, 4 * _BUFFER_SAMPLES, 0, 4 * _CHUNK_SAMPLES, default)
        error = ctypes.c_int(0)
        handle = self._library.pa_simple_new(
            *(None, b"beep", _PLAYBACK, None, b"beep"),
            *(ctypes.byref(spec), None, ctypes.byref(attributes), ctypes.byref(error)),
        )
        if not handle:
            raise SystemExit(f"no sound server: error {error.value}")
        self._handle = ctypes.c_void_p(handle)

    def write(self, data: bytes) -> None:
        """Play; waits until there is room."""
        if self._library.pa_simple_write(self._handle, data, ctypes.c_size_t(len(data)), None) < 0:
            raise SystemExit("the sound server is gone")

    def latency_s(self) -> float:
        """Return in how long what is written next will be heard."""
        latency_us: int = self._library.pa_simple_get_latency(self._handle, None)
        return latency_us / 1e6


def tone_chunks(left_hz: float, right_hz: float, count: int) -> list[bytes]:
    """Return `count` chunks of two tones, one a channel."""
    samples = array.array("h")
    for index in range(count * _CHUNK_SAMPLES):
        for frequency in (left_hz, right_hz):
            samples.append(round(_AMPLITUDE * math.sin(2 * math.pi * frequency * index / RATE_HZ)))
    data = samples.tobytes()
    size = 4 * _CHUNK_SAMPLES
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


class Flash(threading.Thread):
    """A square in the left upper corner, white for a moment at each of the times it is told (time.monotonic())."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._window = Window((256, 256))
        self._condition = threading.Condition()
        self._next_s: float | None = None

    def at(self, when_s: float) -> None:
        with self._condition:
            self._next_s = when_s
            self._condition.notify()

    def run(self) -> None:
        self._window.map()
        self._paint(BLACK)
        while True:
            with self._condition:
                while self._next_s is None:
                    self._condition.wait()
                when_s, self._next_s = self._next_s, None
            time.sleep(max(0.0, when_s - time.monotonic()))
            self._paint(WHITE)
            time.sleep(_FLASH_S)
            self._paint(BLACK)

    def _paint(self, colour: int) -> None:
        window = self._window
        window.take_events()
        window.fill(window.canvas, colour, [(0, 0, window.width, window.height)])
        window.show()


def main() -> None:
    """Flash and beep until the program is ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.guest_programs.beep", description=__doc__)
    parser.add_argument("--period", type=float, default=0.7, help="seconds between two beeps, about (0.7)")
    parser.add_argument("--left", type=float, default=1000.0, help="the left channel's tone in Hz (1000)")
    parser.add_argument("--right", type=float, default=1000.0, help="the right channel's tone in Hz (1000)")
    parser.add_argument(
        "--late", type=float, default=0.0, help="ms that the flash comes late, to try a measurement (0)"
    )
    parser.add_argument("--steady", action="store_true", help="the tone without end, no flash")
    arguments = parser.parse_args()
    player = Player()
    silence = bytes(4 * _CHUNK_SAMPLES)
    beep = tone_chunks(arguments.left, arguments.right, _BEEP_CHUNKS if not arguments.steady else 200)
    if arguments.steady:
        while True:
            for chunk in beep:
                player.write(chunk)
    flash = Flash()
    flash.start()
    # Not in step with the pictures' rate, and the same at every run.
    chance = random.Random(1)
    while True:
        pause_s = arguments.period * (0.8 + 0.4 * chance.random())
        for _ in range(round(pause_s * RATE_HZ / _CHUNK_SAMPLES)):
            player.write(silence)
        flash.at(time.monotonic() + player.latency_s() + arguments.late / 1000)
        for chunk in beep:
            player.write(chunk)


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
