# SPDX-License-Identifier: Apache-2.0
"""The agent's child processes and all their descendants: starting, reaping, ending."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TERMINATE_SECONDS = 3.0
KILL_TRIES = 40  # of 50 ms

_log = logging.getLogger(__name__)


class ChildError(Exception):
    """A program could not be started."""


def exit_code(status: int) -> int:
    """Return a shell's exit code of a wait status: 128 + n for death by signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class Child:
    """A process that the agent started. `ended` becomes its exit code (128 + n for a signal)."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], ended: asyncio.Future[int]) -> None:
        self.name = name
        self.pid = process.pid
        self.ended = ended
        # Held so that it is not collected; reaping is ours alone.
        self._process = process

    def handle_reaped(self, status: int) -> None:
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if not self.ended.done():
            self.ended.set_result(exit_code(status))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if not self.ended.done():
            os.kill(self.pid, number)


class Children:
    """Owns every process below this one. Descendants whose parent died come here too (subreaper), so all can be ended.

    One object a process, made on the loop's thread. Nothing else may wait for children meanwhile.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, Child] = {}
        self._changed = asyncio.Event()
        self._setpriv = shutil.which("setpriv")
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        directory: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        output_fd: int = 2,
        stdout_fd: int | None = None,
    ) -> Child:
        """Start a program in a session of its own; its output goes to `output_fd`, our stderr, or stdout's to
        `stdout_fd`.

        It gets `death_signal` when this process dies without ending it.

        Raises:
            ChildError: it cannot be run.
        """
        program = shutil.which(command[0], path=environment.get("PATH"))
        if program is None:
            raise ChildError(f"{command[0]}: no such program")
        arguments = [program, *command[1:]]
        if self._setpriv is not None:
            arguments = [self._setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), "--", *arguments]
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output_fd if stdout_fd is None else stdout_fd,
                stderr=output_fd,
                env=dict(environment),
                cwd=directory,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ChildError(f"{command[0]}: {error}") from error
        child = Child(name, process, self._loop.create_future())
        self._children[process.pid] = child
        return child

    def reap(self) -> None:
        """Take in every child that has ended, adopted ones too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is not None:
                child.handle_reaped(status)
        self._changed.set()

    async def end_all(self, *, spare: Child | None = None, seconds: float = TERMINATE_SECONDS) -> None:
        """End all descendants but `spare`: TERM, and KILL for what is left after `seconds`. Waits for no one else."""
        spared = spare.pid if spare is not None else 0
        try:
            async with asyncio.timeout(seconds):
                signalled: set[int] = set()
                while pids := descendants(spared):
                    # What was started meanwhile gets its signal too.
                    _signal(pids - signalled, signal.SIGTERM)
                    signalled |= pids
                    await self._wait_for_change()
        except TimeoutError:
            left = descendants(spared)
            _log.info("%d processes did not end on SIGTERM: killing them", len(left))
            killed: set[int] = set()
            tries = KILL_TRIES
            while left and tries:
                _signal(left - killed, signal.SIGKILL)
                killed |= left
                tries -= 1
                await self._wait_for_change()
                left = descendants(spared)
            if left:
                # Another user's, or inside a system call that does not return: we do not stay for them.
                _log.error("these processes do not end: %s", ", ".join(map(str, sorted(left))))

    async def _wait_for_change(self) -> None:
        # Grandchildren whose parents live do not announce their end here.
        self._changed.clear()
        self.reap()
        self._changed.clear()
        try:
            async with asyncio.timeout(0.05):
                await self._changed.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        """Stop to reap."""
        self._loop.remove_signal_handler(signal.SIGCHLD)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            _log.warning("process %d runs as another user and cannot be ended", pid)


def descendants(spared: int = 0) -> set[int]:
    """Return the pids of all processes below this one, but not `spared` and what is below it. Zombies are left out."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES):
                continue
            raise
        # The name in parentheses may hold anything.
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        if state != b"Z":
            parents.setdefault(int(parent), []).append(int(entry))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        for pid in parents.get(waiting.pop(), ()):
            if pid != spared and pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found
