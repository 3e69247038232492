# SPDX-License-Identifier: Apache-2.0
"""Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): which packets arrived, and when.

The FCI of an RTPFB packet of format 15. No I/O.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

RTCP_RTPFB_TRANSPORT_CC = 15

_HEADER = struct.Struct("!HHI")
_CHUNK = struct.Struct("!H")
_REFERENCE_US = 64_000
_DELTA_US = 250
_REFERENCE_WRAP = 1 << 24
# After this long the receiver's clock begins anew.
REFERENCE_SPAN_US = _REFERENCE_WRAP * _REFERENCE_US
# A few bytes of runs can name 65535 packets; no honest report has nearly as many.
MAX_PACKETS = 8192


class FeedbackError(ValueError):
    """The bytes are no transport-wide feedback; says which field is wrong."""


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """One report. `arrivals_us[i]` is when packet `base_sequence + i` (mod 65536) came, None when it did not.

    The times are the receiver's clock, which begins anywhere and wraps at 2**24 * 64 ms.
    """

    base_sequence: int
    feedback_count: int
    arrivals_us: tuple[int | None, ...]

    @property
    def lost(self) -> int:
        """How many packets of the report did not arrive."""
        return self.arrivals_us.count(None)


def parse_feedback(fci: bytes) -> TransportFeedback:
    """Decode the FCI (behind the two SSRCs); padding at the end is ignored.

    Raises:
        FeedbackError: it is truncated, names too many packets, or a status is reserved.
    """
    if len(fci) < _HEADER.size:
        raise FeedbackError("feedback.header: is truncated")
    base_sequence, count, times = _HEADER.unpack_from(fci)
    reference = times >> 8
    if reference >= _REFERENCE_WRAP // 2:
        reference -= _REFERENCE_WRAP
    if count == 0:
        raise FeedbackError("feedback.count: is 0")
    if count > MAX_PACKETS:
        raise FeedbackError(f"feedback.count: {count} is more than {MAX_PACKETS}")
    statuses, position = _read_statuses(fci, count)
    arrivals: list[int | None] = []
    arrival_us = reference * _REFERENCE_US
    for status in statuses:
        if status == 0:
            arrivals.append(None)
            continue
        size = 1 if status == 1 else 2
        if position + size > len(fci):
            raise FeedbackError("feedback.deltas: are truncated")
        arrival_us += int.from_bytes(fci[position : position + size], signed=size == 2) * _DELTA_US
        position += size
        arrivals.append(arrival_us)
    return TransportFeedback(base_sequence, times & 0xFF, tuple(arrivals))


def _read_statuses(fci: bytes, count: int) -> tuple[list[int], int]:
    """Return the status of each packet (0 lost, 1 small delta, 2 large delta) and where the deltas begin."""
    statuses: list[int] = []
    position = _HEADER.size
    while len(statuses) < count:
        if position + _CHUNK.size > len(fci):
            raise FeedbackError("feedback.chunks: are truncated")
        (chunk,) = _CHUNK.unpack_from(fci, position)
        position += _CHUNK.size
        left = count - len(statuses)
        if not chunk & 0x8000:
            # `count` is 16 bits, so a run cannot make more than 65535.
            statuses += [chunk >> 13] * min(chunk & 0x1FFF, left)
            if not chunk & 0x1FFF:
                raise FeedbackError("feedback.chunks: a run has length 0")
        elif chunk & 0x4000:
            statuses += [(chunk >> shift) & 3 for shift in range(12, -1, -2)][:left]
        else:
            statuses += [(chunk >> shift) & 1 for shift in range(13, -1, -1)][:left]
    if 3 in statuses:
        raise FeedbackError("feedback.chunks: status 3 is reserved")
    return statuses, position
