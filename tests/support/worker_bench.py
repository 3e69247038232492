# SPDX-License-Identifier: Apache-2.0
"""A real render worker process, with the guest's, the streamer's and the gateway's ends in the test's hands."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guest_agent import virtio_gpu
from guest_agent.memory import PAGE_BYTES, Region
from guest_agent.virtio_gpu import Format, Rect, ResponseType
from render_core import CursorImage, CursorMove, Device, Frame, FrameLink, Ring, ScanoutOff
from streamer.config import vulkan_environment

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0
TILE_ROWS = 16
_HEADER = struct.Struct("<IHHII")


def wait_readable(source: int | socket.socket | FrameLink | Ring) -> None:
    """Wait for input; the limit is for a test that fails."""
    assert select.select([source], [], [], WAIT_S)[0], "nothing came"


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(WAIT_S)
    sock.connect(str(path))
    return sock


class Guest:
    """A guest that asks one thing at a time."""

    def __init__(self, path: Path) -> None:
        self.sock = connect(path)
        self._sequence = 0
        self._regions: list[Region] = []
        assert self.ask(1, struct.pack("<II", 1, 0))[0] == 0x8001

    def send(self, kind: int, body: bytes, fd: int | None = None) -> int:
        """Send a message; returns its sequence."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, fd is not None, self._sequence, 0)
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.sock.sendmsg([header + body], rights)
        return self._sequence

    def ask(self, kind: int, body: bytes, fd: int | None = None) -> tuple[int, bytes]:
        """Return the type and the body of the answer; events that come before it are dropped."""
        sequence = self.send(kind, body, fd)
        while True:
            packet = self.sock.recv(65536)
            assert packet, "the worker closed the display link"
            _, answer, _, answered, _ = _HEADER.unpack_from(packet)
            if answered == sequence:
                return answer, packet[_HEADER.size :]

    def control(self, body: bytes) -> int:
        """Return the response's type."""
        return virtio_gpu.response_type(self.ask(4, body)[1])

    def cursor(self, body: bytes) -> int:
        return virtio_gpu.response_type(self.ask(5, body)[1])

    def show(self, resource_id: int, width: int, height: int, colour: int = 255, scanout: int = 0) -> None:
        """Show a blob of one grey."""
        region = self._add_region(width * height * 4)
        with region.map() as memory:
            memory[: width * height * 4] = bytes([colour]) * (width * height * 4)
        size = region.size_bytes
        assert self.control(virtio_gpu.create_blob(resource_id, region.address, size)) == ResponseType.OK_NODATA
        self._set_scanout(scanout, resource_id, width, height)

    def show_tiles(self, resource_id: int, height: int, tiles: npt.NDArray[np.uint8], order: Sequence[int]) -> None:
        """Show a picture of any height in the memory of its tiles alone.

        `tiles`: BGRX, (count, TILE_ROWS, width, 4) with rows of whole pages; `order` names one for each TILE_ROWS rows.
        """
        tile_bytes, width = tiles[0].nbytes, tiles.shape[2]
        assert width * 4 % PAGE_BYTES == 0 and (len(order) - 1) * TILE_ROWS < height <= len(order) * TILE_ROWS
        region = self._add_region(tiles.nbytes)
        with region.map() as memory:
            memory[: tiles.nbytes] = tiles.tobytes()
        entries = b"".join(virtio_gpu.MEM_ENTRY.pack(region.address + tile * tile_bytes, tile_bytes) for tile in order)
        blob = virtio_gpu.create_blob(resource_id, 0, len(order) * tile_bytes)
        head = bytearray(blob[: -virtio_gpu.MEM_ENTRY.size])
        struct.pack_into("<I", head, virtio_gpu.HEADER.size + 12, len(order))
        assert self.control(bytes(head) + entries) == ResponseType.OK_NODATA
        self._set_scanout(0, resource_id, width, height)

    def _add_region(self, size_bytes: int) -> Region:
        region = Region("guest", size_bytes)
        self._regions.append(region)
        _, body = self.ask(2, struct.pack("<QQQ", region.address, region.size_bytes, 0), region.fd)
        assert virtio_gpu.response_type(body) == ResponseType.OK_NODATA
        return region

    def _set_scanout(self, scanout: int, resource_id: int, width: int, height: int) -> None:
        shown = virtio_gpu.set_scanout_blob(scanout, resource_id, width, height, Format.B8G8R8X8_UNORM)
        assert self.control(shown) == ResponseType.OK_NODATA

    def flush(self, resource_id: int, x: int, y: int, width: int, height: int) -> None:
        """Flush, and wait for the answer."""
        assert self.control(virtio_gpu.flush(resource_id, Rect(x, y, width, height))) == ResponseType.OK_NODATA

    def close(self) -> None:
        self.sock.close()
        for region in self._regions:
            region.close()


class Streamer:
    """A streamer's end of the frame link that keeps what it was told."""

    def __init__(self, path: Path) -> None:
        self.link = FrameLink(connect(path))
        self.events: list[Ring | ScanoutOff | CursorImage | CursorMove | Device] = []

    def next(self, kind: type) -> Ring | ScanoutOff | CursorImage | CursorMove | Device:
        """Wait for a message of that kind."""
        while True:
            for index, event in enumerate(self.events):
                if isinstance(event, kind):
                    return self.events.pop(index)
            wait_readable(self.link)
            self.events += self.link.receive()

    def ring(self, width: int) -> Ring:
        """Wait for a ring of that width; others are of what a guest showed before."""
        while True:
            event = self.next(Ring)
            assert isinstance(event, Ring)
            if event.width == width:
                return event
            event.close()

    def frame(self, ring: Ring) -> Frame:
        """Wait for a frame that was not taken yet."""
        while True:
            wait_readable(ring)
            frame = ring.acquire()
            if frame is not None:
                return frame


class WorkerBench:
    def __init__(self, folder: Path, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.process = process
        self.control = control
        self.display_path = folder / "display.sock"
        self.frames_path = folder / "frames.sock"
        self.machine_path = folder / "machine.sock"

    @contextmanager
    def guest(self) -> Iterator[Guest]:
        guest = Guest(self.display_path)
        try:
            yield guest
        finally:
            guest.close()

    @contextmanager
    def streamer(self) -> Iterator[Streamer]:
        streamer = Streamer(self.frames_path)
        try:
            yield streamer
        finally:
            streamer.link.close()


def _listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(str(path))
    sock.listen(8)
    return sock


@contextmanager
def worker_bench(folder: Path, *, read_ready: bool = True) -> Iterator[WorkerBench]:
    """Start a worker on a CPU device; it is gone afterwards."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    with (
        theirs,
        _listener(folder / "display.sock") as display,
        _listener(folder / "frames.sock") as frames,
        _listener(folder / "machine.sock") as machine,
    ):
        fds = (display.fileno(), frames.fileno(), machine.fileno(), theirs.fileno())
        names = ("display", "frames", "machine", "control")
        numbers = [f"--{name}-fd={fd}" for name, fd in zip(names, fds, strict=True)]
        process = subprocess.Popen(
            [sys.executable, "-m", "render_core.worker", *numbers, "--gpu=cpu", "--size=640x480"],
            cwd=ROOT,
            env={**os.environ, **vulkan_environment()},
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
        )
    try:
        wait_readable(ours)
        if read_ready:
            (size,) = struct.unpack("<I", ours.recv(4, socket.MSG_WAITALL))
            assert b'"ready"' in ours.recv(size, socket.MSG_WAITALL)
        yield WorkerBench(folder, process, ours)
    finally:
        ours.close()
        process.kill()
        process.wait(WAIT_S)
