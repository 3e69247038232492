# SPDX-License-Identifier: Apache-2.0
"""The sandbox from inside: a process enters it and tries what a worker that was taken over would try."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TIOCSTI, FIOSETOWN, F_SETOWN, F_SETSIG = 0x5412, 0x8901, 8, 10

# Everything is loaded before; results are told by exit codes.
PROLOGUE = """
import ctypes, errno, fcntl, mmap, os, signal, socket, struct, sys, threading
from render_core._ffi import ffi, lib
libc = ctypes.CDLL(None, use_errno=True)
ours, theirs = socket.socketpair()
reader, writer = os.pipe()
message = ffi.new("char[256]")
result = lib.rc_sandbox_enter(ffi.new("struct rc_sandbox_params *", [65534, 65534, False]), message, 256)
if result:
    sys.exit(f"the sandbox: {ffi.string(message)!r}")
def refused(what):
    try:
        what()
    except PermissionError as error:
        return error.errno == errno.EPERM
    return False
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('/tmp/x', 'w')",
        "os.listdir('/')",
        "os.stat('/etc/passwd')",
        "socket.socket()",
        "socket.socketpair()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getpid(), 0)",
        "call(234, os.getppid(), os.getppid(), 0)",  # tgkill
        "os.setuid(0)",
        "os.unlink('/tmp/x')",
        "os.pidfd_open(os.getppid())",
        "call(101, 16, os.getppid(), 0, 0)",  # ptrace
        "call(310, os.getppid(), 0, 0, 0, 0, 0)",  # process_vm_readv
        "call(425, 1, 0)",  # io_uring_setup
        "call(321, 0, 0, 0)",  # bpf
        "call(157, 38, 0, 0, 0, 0)",  # prctl(PR_SET_NO_NEW_PRIVS, 0)
        "call(157, 4, 1, 0, 0, 0)",  # prctl(PR_SET_DUMPABLE, 1)
        f"fcntl.fcntl(ours, {F_SETOWN}, os.getppid())",
        f"fcntl.fcntl(ours, {F_SETSIG}, 9)",
        f"fcntl.ioctl(ours, {FIOSETOWN}, struct.pack('i', os.getppid()))",
        f"fcntl.ioctl(0, {TIOCSTI}, b'x')",
        "ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)",
        "os.mkfifo('/tmp/x')",
    ],
)
@pytest.mark.skipif(sys.platform != "linux" or "x86_64" not in sys.implementation._multiarch, reason="numbers of calls")
def test_it_refuses(attempt: str) -> None:
    done = run(f"sys.exit(0 if refused(lambda: {attempt}) else 7)")
    assert done.returncode == 0, done.stderr


def test_it_lets_a_worker_work() -> None:
    done = run(
        """
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 4096)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with mmap.mmap(fd, 4096) as memory:
            memory[0] = 1
        socket.send_fds(ours, [b"x"], [fd])
        data, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        done = []
        thread = threading.Thread(target=lambda: done.append(len(fds)))
        thread.start()
        thread.join()
        sys.exit(0 if done == [1] else 7)
        """
    )
    assert done.returncode == 0, done.stderr


def test_abort_still_works() -> None:
    assert run("os.abort()").returncode == -6
