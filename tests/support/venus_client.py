# SPDX-License-Identifier: Apache-2.0
"""A Venus client without a driver: raw vtest messages, rings and commands, right or wrong as a test wants them."""

from __future__ import annotations

import csv
import itertools
import mmap
import os
import select
import socket
import struct
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60.0
MAIN_RING_BYTES, MAIN_BUFFER_BYTES = 131268, 131072
IDLE, FATAL, ALIVE = 1, 2, 4
# vtest
CREATE_RENDERER, PING, BUSY_WAIT, VERSION, GET_PARAM, GET_CAPSET, CONTEXT_INIT = 8, 10, 7, 11, 15, 16, 17
CREATE_BLOB, UNREF, SUBMIT_CMD2 = 18, 3, 24
# sTypes of MESA structs
RING_CREATE_INFO, RING_MONITOR_INFO, QUEUE_TIMELINE_INFO = 1000384000, 1000384006, 1000384005


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def text(value: str) -> bytes:
    """A string as the wire has it: its length with the NUL, padded to words."""
    data = value.encode() + b"\0"
    return u64(len(data)) + data + bytes(-len(data) % 4)


PRESENT, NULL = u64(1), u64(0)


@cache
def _numbers() -> dict[str, int]:
    with (_ROOT / "render_core/protocol/commands.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: int(row["number"]) for row in csv.DictReader(file)}


def command(name: str | int, *parts: bytes, reply: bool = False) -> bytes:
    """A command with its parameters."""
    number = name if isinstance(name, int) else _numbers()[name]
    return u32(number, int(reply)) + b"".join(parts)


class Gone(Exception):
    """The server has closed the connection."""


class Ring:
    """A ring in a blob's memory, as its client sees it."""

    def __init__(self, client: VenusClient, number: int, resource: int, memory: mmap.mmap, buffer_bytes: int) -> None:
        self.client, self.number, self.resource, self.memory = client, number, resource, memory
        self.buffer_bytes = buffer_bytes
        # Whole words at once: struct writes zeros before it writes a value.
        self.words = client.words_of(memory)
        self.tail = 0

    @property
    def head(self) -> int:
        return self.words[0]

    @property
    def status(self) -> int:
        return self.words[128 // 4]

    def set_tail(self, tail: int) -> None:
        self.tail = tail & 0xFFFFFFFF
        self.words[64 // 4] = self.tail

    def write(self, data: bytes) -> None:
        """Write commands and publish them; wakes the server when it sleeps."""
        assert len(data) <= self.buffer_bytes
        start = self.tail % self.buffer_bytes
        first = data[: self.buffer_bytes - start]
        self.memory[192 + start : 192 + start + len(first)] = first
        rest = data[len(first) :]
        self.memory[192 : 192 + len(rest)] = rest
        self.set_tail(self.tail + len(data))
        self.client.submit(command("vkNotifyRingMESA", u64(self.number), u32(self.tail, 0)))

    def wait(self) -> bool:
        """Wait until all is consumed; False: the ring is dead."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.head != self.tail:
            if self.status & FATAL:
                return False
            if self.client.is_closed():
                raise Gone
            assert time.monotonic() < deadline_s, f"the ring stands still at {self.head} of {self.tail}"
            time.sleep(0.001)
        return not self.status & FATAL

    def wait_fatal(self) -> None:
        """Wait until the server gives the ring up."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not self.status & FATAL:
            assert time.monotonic() < deadline_s, "the ring still lives"
            time.sleep(0.001)


class VenusClient:
    """One connection. `start()` does what the stock driver does before the first command of a program."""

    def __init__(self, path: Path | str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(str(path))
        self._ids = itertools.count(1)
        self._rings = itertools.count(0x7F0000001000, 64)
        self.memories: list[mmap.mmap] = []
        self._views: list[memoryview[int]] = []
        self.instance = self.physical = self.device = self.queue = 0
        self.reply_resource = 0

    def close(self) -> None:
        self.socket.close()
        for view in self._views:
            view.release()
        self._views = []
        for memory in self.memories:
            memory.close()
        self.memories = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def is_closed(self) -> bool:
        """Whether the server has closed the connection; nothing may be on its way."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(readable) and not self.socket.recv(1, socket.MSG_PEEK)

    # ---- the socket ----

    def send(self, number: int, payload: bytes = b"", length: int | None = None) -> None:
        """Send a message; `length` (words, or bytes of CREATE_RENDERER) if it is to be a lie."""
        self.socket.sendall(u32(len(payload) // 4 if length is None else length, number) + payload)

    def receive(self, number: int) -> bytes:
        length, found = struct.unpack("<II", self._read(8))
        assert found == number, f"an answer to {found} instead of {number}"
        return self._read(4 * length)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Gone
            data += part
        return data

    def greet(self, name: str = "test") -> bytes:
        """All of the greeting; returns the capset."""
        data = name.encode() + b"\0"
        self.send(CREATE_RENDERER, data, len(data))
        self.send(PING)
        self.send(BUSY_WAIT, u32(0, 0))
        assert self.receive(PING) == b"" and self.receive(BUSY_WAIT) == u32(0)
        self.send(VERSION, u32(3))
        assert self.receive(VERSION) == u32(3)
        self.send(GET_PARAM, u32(1))
        valid, timelines = struct.unpack("<II", self.receive(GET_PARAM))
        assert valid and timelines
        self.send(GET_CAPSET, u32(4, 0))
        capset = self.receive(GET_CAPSET)
        assert capset[:4] == u32(1) and len(capset) == 164
        self.send(CONTEXT_INIT, u32(4))
        return capset[4:]

    def create_blob(self, size: int, blob_id: int = 0, flags: int = 1, kind: int = 2) -> tuple[int, int]:
        """Return the resource's id and an fd, which is the caller's."""
        self.send(CREATE_BLOB, u32(kind, flags) + u64(size, blob_id))
        (resource,) = struct.unpack("<I", self.receive(CREATE_BLOB))
        data, fds, _, _ = socket.recv_fds(self.socket, 1, 1)
        if not data:
            raise Gone
        assert len(fds) == 1
        return resource, fds[0]

    def create_memory(self, size: int, blob_id: int = 0) -> tuple[int, mmap.mmap]:
        """Return a blob's resource id and a mapping of it, closed with the client."""
        resource, fd = self.create_blob(size, blob_id)
        memory = mmap.mmap(fd, size)
        os.close(fd)
        self.memories.append(memory)
        return resource, memory

    def words_of(self, memory: mmap.mmap) -> memoryview[int]:
        """A view of memory of this client as words; released with the client."""
        view = memoryview(memory)[: len(memory) // 4 * 4].cast("I")
        self._views.append(view)
        return view

    def submit(self, commands: bytes) -> None:
        """Send commands on the socket, as the stock driver does: one batch."""
        self.send(SUBMIT_CMD2, u32(1, 1, 7, len(commands) // 4, 0, 0, 0) + commands)

    # ---- rings ----

    def ring_info(self, buffer_bytes: int = MAIN_BUFFER_BYTES, **changes: int) -> bytes:
        """VkRingCreateInfoMESA; `changes` by member."""
        members = {
            "flags": 0,
            "resource": 0,
            "offset": 0,
            "size": 192 + buffer_bytes + 4,
            "idle_timeout": 1_000_000,
            "head": 0,
            "tail": 64,
            "status": 128,
            "buffer": 192,
            "buffer_size": buffer_bytes,
            "extra": 192 + buffer_bytes,
            "extra_size": 4,
        }
        members |= changes
        values = list(members.values())
        monitor = PRESENT + u32(RING_MONITOR_INFO) + NULL + u32(3_000_000)
        return u32(RING_CREATE_INFO) + monitor + u32(*values[:2]) + u64(*values[2:])

    def create_ring(self, buffer_bytes: int = MAIN_BUFFER_BYTES, **changes: int) -> Ring:
        """Make a ring; `changes` to the members of its info."""
        resource, memory = self.create_memory(192 + buffer_bytes + 4)
        number = next(self._rings)
        info = self.ring_info(buffer_bytes, **{"resource": resource, **changes})
        self.submit(command("vkCreateRingMESA", u64(number), PRESENT + info))
        return Ring(self, number, resource, memory, buffer_bytes)

    def start(self) -> Ring:
        """Greet, make the main ring and a reply window; returns the ring."""
        self.greet()
        ring = self.create_ring()
        self.reply_resource, self.replies = self.create_memory(1 << 20)
        return ring

    def window(self, resource: int, offset: int, size: int) -> bytes:
        return command("vkSetReplyCommandStreamMESA", PRESENT + u32(resource) + u64(offset, size))

    def call(self, ring: Ring, data: bytes, reply_bytes: int = 1 << 16) -> bytes:
        """Run a command (made with reply=True) and return its reply, zeros behind it."""
        self.replies[:reply_bytes] = bytes(reply_bytes)
        ring.write(self.window(self.reply_resource, 0, reply_bytes) + data)
        assert ring.wait(), "the ring died"
        return self.replies[:reply_bytes]

    # ---- objects ----

    def new_id(self) -> int:
        return next(self._ids)

    def open_device(self, ring: Ring) -> int:
        """Make instance and device with one queue; return the device's id."""
        self.instance, self.physical = self.new_id(), self.new_id()
        app = PRESENT + u32(0) + NULL + NULL + u32(0) + NULL + u32(0, 1 << 22 | 3 << 12)
        info = PRESENT + u32(1) + NULL + u32(0) + app + u32(0) + NULL + u32(0) + NULL
        reply = self.call(ring, command("vkCreateInstance", info, NULL, PRESENT + u64(self.instance), reply=True))
        assert reply[4:8] == u32(0)
        ids = u64(1, self.physical)
        count = PRESENT + u32(1)
        found = self.call(ring, command("vkEnumeratePhysicalDevices", u64(self.instance), count, ids, reply=True))
        assert found[4:8] in (u32(0), u32(5))
        self.device = self.create_device(ring)
        self.queue = self.new_id()
        timeline = PRESENT + u32(QUEUE_TIMELINE_INFO) + NULL + u32(1)
        queue_info = PRESENT + u32(1000145003) + timeline + u32(0, 0, 0)
        ring.write(command("vkGetDeviceQueue2", u64(self.device), queue_info, PRESENT + u64(self.queue)))
        assert ring.wait()
        return self.device

    def create_device(self, ring: Ring) -> int:
        device = self.new_id()
        queue = u32(2) + NULL + u32(0, 0, 1) + u64(1) + struct.pack("<f", 1.0)
        info = PRESENT + u32(3) + NULL + u32(0, 1) + u64(1) + queue + u32(0) + NULL + u32(0) + NULL + NULL
        call = command("vkCreateDevice", u64(self.physical), info, NULL, PRESENT + u64(device), reply=True)
        assert self.call(ring, call)[4:8] == u32(0)
        return device

    def destroy_instance(self, ring: Ring) -> None:
        self.call(ring, command("vkDestroyInstance", u64(self.instance), NULL, reply=True))


def enumerate_version(client: VenusClient, ring: Ring) -> int:
    """vkEnumerateInstanceVersion, the simplest call."""
    reply = client.call(ring, command("vkEnumerateInstanceVersion", PRESENT, reply=True))
    number, result, present, version = struct.unpack_from("<IiQI", reply)
    assert (number, result, present) == (_numbers()["vkEnumerateInstanceVersion"], 0, 1)
    return int(version)
