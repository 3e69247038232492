# SPDX-License-Identifier: Apache-2.0
"""Ways of a virtual machine's screen to a browser, each started as a person would, with the test guest in it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.peers import novnc
from bench.peers.product import folder, free_port, process, wait_port
from bench.visit import running_session
from guest_agent.vm.qemu import PROGRAM
from tests.support.vm import GuestShell, emulator, guest_arguments, why_no_machine

_STAMP_PORT = "org.heliograph.stamps"
_STAMP_BYTES = 8


class Stamps:
    """When the guest's program was about to show each of its pictures.

    It writes their numbers to a port, and goes on when QEMU has them. The guest's own clock would not do: emulation has
    another one.

    Attributes:
        times_ns: of the host (CLOCK_MONOTONIC), by number.
    """

    def __init__(self, path: Path) -> None:
        """Read from the port's socket until `close()`."""
        self.times_ns: dict[int, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._read, name="stamps", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        data = b""
        while part := self._socket.recv(4096):
            now_ns = time.monotonic_ns()
            data += part
            while len(data) >= _STAMP_BYTES:
                self.times_ns[int.from_bytes(data[:_STAMP_BYTES], "little")] = now_ns
                data = data[_STAMP_BYTES:]

    def close(self) -> None:
        """Stop reading."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@dataclass(frozen=True, slots=True)
class RunningMachine:
    """A machine that is shown.

    Attributes:
        url: what a person would open.
        roots: processes whose trees are the server's side, QEMU among them.
        shell: the guest's.
        stamps: of its program.
        stamp_device: where that writes them, in the guest.
        vnc_port: of a VNC server; None: it is ours.
    """

    url: str
    roots: tuple[int, ...]
    shell: GuestShell
    stamps: Stamps
    stamp_device: str
    vnc_port: int | None = None


class Way(Protocol):
    """One way."""

    name: str

    def missing(self) -> str | None:
        """Return what is not here, None when all is."""

    def running(self, size: tuple[int, int], fps: int) -> AbstractAsyncContextManager[RunningMachine]:
        """Start a machine whose screen prefers this size, wait until its shell is there; end it."""


@contextmanager
def _in_guest(place: Path) -> Iterator[tuple[GuestShell, Stamps, str]]:
    """Connect to a machine that has been started with `_arguments()`."""
    shell = GuestShell(place / "shell.sock")
    try:
        stamps = Stamps(place / "stamps.sock")
        try:
            shell.wait_ready()
            device = shell.check_sh(f"cd /sys/class/virtio-ports && grep -l {_STAMP_PORT} */name | cut -d/ -f1").strip()
            yield shell, stamps, f"/dev/{device}"
        finally:
            stamps.close()
    finally:
        shell.close()


def _arguments(place: Path) -> list[str]:
    """Return the test guest's arguments, with the stamps' port."""
    return [
        *guest_arguments(place),
        *("-chardev", f"socket,id=stamps,path={place / 'stamps.sock'},server=on,wait=off"),
        *("-device", f"virtserialport,bus=guestshell.0,chardev=stamps,name={_STAMP_PORT}"),
    ]


class Heliograph:
    """`heliograph vm`: with the device that it brings, or with one of the user's, by QEMU's D-Bus display."""

    def __init__(self, name: str, gpu: str | None) -> None:
        """`gpu`: QEMU's device with `{width}` and `{height}`, None for Heliograph's own."""
        self.name = name
        self._gpu = gpu

    def missing(self) -> str | None:
        asked = subprocess.run([sys.executable, "-m", "streamer.cli", "vm", "--help"], capture_output=True, check=False)
        return why_no_machine() or (None if asked.returncode == 0 else "this build has no `heliograph vm`")

    @asynccontextmanager
    async def running(self, size: tuple[int, int], fps: int) -> AsyncIterator[RunningMachine]:
        width, height = size
        gpu = () if self._gpu is None else ("-device", self._gpu.format(width=width, height=height))
        options = ("--size", f"{width}x{height}", "--fps", str(fps), "--no-resize")
        with folder() as place:
            command = (PROGRAM, *_arguments(place), *gpu)
            async with running_session("vm", options, command) as session:
                with _in_guest(place) as (shell, stamps, device):
                    yield RunningMachine(session.url, (session.process.pid,), shell, stamps, device)


class QemuVnc:
    """QEMU's own VNC server with its defaults, and noVNC's vnc.html with its, the picture not scaled."""

    name = "QEMU's VNC + noVNC"

    def missing(self) -> str | None:
        is_there = shutil.which("websockify") and (novnc.PAGES / "vnc.html").exists()
        return why_no_machine() or (None if is_there else " ".join(novnc.INSTALL[0]))

    @asynccontextmanager
    async def running(self, size: tuple[int, int], fps: int) -> AsyncIterator[RunningMachine]:
        vnc_port, port = free_port(), free_port()
        gpu = ("-device", f"virtio-gpu-pci,xres={size[0]},yres={size[1]}", "-vnc", f"127.0.0.1:{vnc_port - 5900}")
        with folder() as place:
            log = place / "qemu.log"
            command = [str(emulator().program), *_arguments(place), *gpu]
            with process(command, log) as qemu:
                await wait_port(vnc_port, qemu, log)
                output = place / "websockify.log"
                bridge = ["websockify", "--web", str(novnc.PAGES), str(port), f"127.0.0.1:{vnc_port}"]
                with process(bridge, output) as websockify:
                    await wait_port(port, websockify, output)
                    with _in_guest(place) as (shell, stamps, device):
                        url = f"http://localhost:{port}/vnc.html?autoconnect=1&resize=off"
                        yield RunningMachine(url, (qemu.pid, websockify.pid), shell, stamps, device, vnc_port)


WAYS: Sequence[Way] = (
    Heliograph("vhost-user", None),
    Heliograph("D-Bus display", "virtio-gpu-pci,xres={width},yres={height}"),
    QemuVnc(),
)
