# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.udp_sink`: takes (S)RTP on a port of its own until its standard input ends, then says what came.

The first line on standard output is the port, the last a JSON object: packets, size_bytes, lost, and for each packet
that ends a picture its RTP time and when it was taken (CLOCK_MONOTONIC ns). SRTP leaves the headers in clear.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_RECEIVE_BYTES = 32_000_000
# Linux: beyond the system's limit, for root.
_SO_RCVBUFFORCE = 33
_HEADER_BYTES = 12


@dataclass(slots=True)
class Count:
    """What came. Packets that come late are not lost."""

    packets: int = 0
    size_bytes: int = 0
    ends: list[tuple[int, int]] = field(default_factory=list)
    _first: int = -1
    _highest: int = -1

    def take(self, packet: bytes | memoryview, now_ns: int) -> None:
        """Count a packet; what is no RTP is passed over."""
        if len(packet) < _HEADER_BYTES or packet[0] >> 6 != 2:
            return
        sequence = packet[2] << 8 | packet[3]
        if self._first < 0:
            self._first = self._highest = sequence
        # The nearest number that ends so.
        step = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        self._highest = max(self._highest, self._highest + step)
        self.packets += 1
        self.size_bytes += len(packet)
        if packet[1] & 0x80:
            self.ends.append((int.from_bytes(packet[4:8], "big"), now_ns))

    @property
    def lost(self) -> int:
        return self._highest - self._first + 1 - self.packets if self.packets else 0

    def as_json(self) -> dict[str, Any]:
        return {"packets": self.packets, "size_bytes": self.size_bytes, "lost": self.lost, "ends": self.ends}


def main() -> None:
    """Take packets."""
    count = Count()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        buffer = bytearray(2048)
        view = memoryview(buffer)
        while sys.stdin not in select.select([sock, sys.stdin], [], [])[0]:
            while True:
                try:
                    size = sock.recv_into(buffer)
                except BlockingIOError:
                    break
                count.take(view[:size], time.monotonic_ns())
    sys.stdout.write(json.dumps(count.as_json()) + "\n")


if __name__ == "__main__":
    main()
