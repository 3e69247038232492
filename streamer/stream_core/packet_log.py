# SPDX-License-Identifier: Apache-2.0
"""The transport-wide packet numbers of one transport, and what was sent under each."""

from __future__ import annotations

from typing import Any

from ._ffi import ffi, lib
from .errors import check

ENTRIES: int = lib.SC_PACKET_LOG_ENTRIES


class PacketLog:
    """The one owner of a transport's numbers, shared by all who send on it. Any thread."""

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        out = ffi.new("struct sc_packet_log **")
        check(lib.sc_packet_log_create(out), "packet log")
        self._raw = ffi.gc(out[0], lib.sc_packet_log_unref)

    @property
    def raw(self) -> Any:
        """The C object; for this package."""
        return self._raw

    def number(self) -> int:
        """Return the number for the next packet: 0 to 65535, around and around."""
        return int(lib.sc_packet_log_number(self._raw))

    def sent(self, sequence: int, size_bytes: int, sent_ns: int) -> None:
        """Note that a packet has left, at `sent_ns` (CLOCK_MONOTONIC, not 0)."""
        lib.sc_packet_log_sent(self._raw, sequence, size_bytes, sent_ns)

    def take(self, first_sequence: int, count: int) -> list[tuple[int, int] | None]:
        """Return (bytes, time sent in ns) of `count` packets, and forget them; None for those not remembered."""
        sizes = ffi.new("uint32_t[]", count)
        times = ffi.new("uint64_t[]", count)
        lib.sc_packet_log_read(self._raw, first_sequence, count, True, sizes, times)
        return [
            (size, time) if time else None
            for size, time in zip(ffi.unpack(sizes, count), ffi.unpack(times, count), strict=True)
        ]

    def totals(self) -> tuple[int, int]:
        """Return how many packets were sent, and their bytes."""
        totals = lib.sc_packet_log_totals(self._raw)
        return totals.packets, totals.bytes
