# SPDX-License-Identifier: Apache-2.0
"""The test guest's shell, from the host: commands by a virtio-serial port, several at a time."""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import socket
import struct
import threading
import time
from pathlib import Path

# Under emulation, on a machine with other work.
BOOT_SECONDS = 120.0
REPLY_SECONDS = 60.0

_HEADER = struct.Struct("<BBHI")
_PART = 32768


class GuestError(Exception):
    """The guest did not do what it should; the text has what it said last."""


class GuestJob:
    """A command that runs in the guest. Its output (both kinds) is read as it comes."""

    def __init__(self, shell: GuestShell, number: int, command: str) -> None:
        self.command = command
        self.code: int | None = None  # exit status, 128 + signal; None while it runs
        self._shell = shell
        self._number = number
        self._output = bytearray()
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        for start in range(0, len(data), _PART):
            self._shell._send(b"I", self._number, data[start : start + _PART])

    def end_input(self) -> None:
        """End its standard input."""
        self._shell._send(b"E", self._number, b"")

    def kill(self) -> None:
        """Kill it and what it has started."""
        self._shell._send(b"K", self._number, b"")

    def output(self) -> str:
        """Return what it has said that nobody has read yet, and leave it there."""
        with self._changed:
            return self._output.decode(errors="replace")

    def read_until(self, pattern: str, timeout_s: float = REPLY_SECONDS) -> str:
        """Wait until its output matches this regular expression (^ and $ match at lines); return what it has said up to
        and with that.

        Raises:
            GuestError: it has ended, or it takes too long.
        """
        search = re.compile(pattern.encode(), re.MULTILINE)
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (match := search.search(self._output)):
                if self.code is not None:
                    raise GuestError(f"{self.command!r} ended with {self.code} before {pattern!r}: {self._tail()}")
                self._wait_changed(deadline, pattern)
            said = bytes(self._output[: match.end()])
            del self._output[: match.end()]
            return said.decode(errors="replace")

    def do(self, line: str, timeout_s: float = REPLY_SECONDS) -> str:
        """Give `kms serve` a line, wait until it is done; return what it said.

        Raises:
            GuestError: it says that it could not, has ended, or takes too long.
        """
        self.write(line.encode() + b"\n")
        said = self.read_until(f"^done {re.escape(line)}\n", timeout_s)
        if re.search(r"^error: ", said, re.MULTILINE):
            raise GuestError(f"{line!r}: {said}")
        return said

    def wait(self, timeout_s: float = REPLY_SECONDS) -> tuple[str, int]:
        """Wait until it ends; return its unread output and its exit status."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self.code is None:
                self._wait_changed(deadline, "its end")
            output = self._output.decode(errors="replace")
            self._output.clear()
            return output, self.code

    def _wait_changed(self, deadline: float, what: str) -> None:
        if self._shell.failure is not None:
            raise GuestError(f"{self.command!r}: waiting for {what}: {self._shell.failure}: {self._tail()}")
        # Wakes up by itself too: the shell may fail, or the machine end.
        if time.monotonic() > deadline:
            raise GuestError(f"{self.command!r}: no {what} in time: {self._tail()}")
        self._shell.check()
        self._changed.wait(0.5)

    def _tail(self) -> str:
        return self._output[-2000:].decode(errors="replace")

    def _take(self, kind: int, payload: bytes) -> None:
        with self._changed:
            if kind == ord("O"):
                self._output += payload
            elif kind == ord("X"):
                (self.code,) = struct.unpack("<I", payload)
            self._changed.notify_all()


class GuestShell:
    """Commands in the guest, by a virtio-serial port's socket (frames: tests/support/vm_guest/portshell.c)."""

    def __init__(self, path: Path, timeout_s: float = REPLY_SECONDS) -> None:
        """Connect; the guest need not be there yet. QEMU may need `timeout_s` to start.

        Raises:
            GuestError: nobody listens there.
        """
        self.failure: str | None = None
        self._jobs: dict[int, GuestJob] = {}
        self._next = secrets.randbelow(0x10000)
        self._socket = self._connect(path, timeout_s)
        self._reader = threading.Thread(target=self._read, name="guest shell", daemon=True)
        self._reader.start()

    def _connect(self, path: Path, timeout_s: float) -> socket.socket:
        deadline = time.monotonic() + timeout_s
        while True:
            self.check()
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError) as error:
                connection.close()
                if time.monotonic() > deadline:
                    raise GuestError(f"QEMU does not listen at {path}: {error.strerror}") from error
                time.sleep(0.01)
            else:
                return connection

    def spawn(self, command: str) -> GuestJob:
        """Start a command (for /bin/sh) and return at once; 16 may run."""
        self._next = (self._next + 1) & 0xFFFF
        job = self._jobs[self._next] = GuestJob(self, self._next, command)
        self._send(b"R", self._next, command.encode())
        return job

    def sh(self, command: str, timeout_s: float = REPLY_SECONDS) -> tuple[str, int]:
        """Run a command to its end, without input; return what it said and its exit status.

        What it leaves running must have its output elsewhere: `setsid program >/tmp/log 2>&1 &`.

        Raises:
            GuestError: it takes too long (then it is killed), or the guest is gone.
        """
        job = self.spawn(command)
        job.end_input()
        try:
            return job.wait(timeout_s)
        except GuestError:
            if self.failure is None:
                job.kill()
            raise

    def check_sh(self, command: str, timeout_s: float = REPLY_SECONDS) -> str:
        """Run a command; return what it said.

        Raises:
            GuestError: it failed.
        """
        output, code = self.sh(command, timeout_s)
        if code:
            raise GuestError(f"{command!r} ended with {code}: {output}")
        return output

    def put(self, path: str, data: bytes) -> None:
        """Write a file in the guest."""
        job = self.spawn(f"base64 -d >{path}")
        job.write(base64.encodebytes(data))
        job.end_input()
        output, code = job.wait()
        if code:
            raise GuestError(f"writing {path}: {output}")

    def wait_ready(self, timeout_s: float = BOOT_SECONDS) -> None:
        """Wait until the guest takes commands."""
        self.sh(":", timeout_s)

    def check(self) -> None:
        """Raise GuestError when waiting for the guest is in vain; for who knows more than its socket tells."""

    def close(self) -> None:
        """Leave the guest alone; what runs in it goes on. May be called twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _send(self, kind: bytes, number: int, payload: bytes) -> None:
        try:
            self._socket.sendall(_HEADER.pack(kind[0], 0, number, len(payload)) + payload)
        except OSError as error:
            raise GuestError(f"the guest's shell is gone: {error}") from error

    def _read(self) -> None:
        data = bytearray()
        try:
            while part := self._socket.recv(65536):
                data += part
                while len(data) >= _HEADER.size:
                    kind, _zero, number, length = _HEADER.unpack_from(data)
                    end = _HEADER.size + length
                    if len(data) < end:
                        break
                    job = self._jobs.get(number)  # none: somebody's who was connected before us
                    if job is not None:
                        if kind == ord("X"):
                            del self._jobs[number]
                        job._take(kind, bytes(data[_HEADER.size : end]))
                    del data[:end]
            self.failure = "the guest's shell is closed"
        except OSError as error:
            self.failure = f"the guest's shell is gone: {error}"
