# SPDX-License-Identifier: Apache-2.0
"""aiortc's SCTP association, with bounds on what a viewer can make it keep."""

from __future__ import annotations

import logging
import struct

from aiortc.rtcsctptransport import DataChunk, InboundStream, RTCSctpTransport

_log = logging.getLogger(__name__)

# Two are used; a refused channel takes a number as well.
MAX_STREAMS = 64
# Whole messages are taken at once. What waits for a lost packet is some seconds of small messages at the most.
MAX_WAITING_CHUNKS = 8192
# A sender keeps to the window that it was told, but for what was under way.
MAX_OVERDRAWN_BYTES = 262_144


class StreamSctpTransport(RTCSctpTransport):
    """One viewer's data channels. aiortc announces a window and keeps whatever comes: here who overdraws it is cut off.

    A ConnectionError ends the viewer's transport, and nothing else.
    """

    async def _handle_data(self, data: bytes) -> None:
        try:
            await super()._handle_data(data)
        except (ValueError, struct.error, IndexError, KeyError, AssertionError) as error:
            raise ConnectionError(f"its data channels are broken: {type(error).__name__}") from error

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        waiting = len(self._get_inbound_stream(chunk.stream_id).reassembly)
        if waiting >= MAX_WAITING_CHUNKS or self._advertised_rwnd < -MAX_OVERDRAWN_BYTES:
            _log.warning("a viewer sends messages that do not end")
            raise ConnectionError("its messages do not end")
        await super()._receive_data_chunk(chunk)

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        if stream_id not in self._inbound_streams and len(self._inbound_streams) >= MAX_STREAMS:
            _log.warning("a viewer opens too many data channels")
            raise ConnectionError("it opens too many data channels")
        return super()._get_inbound_stream(stream_id)
