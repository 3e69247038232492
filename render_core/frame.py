# SPDX-License-Identifier: Apache-2.0
"""Frames in shared memory: the consumer's end of the frame ring (docs/protocol/frame-link.md)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._ffi import ffi, lib
from .errors import InvalidError, check

_FORMATS = {1: "yuv420p", 2: "nv12"}


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of the ring's picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FrameTrace:
    """When a frame passed each border, CLOCK_MONOTONIC ns."""

    flush_ns: int
    convert_begin_ns: int
    gpu_done_ns: int
    handoff_ns: int


@dataclass(frozen=True, slots=True)
class RingLayout:
    """What a RING message says. Sizes in pixels, offsets and strides in bytes."""

    scanout_id: int
    generation: int
    format: int
    width: int
    height: int
    coded_width: int
    coded_height: int
    stride: int
    slot_count: int
    refresh_mhz: int
    source_width: int
    source_height: int
    divisor: int
    slot_offset: int
    slot_size: int
    memfd_size: int


class Frame:
    """One slot of a ring, held until `release()` or until nobody refers to it.

    `planes` is a read-only uint8 array (coded_height * 3 // 2, stride) over the slot's own memory. It is what
    `av.VideoFrame.from_numpy_buffer(planes, ring.format, width=ring.coded_width)` takes. The producer writes to the
    slot again after `release()`: do not read the planes then.
    """

    __slots__ = ("_held", "base_sequence", "damage", "planes", "ring", "sequence", "slot", "trace")

    def __init__(self, ring: Ring, raw: Any, planes: npt.NDArray[np.uint8]) -> None:
        self.ring = ring
        self.slot: int = raw.slot
        self.sequence: int = raw.sequence
        self.base_sequence: int = raw.base_sequence
        self.damage = tuple(Rect(r.x, r.y, r.width, r.height) for r in raw.damage[0 : raw.damage_count])
        trace = raw.trace
        self.trace = FrameTrace(trace.flush_ns, trace.convert_begin_ns, trace.gpu_done_ns, trace.handoff_ns)
        self.planes = planes
        self._held = True

    def release(self) -> None:
        """Give the slot back to the producer. May be called twice."""
        if self._held:
            self._held = False
            self.ring._release(self.slot)

    def __del__(self) -> None:
        if getattr(self, "_held", False):
            self.release()


class Ring:
    """A mapped frame ring. One thread at a time. At most two frames may be held, or the producer drops frames.

    The guest shows source_width × source_height pixels; the frames have width × height, which is that divided by
    `divisor` and rounded up.

    The mapping lives as long as the ring, a frame of it, or a view of a frame's planes does.
    """

    def __init__(self, layout: RingLayout, memfd: int, event_fd: int) -> None:
        """Map `memfd` (borrowed); `event_fd` is the ring's on success.

        Raises:
            InvalidError: the layout does not fit itself, the file or its seals; or the other fd is no eventfd.
        """
        self.layout = layout
        self._event_fd = -1
        raw = ffi.new(
            "struct rc_ring_layout *",
            {
                "format": layout.format,
                "width": layout.width,
                "height": layout.height,
                "coded_width": layout.coded_width,
                "coded_height": layout.coded_height,
                "stride": layout.stride,
                "source_width": layout.source_width,
                "source_height": layout.source_height,
                "divisor": layout.divisor,
                "slot_count": layout.slot_count,
                "slot_offset": layout.slot_offset,
                "slot_size": layout.slot_size,
                "memfd_size": layout.memfd_size,
            },
        )
        out = ffi.new("struct rc_consumer **")
        check(lib.rc_consumer_create(raw, memfd, out), f"frame ring {layout}")
        self._consumer = ffi.gc(out[0], lib.rc_consumer_destroy)
        if "[eventfd]" not in os.readlink(f"/proc/self/fd/{event_fd}"):
            raise InvalidError("frame ring: the second fd is no eventfd")
        os.set_blocking(event_fd, False)
        rows = layout.coded_height * 3 // 2
        self._planes: list[npt.NDArray[np.uint8]] = []
        for slot in range(layout.slot_count):
            # The buffer is made from the owning handle, so that a view of it keeps the mapping alive.
            address = lib.rc_consumer_planes(self._consumer, slot)
            owner = ffi.gc(ffi.cast("uint8_t *", address), _Keep(self._consumer))
            planes = np.frombuffer(ffi.buffer(owner, rows * layout.stride), np.uint8).reshape(rows, layout.stride)
            planes.flags.writeable = False
            self._planes.append(planes)
        self._event_fd = event_fd

    scanout_id = property(lambda self: int(self.layout.scanout_id))
    generation = property(lambda self: int(self.layout.generation))
    width = property(lambda self: int(self.layout.width))
    height = property(lambda self: int(self.layout.height))
    coded_width = property(lambda self: int(self.layout.coded_width))
    coded_height = property(lambda self: int(self.layout.coded_height))
    source_width = property(lambda self: int(self.layout.source_width))
    source_height = property(lambda self: int(self.layout.source_height))
    divisor = property(lambda self: int(self.layout.divisor))
    stride = property(lambda self: int(self.layout.stride))
    slot_count = property(lambda self: int(self.layout.slot_count))
    refresh_mhz = property(lambda self: int(self.layout.refresh_mhz))

    @property
    def format(self) -> str:
        """FFmpeg's name of the pixel format: "yuv420p" or "nv12"."""
        return _FORMATS[self.layout.format]

    def fileno(self) -> int:
        """The eventfd: readable when a frame was published since the last `acquire()`."""
        return self._event_fd

    def acquire(self) -> Frame | None:
        """Take the newest frame that was not taken yet, or None. Clears the eventfd.

        Raises:
            InvalidError: the producer breaks the ring's rules.
        """
        _clear(self._event_fd)
        raw = ffi.new("struct rc_frame *")
        if (
            check(lib.rc_consumer_acquire(self._consumer, raw), "the frame ring's producer breaks its rules")
            == lib.RC_AGAIN
        ):
            return None
        return Frame(self, raw, self._planes[raw.slot])

    def _release(self, slot: int) -> None:
        lib.rc_consumer_release(self._consumer, slot)

    def close(self) -> None:
        """Close the eventfd. May be called twice. Frames that are held stay readable."""
        if self._event_fd >= 0:
            os.close(self._event_fd)
            self._event_fd = -1

    def __del__(self) -> None:
        self.close()


def _clear(event_fd: int) -> None:
    try:
        # The producer shares the fd's flags: O_NONBLOCK is its to clear, this flag is ours.
        os.preadv(event_fd, [bytearray(8)], -1, os.RWF_NOWAIT)
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        try:
            os.eventfd_read(event_fd)  # a kernel that lacks the flag for eventfds
        except BlockingIOError:
            pass


class _Keep:
    """A destructor that does nothing but refer to something."""

    __slots__ = ("_what",)

    def __init__(self, what: object) -> None:
        self._what = what

    def __call__(self, _pointer: object) -> None:
        pass
