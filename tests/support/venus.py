# SPDX-License-Identifier: Apache-2.0
"""`heliograph vtest` and stock guest programs on it, and the same programs on the host's own driver."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.processes import Usage, descendants, read_usage
from guest_agent.graphics import GuestDriver, find_driver, graphics_variables, with_graphics

_ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
GUEST_TIMEOUT_S = 100.0
# Layers of the machine would be seen by native and Venus alike, but not by everyone who runs the tests.
_DETERMINED = {"VK_LOADER_LAYERS_DISABLE": "~all~"}


def native_environment(software: str = "lvp_icd*.json") -> dict[str, str]:
    """Return the environment of a program on a driver of the host's Mesa, by the name of its ICD file."""
    driver = installed_driver()
    files = sorted(driver.icd.parent.glob(software))
    if not files:
        raise FileNotFoundError(f"there is no {software} beside {driver.icd}")
    environment = {**os.environ, **_DETERMINED, "VK_DRIVER_FILES": str(files[0])}
    if driver.library_path:
        environment["LD_LIBRARY_PATH"] = driver.library_path
    for variable in ("VK_ADD_DRIVER_FILES", "VK_ICD_FILENAMES", "VN_DEBUG", "VTEST_SOCKET_NAME"):
        environment.pop(variable, None)
    return environment


def venus_environment(path: Path, driver: GuestDriver | None = None, *, is_cpu: bool = True) -> dict[str, str]:
    """Return the environment of a program on Mesa's stock Venus driver, served on the socket at `path`."""
    variables = graphics_variables(driver or installed_driver(), str(path), is_cpu=is_cpu)
    return with_graphics(os.environ, variables) | _DETERMINED


def installed_driver() -> GuestDriver:
    """Return the Venus driver that set-up has installed."""
    driver = find_driver()
    if driver is None:
        raise FileNotFoundError("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    return driver


class VenusServer:
    """Serves Venus clients at a socket: `heliograph vtest`, or one worker by itself for all clients (`shared`).

    The log is kept in a file; `arguments` go to either command. A worker has the environment of native_environment()
    unless another is given; the command looks for drivers itself.
    """

    def __init__(
        self, *arguments: str, shared: bool = False, worker_environment: Mapping[str, str] | None = None
    ) -> None:
        # Short: a Unix socket is made in it.
        self._directory = tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp", ignore_cleanup_errors=True)
        self.directory = Path(self._directory.name)
        self.socket = self.directory / "vtest"
        self._log_path = self.directory / "log"
        self._last_log = ""
        self._control: socket.socket | None = None
        with self._log_path.open("wb") as log:
            if shared:
                self.process = self._start_worker(arguments, log, worker_environment or native_environment())
            else:
                self.process = self._start_command(arguments, log)
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def _start_command(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "streamer.cli", "vtest", "--socket", str(self.socket), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,  # select() must see what has not been read
            stderr=log,
            cwd=_ROOT,
        )

    def _start_worker(
        self, arguments: Sequence[str], log: IO[bytes], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        self._control, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self.socket))
            listener.listen(64)
            fds = (listener.fileno(), theirs.fileno())
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "render_core.worker"),
                    *("--vtest-fd", str(fds[0]), "--control-fd", str(fds[1]), *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=_ROOT,
                pass_fds=fds,
                env=dict(environment),
            )

    @property
    def log(self) -> str:
        """All that it has said, also after its end."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else self._last_log

    def wait_log(self, lines: int) -> None:
        """Wait until it has said that many lines: a client may see what happens before it is written down."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while len(self.log.splitlines()) < lines:
            assert time.monotonic() < deadline_s, f"the log has fewer than {lines} lines:\n{self.log}"
            time.sleep(0.01)

    def wait_said(self, text: str) -> None:
        """Wait until its log has this."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while text not in self.log:
            assert time.monotonic() < deadline_s, f"the log has no {text!r}:\n{self.log}"
            time.sleep(0.01)

    @property
    def environment(self) -> dict[str, str]:
        return venus_environment(self.socket)

    def _wait_ready(self) -> None:
        if self._control is not None:
            self._control.settimeout(START_TIMEOUT_S)
            assert b"ready" in self._control.recv(4096), f"the worker did not start:\n{self.log}"
            return
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            byte = self.process.stdout.read(1) if readable else b""
            assert byte, f"no READY line:\n{self.log}"
            line += byte
        word, _, path = line.decode().strip().partition(" ")
        assert (word, path) == ("READY", str(self.socket))

    def usage(self) -> dict[int, Usage]:
        """Return what the server's processes use now, by pid."""
        found = {}
        for pid in descendants(self.process.pid):
            try:
                found[pid] = read_usage(pid)
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
        return found

    def close(self) -> int:
        """Stop it; returns its exit code. May be called twice."""
        if self._control is not None:
            self._control.close()  # how a worker is told to end
        elif self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._last_log = self.log
        self._directory.cleanup()
        return code


@dataclass(frozen=True, slots=True)
class Run:
    """A guest program that has ended."""

    directory: Path
    code: int | str
    output: str

    def case(self, name: str) -> dict[str, object]:
        """Return what a case found; fails when it raised or was never reached."""
        path = self.directory / f"{name}.json"
        assert path.exists(), f"{name} has no result; the program ended with {self.code}:\n{self.output[-4000:]}"
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        assert "error" not in found, f"{name}: {found['error']}\n{self.output[-2000:]}"
        return found

    def raw(self, name: str, key: str) -> bytes:
        return (self.directory / f"{name}.{key}.raw").read_bytes()


def run_guest(program: str, directory: Path, environment: Mapping[str, str], cases: Sequence[str] = ()) -> Run:
    """Run tests.support.guest_programs.venus.PROGRAM to its end; one that hangs is killed."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"tests.support.guest_programs.venus.{program}", str(directory), *cases]
    shaders = Path(os.environ.get("HELIOGRAPH_TEST_SHADERS") or directory.parent / "shaders")
    shaders.mkdir(exist_ok=True)
    variables = {**environment, "HELIOGRAPH_TEST_SHADERS": str(shaders.resolve())}
    log = directory / "output"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=_ROOT, env=variables
        )
        try:
            code: int | str = process.wait(GUEST_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "a time-out"
    return Run(directory, code, log.read_text(errors="replace"))
