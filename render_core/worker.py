# SPDX-License-Identifier: Apache-2.0
"""The render worker: one process for one guest. `python -m render_core.worker --help`.

It closes what it was not given, opens the Vulkan device, enters the sandbox, says "ready" on its control socket, and
serves until the control socket's other end is closed, or SIGTERM. It serves a display, or Venus clients, or both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from typing import Any

from ._ffi import ffi, lib
from .bench import FORMATS, PATHS, DeviceInfo, device_info
from .errors import RenderCoreError, check

LOG_LEVELS = {"error": 0, "warn": 1, "warning": 1, "info": 2, "debug": 3}
NOBODY = 65534
# Between the owner's end and ours: for the loop to return, and then for the core to end.
LOOP_PATIENCE_S = 10.0
END_PATIENCE_S = 45.0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT")
    return int(match[1]), int(match[2])


def _limit(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z-]{1,40})=(\d{1,20})", text)
    if not match or int(match[2]) >= 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return match[1], int(match[2])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m render_core.worker", description=__doc__)
    parser.add_argument("--display-fd", type=int, default=-1, help="listening socket of the display link")
    parser.add_argument("--machine-fd", type=int, default=-1, help="listening socket of the machine link")
    parser.add_argument("--frames-fd", type=int, default=-1, help="listening socket of the frame link")
    parser.add_argument("--vtest-fd", type=int, default=-1, help="listening socket for Venus clients")
    parser.add_argument("--control-fd", type=int, required=True, help="socket to the gateway")
    parser.add_argument("--guard-fd", type=int, default=-1, help="guard link to the gateway")
    parser.add_argument("--once", action="store_true", help="serve one Venus client, then end")
    parser.add_argument("--limit", action="append", type=_limit, default=[], help="of Venus clients: NAME=VALUE")
    parser.add_argument("--no-swapchain", action="store_true", help="for Venus clients that need no emulation of it")
    parser.add_argument("--gpu", default="auto")
    parser.add_argument("--size", type=_size, default=(1280, 720))
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--format", choices=[*sorted(FORMATS), "i420"], default="yuv420p")
    parser.add_argument("--convert", choices=sorted(PATHS), default="auto")
    parser.add_argument("--log-level", choices=sorted(LOG_LEVELS), default="info")
    parser.add_argument("--uid", type=int, default=NOBODY, help="user to become when started as root")
    parser.add_argument("--gid", type=int, default=NOBODY)
    return parser


def _create_core(args: argparse.Namespace) -> Any:
    gpu = ffi.new("char[]", args.gpu.encode())
    names = [ffi.new("char[]", name.encode()) for name, _value in args.limit]
    limits = ffi.new("struct rc_limit[]", [(name, limit[1]) for name, limit in zip(names, args.limit, strict=True)])
    params = ffi.new(
        "struct rc_core_params *",
        {
            "display_fd": args.display_fd,
            "frames_fd": args.frames_fd,
            "machine_fd": args.machine_fd,
            "vtest_fd": args.vtest_fd,
            "guard_fd": args.guard_fd,
            "vtest_once": args.once,
            "venus_swapchain": not args.no_swapchain,
            "limits": limits,
            "limit_count": len(args.limit),
            "gpu": gpu,
            "width": args.size[0],
            "height": args.size[1],
            "refresh_mhz": round(args.fps * 1000),
            "format": FORMATS["yuv420p" if args.format == "i420" else args.format],
            "convert": PATHS[args.convert],
            "log_fd": 2,
            "log_level": LOG_LEVELS[args.log_level],
        },
    )
    out = ffi.new("struct rc_core **")
    check(lib.rc_core_create(params, out), "the render core did not start (its log says why)")
    return ffi.gc(out[0], lib.rc_core_destroy)


def _enter_sandbox(device: DeviceInfo, uid: int, gid: int) -> None:
    params = ffi.new("struct rc_sandbox_params *", {"uid": uid, "gid": gid, "allow_open": device.kind == "gpu"})
    message = ffi.new("char[256]")
    result = lib.rc_sandbox_enter(params, message, 256)
    check(result, f"the sandbox cannot be entered: {ffi.string(message).decode()}")


def _say_ready(control: socket.socket, device: DeviceInfo, venus: bool) -> None:
    message = {
        "type": "ready",
        "device": device.name,
        "kind": device.kind,
        "convert": device.convert,
        "venus": venus,
    }
    body = json.dumps(message).encode()
    control.sendall(struct.pack("<I", len(body)) + body)


class _Backstop:
    """Ends the process when its owner is gone and the loop does not notice, as it hangs in a driver."""

    def __init__(self, core: Any, control: socket.socket) -> None:
        self._core = core
        self._control = control
        self._lock = threading.Lock()
        self._has_returned = False
        threading.Thread(target=self._run, daemon=True).start()

    def handle_return(self) -> None:
        """The loop has returned: the core ends in order."""
        with self._lock:
            self._has_returned = True

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLHUP)
        poll.poll()
        time.sleep(LOOP_PATIENCE_S)
        with self._lock:
            if not self._has_returned:
                lib.rc_core_end_clients(self._core)
        time.sleep(END_PATIENCE_S)
        sys.stderr.write("error: the render worker does not end by itself\n")
        os._exit(1)


def main(argv: list[str] | None = None) -> int:
    """Run the worker; returns its exit code."""
    args = _parser().parse_args(argv)
    given = (args.display_fd, args.machine_fd, args.frames_fd, args.vtest_fd, args.control_fd, args.guard_fd)
    fds = [fd for fd in given if fd >= 0]
    lib.rc_sandbox_close_fds(ffi.new("int[]", fds), len(fds))
    control = socket.socket(fileno=args.control_fd)
    try:
        core = _create_core(args)
    except (RenderCoreError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    raw = ffi.new("struct rc_device_info *")
    lib.rc_core_device_info(core, raw)
    device = device_info(raw)
    serves_venus = lib.rc_core_serves_venus(core)
    # rc_core_run() holds the main thread, so Python's handlers would never run; ^C is the gateway's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    check(lib.rc_core_stop_on_signal(core, signal.SIGTERM), "SIGTERM cannot be handled")
    backstop = _Backstop(core, control)
    try:
        _enter_sandbox(device, args.uid, args.gid)
    except RenderCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    try:
        _say_ready(control, device, serves_venus)
    except OSError:
        return 0  # its owner has ended meanwhile
    try:
        check(lib.rc_core_run(core, args.control_fd), "the render core's loop failed")
    except RenderCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    else:
        code = 0
    backstop.handle_return()
    ffi.release(core)
    return code


if __name__ == "__main__":
    # Not by sys.exit(): a driver that hangs has threads that the interpreter's end, or the C library's, would wait for.
    os._exit(main())
