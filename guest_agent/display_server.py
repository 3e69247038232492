# SPDX-License-Identifier: Apache-2.0
"""The guest's display server: Xorg with its dummy video driver, run as an ordinary user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from guest_agent.children import Child, ChildError, Children

MAX_WIDTH = 7680
MAX_HEIGHT = 4320
START_SECONDS = 30.0
STOP_SECONDS = 5.0

# Debian's /usr/bin/Xorg is a wrapper that wants a console.
_PROGRAMS = ("/usr/lib/xorg/Xorg", "/usr/libexec/Xorg", "/usr/lib/Xorg", "/usr/bin/Xorg")
_MODULES = ("/usr/lib/xorg/modules", "/usr/lib64/xorg/modules")
_FAMILY_WILD = 0xFFFF
_COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"

_log = logging.getLogger(__name__)

_CONFIG = """\
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoEnableDevices" "false"
  Option "AutoAddGPU" "false"
  Option "DontVTSwitch" "true"
  Option "DontZap" "true"
  Option "BlankTime" "0"
  Option "StandbyTime" "0"
  Option "SuspendTime" "0"
  Option "OffTime" "0"
EndSection
Section "Device"
  Identifier "memory"
  Driver "dummy"
  VideoRam {video_ram}
EndSection
Section "Monitor"
  Identifier "viewer"
  HorizSync 1-10000
  VertRefresh 1-1000
EndSection
Section "Screen"
  Identifier "screen"
  Device "memory"
  Monitor "viewer"
  DefaultDepth 24
  SubSection "Display"
    Depth 24
    Virtual {width} {height}
  EndSubSection
EndSection
"""
_POINTER = """\
Section "InputDevice"
  Identifier "Heliograph pointer"
  Driver "inputtest"
  Option "SocketPath" "{socket}"
  Option "DeviceType" "Pointer"
  Option "PointerButtonCount" "10"
  Option "AccelerationScheme" "none"
EndSection
"""


class DisplayServerError(Exception):
    """The display server cannot be started; the text says what to do."""


class DisplayServer(Protocol):
    """A guest's display server that runs. The agent ends with it."""

    display: str
    child: Child
    pointer_socket: Path | None  # where the inputtest driver listens; None when there is none

    def environment(self) -> Mapping[str, str]:
        """Return what a client's environment needs."""

    async def stop(self) -> None:
        """End it and remove what it leaves behind. May be called twice."""


class XorgServer:
    """Xorg on a framebuffer in memory, any size up to MAX_WIDTH × MAX_HEIGHT."""

    def __init__(self, display: str, child: Child, authority: Path, pointer_socket: Path | None) -> None:
        self.display = display
        self.child = child
        self.pointer_socket = pointer_socket
        self._authority = authority

    @classmethod
    async def start(cls, children: Children, directory: Path) -> XorgServer:
        """Start Xorg with its files in `directory` (private to us) and wait until it takes clients. Cancelling is safe.

        Raises:
            DisplayServerError: it cannot run here.
        """
        program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
        if program is None:
            raise DisplayServerError("Xorg is missing: install xserver-xorg-core and xserver-xorg-video-dummy")
        if _module("drivers/dummy_drv.so") is None:
            raise DisplayServerError("Xorg's dummy driver is missing: install xserver-xorg-video-dummy")
        pointer_socket = directory / "pointer.sock" if _module("input/inputtest_drv.so") else None
        if pointer_socket is None:
            _log.warning("Xorg has no inputtest driver: the wheel moves by whole notches")
        config, authority, log = directory / "xorg.conf", directory / "authority", directory / "xorg.log"
        (directory / "xorg.conf.d").mkdir()
        config.write_text(_config(pointer_socket))
        authority.touch(mode=0o600)
        authority.write_bytes(_authority_entry(secrets.token_bytes(16)))
        read_fd, write_fd = os.pipe()
        try:
            command = [program, "-displayfd", str(write_fd), "-config", str(config), "-configdir", "xorg.conf.d"]
            command += ["-auth", str(authority), "-logfile", str(log), "-nolisten", "tcp", "-noreset"]
            command += ["-sharevts", "-novtswitch", "-s", "0", "-dpi", "96"]
            child = _spawn(children, command, write_fd, directory)
            os.close(write_fd)
            write_fd = -1
            number = await _read_display_number(read_fd)
        finally:
            os.close(read_fd)
            if write_fd >= 0:
                os.close(write_fd)
        if number is None:
            raise DisplayServerError(f"Xorg did not start: {_last_errors(log)}")
        return cls(f":{number}", child, authority, pointer_socket)

    def environment(self) -> Mapping[str, str]:
        return {"DISPLAY": self.display, "XAUTHORITY": str(self._authority)}

    async def stop(self) -> None:
        self.child.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.shield(self.child.ended)
        except TimeoutError:
            _log.warning("Xorg did not end on SIGTERM: killing it")
            self.child.signal(signal.SIGKILL)
            await asyncio.shield(self.child.ended)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        # A server that was killed leaves its socket (no lock: with -displayfd there is none). Another server may have
        # taken the number meanwhile: then somebody listens.
        path = f"/tmp/.X11-unix/X{self.display.removeprefix(':')}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            try:
                sock.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def _spawn(children: Children, command: list[str], display_fd: int, directory: Path) -> Child:
    # What it says goes to a file: its log has the same, and more.
    with open(directory / "xorg.output", "wb") as output:
        try:
            return children.start(
                "Xorg",
                command,
                environment=os.environ,
                pass_fds=[display_fd],
                directory=directory,
                death_signal=signal.SIGTERM,
                output_fd=output.fileno(),
            )
        except ChildError as error:
            raise DisplayServerError(str(error)) from error


def _module(name: str) -> Path | None:
    return next((path for folder in _MODULES if (path := Path(folder, name)).exists()), None)


def _config(pointer_socket: Path | None) -> str:
    # Twice the largest screen: the driver counts the framebuffer's pitch too.
    text = _CONFIG.format(video_ram=2 * MAX_WIDTH * MAX_HEIGHT * 4 // 1024, width=MAX_WIDTH, height=MAX_HEIGHT)
    layout = ['  Screen "screen"']
    if pointer_socket is not None:
        text += _POINTER.format(socket=pointer_socket)
        layout.append('  InputDevice "Heliograph pointer" "CorePointer"')
    return "\n".join([text + 'Section "ServerLayout"', '  Identifier "layout"', *layout, "EndSection", ""])


def _authority_entry(cookie: bytes) -> bytes:
    """One entry of an authority file: this cookie for any display."""
    fields = (b"", b"", _COOKIE_NAME, cookie)
    return struct.pack(">H", _FAMILY_WILD) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


async def _read_display_number(fd: int) -> int | None:
    """Return what the server writes to its -displayfd, or None when it ends or takes too long."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    data = b""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not data.endswith(b"\n"):
                readable = asyncio.Event()
                loop.add_reader(fd, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(fd)
                part = os.read(fd, 64)
                if not part:
                    return None
                data += part
    except TimeoutError:
        return None
    return int(data)


def _last_errors(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    errors = [line.split("(EE)", 1)[1].strip() for line in lines if "(EE)" in line]
    return "; ".join([line for line in errors if line][-5:]) or "its log has no error"
