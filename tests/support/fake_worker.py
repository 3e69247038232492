# SPDX-License-Identifier: Apache-2.0
"""A fake render worker: the host's end of the display link, enough of it to see what a guest agent shows."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from guest_agent import display_link, virtio_gpu
from guest_agent.display_link import MessageType
from guest_agent.virtio_gpu import Command, Rect, ResponseType


@dataclass
class Resource:
    width: int
    height: int
    address: int = 0
    size_bytes: int = 0
    pixels: bytes = b""  # of 2D resources
    stride_bytes: int = 0  # of what is shown
    pixel_format: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass
class CursorState:
    x: int
    y: int
    hot_x: int
    hot_y: int
    image: Resource | None

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size if self.image is not None else (0, 0)


@dataclass
class FakeWorker:
    """Serves one guest at a time on a listening SOCK_SEQPACKET socket, which stays the caller's."""

    listener: socket.socket
    wanted: tuple[int, int] = (640, 480)
    max_scanouts: int = 1
    holds_answers: bool = False  # flushes are answered by release() only
    regions: dict[int, mmap.mmap] = field(default_factory=dict)
    resources: dict[int, Resource] = field(default_factory=dict)
    scanouts: dict[int, Resource] = field(default_factory=dict)
    cursors: dict[int, CursorState] = field(default_factory=dict)
    flushed: list[Rect] = field(default_factory=list)
    connections: int = 0
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._held: list[int] = []
        self._sock: socket.socket | None = None

    @property
    def scanout(self) -> Resource | None:
        """What the first scanout shows."""
        return self.scanouts.get(0)

    @property
    def cursor(self) -> CursorState | None:
        """The first scanout's cursor."""
        return self.cursors.get(0)

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        self.listener.setblocking(False)
        while True:
            sock, _ = await loop.sock_accept(self.listener)
            sock.setblocking(False)
            self._sock = sock
            self.connections += 1
            try:
                await self._serve(sock)
            finally:
                self.drop()
                sock.close()

    def drop(self) -> None:
        """Die, as far as the guest can see."""
        if self._sock is not None:
            self._sock.shutdown(socket.SHUT_RDWR)
            self._sock = None
        for memory in self.regions.values():
            memory.close()
        self.regions.clear()
        self.resources.clear()
        self._held.clear()
        self.scanouts.clear()
        self.cursors.clear()

    async def _serve(self, sock: socket.socket) -> None:
        while sock is self._sock:
            readable = asyncio.Event()
            asyncio.get_running_loop().add_reader(sock, readable.set)
            try:
                await readable.wait()
            finally:
                asyncio.get_running_loop().remove_reader(sock)
            if sock is not self._sock:
                return
            try:
                packet, fds, _, _ = socket.recv_fds(sock, display_link.MAX_PACKET_BYTES, 1)
            except ConnectionResetError:
                return
            if not packet:
                return
            self._handle(packet, fds)
            self._changed.set()

    def _handle(self, packet: bytes, fds: list[int]) -> None:
        length, kind, fd_count, sequence, _ = display_link.HEADER.unpack_from(packet)
        body = packet[display_link.HEADER.size :]
        assert length == len(packet) and fd_count == len(fds)
        if kind == MessageType.HELLO:
            self._send(MessageType.HELLO_REPLY, sequence, struct.pack("<II", 1, self.max_scanouts))
        elif kind == MessageType.ADD_REGION:
            address, size, offset = display_link.ADD_REGION.unpack(body)
            self.regions[address] = mmap.mmap(fds[0], size, offset=offset)
            os.close(fds[0])
            self._answer(sequence)
        elif kind == MessageType.REMOVE_REGION:
            (address,) = display_link.REMOVE_REGION.unpack(body)
            self._answer(sequence, ResponseType.OK_NODATA if self.regions.pop(address, None) else None)
        else:
            self._command(sequence, body)

    def _command(self, sequence: int, body: bytes) -> None:
        command = Command(virtio_gpu.response_type(body))
        fields = body[virtio_gpu.HEADER.size :]
        if command == Command.GET_DISPLAY_INFO:
            mode = virtio_gpu.DISPLAY_ONE.pack(0, 0, *self.wanted, 1, 0)
            rest = bytes(virtio_gpu.DISPLAY_ONE.size * (virtio_gpu.MAX_SCANOUTS - self.max_scanouts))
            header = virtio_gpu.HEADER.pack(ResponseType.OK_DISPLAY_INFO, 0, 0, 0, 0)
            self._send(MessageType.RESPONSE, sequence, header + mode * self.max_scanouts + rest)
            return
        if command == Command.RESOURCE_FLUSH:
            x, y, width, height, resource_id = virtio_gpu.FLUSH.unpack(fields)
            assert resource_id in self.resources
            self.flushed.append(Rect(x, y, width, height))
            self._held.append(sequence)
            if not self.holds_answers:
                self.release()
            return
        handlers: dict[Command, Callable[[bytes], None]] = {
            Command.RESOURCE_CREATE_BLOB: self._create_blob,
            Command.SET_SCANOUT: self._set_scanout,
            Command.SET_SCANOUT_BLOB: self._set_scanout_blob,
            Command.RESOURCE_CREATE_2D: self._create_2d,
            Command.RESOURCE_ATTACH_BACKING: self._attach_backing,
            Command.TRANSFER_TO_HOST_2D: self._transfer,
            Command.RESOURCE_UNREF: self._unref,
            Command.UPDATE_CURSOR: self._update_cursor,
            Command.MOVE_CURSOR: self._move_cursor,
        }
        handlers[command](fields)
        self._answer(sequence)

    def _create_blob(self, fields: bytes) -> None:
        resource_id, memory, _, entries, _, size = virtio_gpu.CREATE_BLOB.unpack_from(fields)
        address, length = virtio_gpu.MEM_ENTRY.unpack_from(fields, virtio_gpu.CREATE_BLOB.size)
        assert memory == virtio_gpu.BLOB_MEM_GUEST and entries == 1 and length == size
        assert resource_id not in self.resources and address in self.regions and length <= len(self.regions[address])
        self.resources[resource_id] = Resource(0, 0, address, size)

    def _set_scanout(self, fields: bytes) -> None:
        *_, scanout_id, resource_id = virtio_gpu.SET_SCANOUT.unpack(fields)
        assert scanout_id < self.max_scanouts and not resource_id  # turned off
        self.scanouts.pop(scanout_id, None)

    def _set_scanout_blob(self, fields: bytes) -> None:
        values = virtio_gpu.SET_SCANOUT_BLOB.unpack(fields)
        scanout_id, resource_id, width, height, pixel_format, stride = values[4:10]
        assert values[:4] == (0, 0, width, height) and scanout_id < self.max_scanouts and stride >= width * 4
        resource = self.resources[resource_id]
        resource.width, resource.height, resource.stride_bytes = width, height, stride
        resource.pixel_format = pixel_format
        assert (height - 1) * stride + width * 4 <= resource.size_bytes
        self.scanouts[scanout_id] = resource

    def _create_2d(self, fields: bytes) -> None:
        resource_id, _, width, height = virtio_gpu.CREATE_2D.unpack(fields)
        assert resource_id not in self.resources
        self.resources[resource_id] = Resource(width, height)

    def _attach_backing(self, fields: bytes) -> None:
        resource_id, entries = virtio_gpu.ATTACH_BACKING.unpack_from(fields)
        address, length = virtio_gpu.MEM_ENTRY.unpack_from(fields, virtio_gpu.ATTACH_BACKING.size)
        assert entries == 1 and address in self.regions
        resource = self.resources[resource_id]
        resource.address, resource.size_bytes = address, length

    def _transfer(self, fields: bytes) -> None:
        resource = self.resources[virtio_gpu.TRANSFER_2D.unpack(fields)[5]]
        resource.pixels = self.regions[resource.address][: resource.width * resource.height * 4]

    def _unref(self, fields: bytes) -> None:
        del self.resources[virtio_gpu.UNREF.unpack(fields)[0]]

    def _update_cursor(self, fields: bytes) -> None:
        scanout_id, x, y, resource_id, hot_x, hot_y = virtio_gpu.CURSOR.unpack(fields)
        image = self.resources[resource_id] if resource_id else None
        self.cursors[scanout_id] = CursorState(x, y, hot_x, hot_y, image)

    def _move_cursor(self, fields: bytes) -> None:
        scanout_id, x, y, *_ = virtio_gpu.CURSOR.unpack(fields)
        self.cursors[scanout_id].x, self.cursors[scanout_id].y = x, y

    def _answer(self, sequence: int, kind: ResponseType | None = ResponseType.OK_NODATA) -> None:
        kind = kind or ResponseType.ERR_INVALID_PARAMETER
        self._send(MessageType.RESPONSE, sequence, virtio_gpu.HEADER.pack(kind, 0, 0, 0, 0))

    def _send(self, kind: MessageType, sequence: int, body: bytes) -> None:
        if self._sock is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._sock.send(
                    display_link.HEADER.pack(display_link.HEADER.size + len(body), kind, 0, sequence, 0) + body
                )

    def release(self) -> None:
        """Answer the flushes that are held."""
        held, self._held = self._held, []
        for sequence in held:
            self._answer(sequence)

    def want(self, width: int, height: int) -> None:
        """Want another size, and say so."""
        self.wanted = (width, height)
        self._send(MessageType.EVENT, 0, display_link.EVENT.pack(virtio_gpu.EVENT_DISPLAY, 0))

    def pixel(self, x: int, y: int, scanout_id: int = 0) -> int:
        """Return 0xRRGGBB of the picture in the guest's memory."""
        shown = self.scanouts[scanout_id]
        at = y * shown.stride_bytes + x * 4
        return int.from_bytes(self.regions[shown.address][at : at + 3], "little")

    def picture(self, scanout_id: int = 0) -> bytes:
        """Return the whole picture, BGRX, rows packed."""
        shown = self.scanouts[scanout_id]
        memory, row_bytes = self.regions[shown.address], shown.width * 4
        rows = range(0, shown.height * shown.stride_bytes, shown.stride_bytes)
        return b"".join(memory[at : at + row_bytes] for at in rows)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a message after which the condition holds."""
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_shown(self, size: tuple[int, int]) -> None:
        """Wait until a whole picture of this size is shown."""
        await self.until(lambda: self.scanout is not None and self.scanout.size == size and bool(self.flushed))
        await self.until(lambda: Rect(0, 0, *size) in self.flushed)
