# SPDX-License-Identifier: Apache-2.0
"""Runs inside the test guest, in the host's userland (`host_root=True`): Xorg on the guest's own KMS device and input
devices, without a login, and the default desktop of sessions or a program. Says "READY DISPLAY" when X takes clients.

    PYTHONPATH=TREE python3 -m tests.support.vm_guest.guest_desktop [-- PROGRAM...]
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from guest_agent.children import Child, Children
from guest_agent.screen import Screen
from guest_agent.session import Session, make_environment
from guest_agent.wallpaper import Wallpaper
from guest_agent.x_connection import XConnection

_FOLDER = Path("/run/desktop")
_LOG = _FOLDER / "xorg.log"
_XORG = "/usr/lib/xorg/Xorg"
_EVDEV = Path("/usr/lib/xorg/modules/input/evdev_drv.so")
_CONFIG = """\
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoAddGPU" "false"
  Option "BlankTime" "0"
  Option "StandbyTime" "0"
  Option "SuspendTime" "0"
  Option "OffTime" "0"
EndSection
Section "Device"
  Identifier "gpu"
  Driver "modesetting"
  Option "kmsdev" "/dev/dri/card0"
  Option "AccelMethod" "none"
EndSection
Section "Screen"
  Identifier "screen"
  Device "gpu"
  DefaultDepth 24
EndSection
"""
# The evdev driver takes QEMU's virtio-tablet for a touchpad, whose places it would take for movements.
_INPUT = """\
Section "InputDevice"
  Identifier "{name}"
  Driver "evdev"
  Option "Device" "/dev/input/{name}"
  Option "Mode" "Absolute"
EndSection
"""


def configuration() -> str:
    """Return Xorg's, with the input devices that are there: there is no udev to tell of them."""
    devices = sorted(path.name for path in Path("/dev/input").glob("event*")) if _EVDEV.exists() else []
    sections = [_INPUT.format(name=name) for name in devices]
    layout = ['Section "ServerLayout"', '  Identifier "layout"', '  Screen "screen"']
    layout += [f'  InputDevice "{name}" "SendCoreEvents"' for name in devices]
    return "\n".join([_CONFIG, *sections, *layout, "EndSection", ""])


def start_server(children: Children) -> tuple[Child, int]:
    """Start Xorg; return it and where it writes its display's number."""
    (_FOLDER / "runtime").mkdir(parents=True, exist_ok=True)
    config = _FOLDER / "xorg.conf"
    config.write_text(configuration(), encoding="utf-8")
    options = ["vt2", "-novtswitch", "-keeptty", "-ac", "-nolisten", "tcp", "-noreset", "-dpi", "96"]
    read_fd, write_fd = os.pipe()
    with open(_FOLDER / "xorg.output", "wb") as output:
        server = children.start(
            "Xorg",
            [_XORG, "-displayfd", str(write_fd), "-config", str(config), "-logfile", str(_LOG), *options],
            environment=os.environ,
            pass_fds=[write_fd],
            output_fd=output.fileno(),
        )
    os.close(write_fd)
    return server, read_fd


async def main(command: list[str]) -> int:
    """Run until the program ends; return its exit code."""
    children = Children()
    server, read_fd = start_server(children)
    number = (await asyncio.to_thread(os.read, read_fd, 16)).decode().strip()
    if not number:
        sys.stdout.write(f"Xorg did not start\n{_LOG.read_text(errors='replace')[-3000:]}\n")
        return 1
    session = Session(children, make_environment({"DISPLAY": f":{number}"}, _FOLDER / "runtime"))
    if command:
        program = session.start_program(command)
    else:
        x = XConnection(f":{number}")
        wallpaper = Wallpaper(x, x.screen.height_in_pixels)
        Screen(x, lambda _width, height: wallpaper.paint(height))
        program = session.start_desktop()
    sys.stdout.write(f"READY :{number}\n")
    sys.stdout.flush()
    code = await program.ended
    server.signal(signal.SIGTERM)
    await children.end_all()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:])))
