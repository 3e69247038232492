# SPDX-License-Identifier: Apache-2.0
"""`heliograph vtest` and stock guest programs on it, and the same programs on the host's own driver."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Usage, descendants, read_usage
from streamer.config import vulkan_environment

_ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
GUEST_TIMEOUT_S = 100.0
_DRIVER_VARIABLES = ("VK_ADD_DRIVER_FILES", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VN_DEBUG", "VTEST_SOCKET_NAME")


def driver_file(name: str) -> Path | None:
    """Return the ICD file of one of Mesa's drivers ("lvp", "virtio"), the private Mesa's before the machine's."""
    listed = vulkan_environment().get("VK_ADD_DRIVER_FILES", "").split(":")
    folders = [Path(path).parent for path in listed if path]
    folders += [Path(base) / "vulkan/icd.d" for base in ("/etc", "/usr/local/share", "/usr/share")]
    for folder in folders:
        for path in sorted(folder.glob(f"{name}_icd*.json")):
            return path
    return None


def _environment(driver: str) -> dict[str, str]:
    found = driver_file(driver)
    if found is None:
        raise FileNotFoundError(f"there is no {driver}_icd.json: Mesa's Vulkan drivers are not installed")
    environment = {**os.environ, **vulkan_environment(), "VK_LOADER_LAYERS_DISABLE": "~all~"}
    for variable in _DRIVER_VARIABLES:
        environment.pop(variable, None)
    return environment | {"VK_DRIVER_FILES": str(found)}


def native_environment() -> dict[str, str]:
    """Return the environment of a program on Mesa's software driver itself."""
    return _environment("lvp")


def venus_environment(socket: Path | str) -> dict[str, str]:
    """Return the environment of a program on Mesa's stock Venus driver, served on `socket`."""
    return _environment("virtio") | {
        "VN_DEBUG": "vtest",
        "VTEST_SOCKET_NAME": str(socket),
        "MESA_VK_WSI_DEBUG": "sw",
    }


class VenusServer:
    """A running `heliograph vtest`, whose log is kept in a file."""

    def __init__(self, *arguments: str) -> None:
        # Short: a Unix socket is made in it.
        self._directory = tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp", ignore_cleanup_errors=True)
        self.directory = Path(self._directory.name)
        self.socket = self.directory / "vtest"
        self._log_path = self.directory / "log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer.cli", "vtest", "--socket", str(self.socket), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,  # select() must see what has not been read
                stderr=log,
                cwd=_ROOT,
            )
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        return venus_environment(self.socket)

    def _wait_ready(self) -> None:
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
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
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
    shaders = directory.parent / "shaders"
    shaders.mkdir(exist_ok=True)
    variables = {**environment, "HELIOGRAPH_TEST_SHADERS": str(shaders), "PYTHONPATH": str(_ROOT)}
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
