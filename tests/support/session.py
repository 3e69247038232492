# SPDX-License-Identifier: Apache-2.0
"""Sessions as a person starts them: the command, its READY line, its exit code."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class Session:
    """A running `heliograph`, whose log is kept in a file."""

    def __init__(self, arguments: tuple[str, ...], directory: Path) -> None:
        self.runtime = directory / "runtime"
        self.runtime.mkdir(mode=0o700)
        self._log_path = directory / "log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,  # select() must see what has not been read
                stderr=log,
                cwd=_ROOT,  # guest programs are modules of this tree
                env={**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)},
            )
        self.url = ""

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def wait_ready(self) -> None:
        """Wait for the READY line."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            byte = self.process.stdout.read(1) if readable else b""
            assert byte, f"no READY line:\n{self.log}"
            line += byte
        word, _, self.url = line.decode().strip().partition(" ")
        assert word == "READY"

    def children(self) -> dict[str, int]:
        """Return the pids of the session's parts by module: render_core.worker, streamer.process, guest_agent."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                ppid = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if ppid == self.process.pid and "-m" in words:
                found[words[words.index("-m") + 1]] = int(entry.name)
        return found

    def wait(self) -> int:
        """Wait for the end; return the exit code, negative for a signal that was not handled."""
        return self.process.wait(STOP_TIMEOUT_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end."""
        self.process.send_signal(number)
        return self.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class SessionStarter:
    """Starts sessions on free ports and ends what is left of them."""

    def __init__(self) -> None:
        self._directories: list[tempfile.TemporaryDirectory[str]] = []
        self._sessions: list[Session] = []

    def __call__(self, mode: str, *arguments: str, wait: bool = True) -> Session:
        # Short: Unix sockets are made below it.
        directory = tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp", ignore_cleanup_errors=True)
        self._directories.append(directory)
        session = Session((mode, "--port", "0", *arguments), Path(directory.name))
        self._sessions.append(session)
        if wait:
            session.wait_ready()
        return session

    def run(self, *command: str, options: tuple[str, ...] = ()) -> Session:
        """Start `heliograph run` with a program."""
        return self("run", *options, "--", *command)

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        for directory in self._directories:
            directory.cleanup()
