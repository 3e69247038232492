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

import ctypes
import json
import signal
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from guest_agent.vm.qemu import Emulator, find_emulator
from tests.support.vm_guest.image import GuestMissingError, prepare_guest
from tests.support.vm_guest.shell import BOOT_SECONDS, REPLY_SECONDS, GuestError, GuestJob, GuestShell

__all__ = [
    "BOOT_SECONDS",
    "REPLY_SECONDS",
    "GuestError",
    "GuestJob",
    "GuestShell",
    "VirtualMachine",
    "emulator",
    "guest_arguments",
    "why_no_machine",
]

SHELL_PORT = "org.heliograph.shell"

_PR_SET_PDEATHSIG = 1
_TREE = Path(__file__).resolve().parents[2]
_COMMAND_LINE = "console=ttyS0 panic=-1 quiet loglevel=4 tsc=reliable mitigations=off random.trust_cpu=on"


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
    words = f"{_COMMAND_LINE} {f'guest.root=host guest.tree={_TREE} ' if host_root else ''}{append}"
    arguments += ["-append", words.strip(), "-serial", f"file:{folder / 'console'}"]
    arguments += ["-device", "virtio-serial-pci,id=guestshell"]
    arguments += ["-chardev", f"socket,id=guestshell,path={folder / 'shell.sock'},server=on,wait=off"]
    arguments += ["-device", f"virtserialport,bus=guestshell.0,chardev=guestshell,name={SHELL_PORT}"]
    if host_root:
        arguments += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    return arguments


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
