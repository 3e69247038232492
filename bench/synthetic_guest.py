# SPDX-License-Identifier: Apache-2.0
"""A guest without a display server: shows one blob over the display link and flushes it. Blocking; one thread."""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from guest_agent import virtio_gpu
from guest_agent.display_link import ADD_REGION, HEADER, HELLO, MessageType
from guest_agent.memory import Region
from guest_agent.virtio_gpu import Format, Rect, ResponseType

ANSWER_SECONDS = 20


class SyntheticGuest:
    """Shows `pixels`, uint8 (height, width, 4) BGRX in shared memory. Close it before the worker's socket goes."""

    def __init__(self, path: str, width: int, height: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.connect(path)
        self._sequence = 0
        self._region = Region("synthetic-guest", width * height * 4)
        memory = np.frombuffer(self._region.map(), np.uint8, width * height * 4)
        self.pixels: npt.NDArray[np.uint8] = memory.reshape(height, width, 4)
        self._request(MessageType.HELLO, HELLO.pack(1, 0))
        self._request(
            MessageType.ADD_REGION, ADD_REGION.pack(self._region.address, self._region.size_bytes, 0), [self._region.fd]
        )
        self._control(virtio_gpu.create_blob(1, self._region.address, self._region.size_bytes))
        self._control(virtio_gpu.set_scanout_blob(0, 1, width, height, Format.B8G8R8X8_UNORM))

    def flush(self, x: int, y: int, width: int, height: int) -> None:
        """Say that a rectangle changed, and wait until the worker gives the buffer back."""
        self._control(virtio_gpu.flush(1, Rect(x, y, width, height)))

    def _control(self, command: bytes) -> None:
        self._request(MessageType.CONTROL, command)

    def _request(self, kind: MessageType, body: bytes, fds: Sequence[int] = ()) -> None:
        self._sequence += 1
        header = HEADER.pack(HEADER.size + len(body), kind, len(fds), self._sequence, 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._socket.sendmsg([header + body], rights)
        while True:
            packet = self._socket.recv(8192)
            if not packet:
                raise ConnectionError("the render worker is gone")
            _, answer, _, sequence, _ = HEADER.unpack_from(packet)
            if sequence == self._sequence:
                break
        if (
            answer == MessageType.RESPONSE
            and struct.unpack_from("<I", packet, HEADER.size)[0] != ResponseType.OK_NODATA
        ):
            raise RuntimeError(f"{kind.name} was refused; the worker's log says why")

    def close(self) -> None:
        """Leave. `pixels` stays usable."""
        self._socket.close()
        self._region.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
