# SPDX-License-Identifier: Apache-2.0
"""A render worker by itself, with its links at paths in a folder."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from render_core import Frame, FrameLink, Ring

START_SECONDS = 60


class WorkerProcess:
    """Starts a worker, waits until it is ready, and ends it. `frames` is a connected, active frame link."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = tempfile.mkdtemp(prefix="heliograph-bench-")
        self.display_path = f"{self._folder}/display.sock"
        frames_path = f"{self._folder}/frames.sock"
        with _listen(self.display_path) as display, _listen(frames_path) as frames:
            self._control, theirs = socket.socketpair()
            command = [sys.executable, "-m", "render_core.worker", "--display-fd", str(display.fileno())]
            command += ["--frames-fd", str(frames.fileno()), "--control-fd", str(theirs.fileno()), *arguments]
            fds = (display.fileno(), frames.fileno(), theirs.fileno())
            self.process = subprocess.Popen(command, pass_fds=fds, env=dict(environment))
            theirs.close()
        self._control.settimeout(START_SECONDS)
        if not self._control.recv(4096):
            self.close()
            raise RuntimeError("the render worker did not start; its log says why")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(frames_path)
        self.frames = FrameLink(sock)
        self.frames.set_active(0, True)
        self.ring: Ring | None = None

    def next_frame(self, timeout_s: float = 20.0) -> Frame:
        """Wait for the next frame of the newest ring."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            waiting: list[FrameLink | Ring] = [self.frames, *([self.ring] if self.ring else [])]
            ready, _, _ = select.select(waiting, [], [], left)
            if self.frames in ready:
                rings = [event for event in self.frames.receive() if isinstance(event, Ring)]
                self.ring = rings[-1] if rings else self.ring
            if self.ring and (frame := self.ring.acquire()):
                return frame
        raise TimeoutError("no frame came")

    def close(self) -> None:
        """End the worker by closing its control socket."""
        if hasattr(self, "frames"):
            self.frames.close()
        self._control.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(path)
    sock.listen(4)
    return sock
