# SPDX-License-Identifier: Apache-2.0
"""The streamer's end of the frame link (docs/protocol/frame-link.md)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from .errors import LinkClosedError, LinkError, RenderCoreError
from .frame import Ring, RingLayout

VERSION = 1
_HEADER = struct.Struct("<IHHII")
_RING = struct.Struct("<13I4x3Q")
_CURSOR_IMAGE = struct.Struct("<6I")
_CURSOR_MOVE = struct.Struct("<Iii")
_TWO = struct.Struct("<II")
_DEVICE = struct.Struct("<II256s")
_HELLO, _SET_ACTIVE, _SET_DISPLAY, _INPUT = 1, 2, 3, 4
_MAX_PACKET = 4096
_MAX_FDS = 4
_MAX_CURSOR = 256
_MAX_SCANOUTS = 16
_REFRESH_MHZ = range(1000, 1_000_001)
# Messages of one receive(): a worker that never stops must not keep the caller.
_MAX_EVENTS = 64


@dataclass(frozen=True, slots=True)
class ScanoutOff:
    """The guest shows nothing on this scanout any more."""

    scanout_id: int


@dataclass(frozen=True, slots=True)
class CursorImage:
    """A new cursor. `pixels`: width * height BGRA with straight alpha, rows packed; None: hidden."""

    scanout_id: int
    serial: int
    width: int
    height: int
    hot_x: int
    hot_y: int
    pixels: bytes | None


@dataclass(frozen=True, slots=True)
class CursorMove:
    """Where the guest says that the cursor's hot spot is, in pixels."""

    scanout_id: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Device:
    """The worker's Vulkan device. `kind` and `convert`: "cpu" or "gpu"."""

    kind: str
    convert: str
    name: str


Event = Ring | ScanoutOff | CursorImage | CursorMove | Device


class FrameLink:
    """Takes a connected SOCK_SEQPACKET socket over and says HELLO. Not thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._send(_HELLO, _TWO.pack(VERSION, 0))

    def fileno(self) -> int:
        """Readable when `receive()` has something."""
        return self._sock.fileno()

    def receive(self) -> list[Event]:
        """What has arrived, 64 messages at most: `fileno()` stays readable while there are more. Never blocks.

        Raises:
            LinkClosedError: the worker is gone.
            LinkError: the worker sent nonsense.
        """
        events: list[Event] = []
        for _ in range(_MAX_EVENTS):
            try:
                data, fds, _flags, _address = socket.recv_fds(
                    self._sock, _MAX_PACKET, _MAX_FDS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except OSError as error:
                raise LinkClosedError(f"frame link: {error}") from error
            owned = _Fds(fds)
            if not data:
                owned.close()
                if events:
                    break  # the next call says that it is closed
                raise LinkClosedError("frame link: the render worker is gone")
            try:
                event = _parse(data, owned)
            except (struct.error, ValueError, RenderCoreError, MemoryError, OSError) as error:
                raise LinkError(f"frame link: {error}") from error
            finally:
                owned.close()
            if event is not None:
                events.append(event)
        return events

    def set_active(self, scanout_id: int, active: bool) -> None:
        """Say whether anybody watches: only then pictures are converted."""
        self._send(_SET_ACTIVE, _TWO.pack(scanout_id, active))

    def expect_picture(self, scanout_id: int) -> None:
        """A viewer has pressed something: what comes of it need not keep to the frame rate's beat."""
        self._send(_INPUT, _TWO.pack(scanout_id, 0))

    def set_display(self, scanout_id: int, width: int, height: int, refresh_mhz: int = 0) -> None:
        """Ask the guest for another size (16…16384 pixels each way) or rate (0: keep it).

        Width and height 0: a scanout other than 0 is not wanted any more.
        """
        self._send(_SET_DISPLAY, struct.pack("<4I", scanout_id, width, height, refresh_mhz))

    def close(self) -> None:
        """May be called twice."""
        self._sock.close()

    def _send(self, kind: int, body: bytes) -> None:
        try:
            self._sock.send(_HEADER.pack(_HEADER.size + len(body), kind, 0, 0, 0) + body)
        except OSError as error:
            raise LinkClosedError(f"frame link: {error}") from error


class _Fds:
    """Received fds; those not taken are closed."""

    def __init__(self, fds: list[int] | array.array[int]) -> None:
        self.fds = list(fds)

    def take(self, index: int) -> int:
        fd, self.fds[index] = self.fds[index], -1
        return fd

    def close(self) -> None:
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)


def _parse(data: bytes, fds: _Fds) -> Event | None:
    length, kind, fd_count, _sequence, _reserved = _HEADER.unpack_from(data)
    if length != len(data) or fd_count != len(fds.fds):
        raise ValueError(f"message {kind:#x}: length or fd_count is wrong")
    body = data[_HEADER.size :]
    match kind:
        case 0x8001:
            return _parse_ring(body, fds)
        case 0x8002:
            return ScanoutOff(_scanout(_TWO.unpack(body)[0]))
        case 0x8003:
            return _parse_cursor_image(body, fds)
        case 0x8004:
            scanout_id, x, y = _CURSOR_MOVE.unpack(body)
            return CursorMove(_scanout(scanout_id), x, y)
        case 0x8005:
            device, convert, name = _DEVICE.unpack(body)
            text = name.split(b"\0")[0].decode("utf-8", "replace")
            return Device("gpu" if device == 2 else "cpu", "gpu" if convert == 2 else "cpu", text)
    return None  # a newer worker may say more than we know


def _scanout(number: int) -> int:
    if number >= _MAX_SCANOUTS:
        raise ValueError("scanout_id is wrong")
    return number


def _parse_ring(body: bytes, fds: _Fds) -> Ring:
    layout = RingLayout(*_RING.unpack(body))
    _scanout(layout.scanout_id)
    if len(fds.fds) != 2 or layout.refresh_mhz not in _REFRESH_MHZ:
        raise ValueError("RING: fd_count or refresh_mhz is wrong")
    ring = Ring(layout, fds.fds[0], fds.fds[1])
    fds.take(1)
    return ring


def _parse_cursor_image(body: bytes, fds: _Fds) -> CursorImage:
    scanout_id, width, height, hot_x, hot_y, serial = _CURSOR_IMAGE.unpack(body)
    _scanout(scanout_id)
    if width == 0:
        return CursorImage(scanout_id, serial, 0, 0, 0, 0, None)
    if width > _MAX_CURSOR or not 0 < height <= _MAX_CURSOR or hot_x >= width or hot_y >= height or len(fds.fds) != 1:
        raise ValueError("CURSOR_IMAGE: width, height, hot spot or fd_count is wrong")
    fcntl.fcntl(fds.fds[0], fcntl.F_GET_SEALS)  # only memfds have them: reading one never waits, as another file might
    # Read, not mapped: the worker could cut the file short under a mapping.
    pixels = os.pread(fds.fds[0], width * height * 4 + 1, 0)
    if len(pixels) != width * height * 4:
        raise ValueError("CURSOR_IMAGE: size of the memfd is wrong")
    return CursorImage(scanout_id, serial, width, height, hot_x, hot_y, pixels)
