# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the machine link (docs/protocol/machine-link.md), for tests that say each message themselves."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

from tests.support.worker_bench import connect

_HEADER = struct.Struct("<IHHII")
HELLO, ATTACH, HELLO_REPLY, STATE, DISPLAY = 1, 2, 0x8001, 0x8002, 0x8003
ATTACHED, RUNNING, STOPPED, LOST, INCOMPLETE = 1, 2, 3, 4, 5
JOURNAL_BYTES = 16 << 20
# A guest may boot meanwhile, under emulation, on a machine with other work.
WAIT_S = 120.0


class MachineAgent:
    """The agent's end of the machine link."""

    def __init__(self, path: Path) -> None:
        self.sock = connect(path)
        self.sock.settimeout(WAIT_S)

    def send(self, kind: int, *fields: int, fds: tuple[int, ...] = ()) -> None:
        body = struct.pack(f"<{len(fields)}I", *fields)
        socket.send_fds(self.sock, [_HEADER.pack(_HEADER.size + len(body), kind, len(fds), 0, 0) + body], fds)

    def next(self) -> tuple[int, ...]:
        """The next message: its type and fields; () at the end."""
        packet = self.sock.recv(4096)
        if not packet:
            return ()
        _length, kind, _fds, _sequence, _reserved = _HEADER.unpack_from(packet)
        return (kind, *struct.unpack(f"<{(len(packet) - _HEADER.size) // 4}I", packet[_HEADER.size :]))

    def greet(self) -> None:
        self.send(HELLO, 1, 0)
        assert self.next() == (HELLO_REPLY, 1, 16)

    def wait_state(self, state: int) -> None:
        """Wait until the worker says this state; what it says before is dropped."""
        while message := self.next():
            if message[:2] == (STATE, state):
                return
        raise AssertionError(f"the worker closed the machine link before state {state}")


def sealed(name: str, size_bytes: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd
