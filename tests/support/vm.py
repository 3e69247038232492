# SPDX-License-Identifier: Apache-2.0
"""Virtual machines for tests: QEMU with the test guest (tests/support/vm_guest), and a shell in it.

    with VirtualMachine(folder, "-device", "virtio-gpu-pci") as machine:
        machine.boot()
        output, code = machine.sh("cat /proc/cmdline")
        kms = machine.spawn("kms serve")
        kms.do("mode 0 1024x768")  # sends the line, waits for "done mode 0 1024x768", returns what was said before it

A machine that somebody else starts gets the test guest by `guest_arguments()`, and its shell is a `GuestShell`.
Calls block: from asyncio use `asyncio.to_thread`. A shell, its jobs and a machine belong to one thread at a time.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import re
import secrets
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from guest_agent.vm.qemu import Emulator, find_emulator
from tests.support.vm_guest.image import GuestMissingError, prepare_guest

# Under emulation, on a machine with other work.
BOOT_SECONDS = 120.0
REPLY_SECONDS = 60.0
SHELL_PORT = "org.heliograph.shell"

_HEADER = struct.Struct("<BBHI")
_PART = 32768
_PR_SET_PDEATHSIG = 1
_COMMAND_LINE = "console=ttyS0 panic=-1 quiet loglevel=4 tsc=reliable mitigations=off random.trust_cpu=on"


class GuestError(Exception):
    """The guest did not do what it should; the text has what it said last."""


@cache
def emulator() -> Emulator:
    """Return the QEMU that tests use.

    Raises:
        GuestError: there is none.
    """
    found = find_emulator()
    if found is None:
        raise GuestError("QEMU 10 or newer is not here: ./setup.sh qemu says why")
    if found.lacks:
        raise GuestError(f"{found.program} lacks {', '.join(found.lacks)}")
    return found


def why_no_machine() -> str | None:
    """Return why virtual machines cannot be tested here, None when they can. Makes the test guest (seconds, once)."""
    try:
        emulator()
        prepare_guest()
    except (GuestError, GuestMissingError) as error:
        return str(error)
    return None


def guest_arguments(
    folder: Path, *, append: str = "", memory_mib: int = 256, cpus: int = 1, host_root: bool = False
) -> list[str]:
    """Return QEMU's arguments that boot the test guest, with its shell at `folder`/shell.sock and its console's text in
    `folder`/console. They name no display and no GPU.

    Args:
        folder: for sockets: private, its path short.
        append: more words for the kernel's command line, see tests/support/vm_guest/init.
        memory_mib: all of it is zeroed by the guest: small is quick.
        cpus: of the guest.
        host_root: the shell runs in this machine's userland, read-only under a tmpfs. Give it 1 GiB or more.
    """
    image = prepare_guest()
    arguments = ["-nodefaults", "-no-user-config", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]
    arguments += ["-smp", str(cpus), "-m", f"{memory_mib}M", "-kernel", str(image.kernel)]
    arguments += ["-initrd", str(image.initramfs)]
    words = f"{_COMMAND_LINE} {'guest.root=host ' if host_root else ''}{append}"
    arguments += ["-append", words.strip(), "-serial", f"file:{folder / 'console'}"]
    arguments += ["-device", "virtio-serial-pci,id=guestshell"]
    arguments += ["-chardev", f"socket,id=guestshell,path={folder / 'shell.sock'},server=on,wait=off"]
    arguments += ["-device", f"virtserialport,bus=guestshell.0,chardev=guestshell,name={SHELL_PORT}"]
    if host_root:
        arguments += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    return arguments


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


class _MachineShell(GuestShell):
    """A shell that knows when its machine has ended."""

    def __init__(self, path: Path, machine: VirtualMachine, timeout_s: float) -> None:
        self._machine = machine
        super().__init__(path, timeout_s)

    def check(self) -> None:
        self._machine.check()


class VirtualMachine:
    """QEMU with the test guest. A context manager: starts at entry, stops at exit."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        display: str = "none",
        pass_fds: Sequence[int] = (),
        append: str = "",
        memory_mib: int = 256,
        cpus: int = 1,
        host_root: bool = False,
    ) -> None:
        """Prepare; see `guest_arguments()`.

        Args:
            folder: for sockets and logs: private, its path short (`tmp_path` may be too long for sockets).
            arguments: more for QEMU, such as the GPU's.
            display: QEMU's -display.
            pass_fds: that QEMU inherits.
            append: as for `guest_arguments()`, like the rest.
            memory_mib: "
            cpus: "
            host_root: "
        """
        self._folder = folder
        self.command = [str(emulator().program), "-display", display]
        self.command += guest_arguments(folder, append=append, memory_mib=memory_mib, cpus=cpus, host_root=host_root)
        self.command += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off", *arguments]
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: GuestShell | None = None
        self._qmp: _Qmp | None = None

    @property
    def qmp_path(self) -> Path:
        """QMP's socket. It takes one client: either `qmp()` or who else connects."""
        return self._folder / "qmp.sock"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """QEMU, once it is started."""
        if self._process is None:
            raise GuestError("QEMU is not started")
        return self._process

    @property
    def shell(self) -> GuestShell:
        """The guest's shell; the methods below are its."""
        if self._shell is None:
            raise GuestError("QEMU is not started")
        return self._shell

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.tell())
        self.stop()

    def start(self, timeout_s: float = REPLY_SECONDS) -> None:
        """Start QEMU; return when its sockets are there. It ends with this process's thread.

        A QEMU that waits for somebody (a chardev with wait=on) makes its sockets in the order of its arguments: give
        such chardevs last, and connect to them.
        """
        libc = ctypes.CDLL(None)
        with open(self._folder / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._pass_fds,
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        self._shell = _MachineShell(self._folder / "shell.sock", self, timeout_s)

    def boot(self, timeout_s: float = BOOT_SECONDS) -> None:
        """Wait until the guest takes commands.

        Raises:
            GuestError: it does not in time, or QEMU has ended.
        """
        self.shell.wait_ready(timeout_s)

    def sh(self, command: str, timeout_s: float = REPLY_SECONDS) -> tuple[str, int]:
        """See `GuestShell.sh`."""
        return self.shell.sh(command, timeout_s)

    def check_sh(self, command: str, timeout_s: float = REPLY_SECONDS) -> str:
        """See `GuestShell.check_sh`."""
        return self.shell.check_sh(command, timeout_s)

    def spawn(self, command: str) -> GuestJob:
        """See `GuestShell.spawn`."""
        return self.shell.spawn(command)

    def put(self, path: str, data: bytes) -> None:
        """See `GuestShell.put`."""
        self.shell.put(path, data)

    def qmp(self, command: str, arguments: dict[str, Any] | None = None, fds: Sequence[int] = ()) -> Any:
        """Run a QMP command and return what it returns.

        Raises:
            GuestError: QEMU says no.
        """
        self.check()
        if self._qmp is None:
            self._qmp = _Qmp(self.qmp_path)
        return self._qmp.execute(command, arguments or {}, fds)

    def console(self) -> str:
        """Return what the kernel and the guest's start have said."""
        return _read_text(self._folder / "console")

    def check(self) -> None:
        """Raise GuestError when QEMU has ended."""
        if (code := self.process.poll()) is not None:
            raise GuestError(f"QEMU has ended with {code}\n{self.tell()}")

    def tell(self) -> str:
        """Return the last lines of QEMU and of the guest's console, for who looks for a failure's cause."""
        return (
            f"--- QEMU ---\n{_read_text(self._folder / 'qemu.log')[-2000:]}\n--- the guest's console ---\n"
            f"{self.console()[-3000:]}"
        )

    def stop(self) -> None:
        """End QEMU. May be called twice."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._shell is not None:
            self._shell.close()
        if self._qmp is not None:
            self._qmp.close()


class _Qmp:
    """QMP for tests: one command after the other, events are dropped."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(REPLY_SECONDS)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self.execute("qmp_capabilities", {}, ())

    def execute(self, command: str, arguments: dict[str, Any], fds: Sequence[int]) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        if fds:
            socket.send_fds(self._socket, [text], list(fds))
        else:
            self._socket.sendall(text)
        while True:
            reply = json.loads(self._file.readline() or '{"error": {"desc": "QEMU has closed the connection"}}')
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise GuestError(f"{command}: {reply['error'].get('desc')}")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
