# SPDX-License-Identifier: Apache-2.0
"""What QEMU says on stderr: passed on to ours, and understood where a person would not know what to do next."""

from __future__ import annotations

import asyncio
import os
import re
import sys

MAX_LINE_BYTES = 65536
_READ_BYTES = 65536
# It waits for us, by our own wish.
_NOISE = re.compile(rb"-chardev socket,id=heliograph-\S+ info: QEMU waiting for connection on: ")
_ADVICE = (
    (
        rb"vhost initialization failed: requires kvm",
        "this QEMU serves vhost-user with KVM alone: add -enable-kvm, use QEMU 10 (./setup.sh qemu), or say "
        "--display-source dbus",
    ),
    (
        rb"Display 'dbus' is not available|Parameter 'type' does not accept value 'dbus'",
        "its D-Bus display is not installed: apt-get install qemu-system-modules-opengl, or ./setup.sh qemu",
    ),
    (
        rb"'qemu-vdagent' is not a valid char driver",
        "it is too old, or was built without the clipboard's part: QEMU 10 has it (./setup.sh qemu)",
    ),
    (rb"does not accept value 'dbus'|Unknown audio driver .?dbus", "it cannot play by D-Bus: say --no-audio"),
    (
        rb"QXL VGA not available|'qxl(-vga)?' is not a valid device model",
        "its QXL is not installed: apt-get install qemu-system-modules-spice, or ./setup.sh qemu",
    ),
    (
        rb"'vhost-user-gpu-pci' is not a valid device model",
        "it has no vhost-user-gpu: say --display-source dbus, or get one by ./setup.sh qemu",
    ),
    (
        rb"No 'PCI' bus found for device",
        "this kind of machine has no PCI bus for what a session adds: choose another one, such as -M q35",
    ),
    (rb"vhost_backend_init failed", "the render worker ended while QEMU started: start the session again"),
    (
        rb"Could not access KVM kernel module: Permission denied",
        "you may not use /dev/kvm: sudo usermod -aG kvm $USER, then log in again",
    ),
    (
        rb"Could not access KVM kernel module: No such file|invalid accelerator kvm|failed to initialize kvm",
        "there is no KVM here: leave it away; the machine is emulated then, slowly",
    ),
)


class QemuOutput:
    """A pipe for QEMU's stderr; loop thread only. Lines are passed on as they are.

    Attributes:
        fd: the end that QEMU writes to, until `start()`.
        advice: what to do about what QEMU has said; empty: nothing that is known.
    """

    def __init__(self, out_fd: int | None = None) -> None:
        self.advice = ""
        self._out_fd = sys.stderr.fileno() if out_fd is None else out_fd
        self._read_fd, self.fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_fd, False)
        self._line = b""
        self._ended = asyncio.Event()

    def start(self) -> None:
        """QEMU has its end now."""
        os.close(self.fd)
        self.fd = -1
        asyncio.get_running_loop().add_reader(self._read_fd, self._read)

    async def wait_ended(self) -> None:
        """Wait until all that QEMU, and those whom it has started, had to say is passed on. Cancelling is safe."""
        await self._ended.wait()

    def close(self) -> None:
        """May be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._read_fd >= 0:
            if not self._ended.is_set():
                asyncio.get_running_loop().remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = -1
        self._ended.set()

    def _read(self) -> None:
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._pass(line)
        if len(self._line) > MAX_LINE_BYTES or (self._line and not data):
            self._pass(self._line)
            self._line = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._read_fd)
            self._ended.set()

    def _pass(self, line: bytes) -> None:
        if _NOISE.search(line):
            return
        for pattern, advice in _ADVICE:
            if re.search(pattern, line):
                self.advice = advice
                break
        try:
            os.write(self._out_fd, line + b"\n")
        except OSError:
            pass  # nobody reads our log: the machine goes on
