# SPDX-License-Identifier: Apache-2.0
"""One process of the session: started with its control link, waited for by pidfd, ended with its process group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from guest_agent.link import Link
from guest_agent.messages import Message, MessageSet
from streamer.gateway.errors import ChildStartError
from streamer.gateway.ring_guard import RingGuard

_log = logging.getLogger(__name__)
_STDERR = 2
_REAP_PATIENCE_S = 1.0
# In a source tree that is installed editable, we have rebuilt what had changed: all parts come from one build.
_IS_BUILT = {"HELIOGRAPH_IS_BUILT": "1"}


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How a process is started.

    Attributes:
        command: program and options; `--control-fd N` is put behind them.
        guest: what comes last.
        fds: inherited under the same numbers; they stay the caller's.
        environment: added to ours.
        accepts: the messages that the process may send by its control link.
        restarts: whether it is started anew when it ends; else its end is the session's.
        takes_stop: whether it ends by a `stop` message; else by the end of its control link.
        death_signal: what the kernel sends it when the gateway dies.
        is_guarded: whether it serves Venus clients, and gets `--guard-fd N`.
    """

    name: str
    command: tuple[str, ...]
    accepts: MessageSet
    guest: tuple[str, ...] = ()
    fds: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    restarts: bool = True
    takes_stop: bool = True
    death_signal: str = "KILL"
    is_guarded: bool = False


class ChildProcess:
    """A started process. Loop thread only; `close()` ends it if it still runs.

    Attributes:
        link: the control link; the ChildProcess owns it.
        guard: of a worker's Venus clients; the ChildProcess owns it.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], pidfd: int, link: Link, guard: RingGuard | None
    ) -> None:
        self.name = name
        self.link = link
        self.guard = guard
        self._process = process
        self._pidfd = pidfd
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._loop.add_reader(pidfd, self._handle_exit)

    @classmethod
    async def start(cls, spec: ChildSpec, handle_client: Callable[[], None] = lambda: None) -> ChildProcess:
        """Start the process in a session of its own; its output goes to our stderr.

        Args:
            handle_client: hears of each Venus client of a guarded process.

        Raises:
            ChildStartError: the program is not there, or the machine is out of something.
        """
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            try:
                link_end, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                ours.push(link_end)
                theirs.enter_context(control)
                options = ["--control-fd", str(control.fileno())]
                fds = [*spec.fds, control.fileno()]
                guard = None
                if spec.is_guarded:
                    guard, guard_end = RingGuard.create(f"the {spec.name}", handle_client)
                    ours.callback(guard.close)
                    theirs.enter_context(guard_end)
                    options += ["--guard-fd", str(guard_end.fileno())]
                    fds.append(guard_end.fileno())
            except OSError as error:
                raise ChildStartError(f"cannot start the {spec.name}: {error}") from error
            command = [*_death_signal(spec), *spec.command, *options, *spec.guest]
            _log.debug("starting the %s: %s", spec.name, " ".join(command))
            try:
                process = subprocess.Popen(  # noqa: ASYNC220  (returns once exec() has worked)
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=_STDERR,
                    pass_fds=fds,
                    start_new_session=True,
                    env={**os.environ, **_IS_BUILT, **spec.environment},
                )
            except OSError as error:
                raise ChildStartError(f"cannot start the {spec.name} ({spec.command[0]}): {error}") from error
            pidfd = -1
            try:
                pidfd = os.pidfd_open(process.pid)
                link = await Link.open(link_end, spec.accepts)
            except BaseException as error:
                process.kill()
                process.wait()
                if pidfd >= 0:
                    os.close(pidfd)
                if isinstance(error, OSError):
                    raise ChildStartError(f"cannot watch the {spec.name}: {error}") from error
                raise
            ours.pop_all()
            return cls(spec.name, process, pidfd, link, guard)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _handle_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._process.wait()  # the pidfd says that it has ended
        self._exited.set()

    async def wait(self) -> int:
        """Wait for the end; return the exit code, 128 + n for a signal. Cancelling is safe."""
        await self._exited.wait()
        code = self._process.returncode
        if code is None:
            return 128 + signal.SIGKILL  # it could not even be killed
        return code if code >= 0 else 128 - code

    def send(self, message: Message) -> None:
        """Queue a control message; nothing happens when the process is gone."""
        self.link.send(message)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to its whole process group; nothing is sent after close()."""
        if self._pidfd < 0:
            return  # its number may be another's by now
        try:
            os.killpg(self._process.pid, number)  # the leader's pid; the group may outlive it
        except (ProcessLookupError, PermissionError):
            pass

    async def end(self, patience_s: float) -> None:
        """Wait `patience_s` for the process to end by itself, then TERM, then KILL."""
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None and not self._exited.is_set():
                _log.warning("the %s does not end: sending %s", self.name, number.name)
                self.signal(number)
            try:
                async with asyncio.timeout(patience_s if number is None else 2.0):
                    await self._exited.wait()
                    return
            except TimeoutError:
                pass

    def close(self) -> None:
        """Kill what is left of the process group, reap the process, end its Venus clients, close the link.

        May be called twice.
        """
        self.link.close()
        self.signal(signal.SIGKILL)
        if self._pidfd >= 0:
            if not self._exited.is_set():
                self._loop.remove_reader(self._pidfd)
                try:
                    self._process.wait(_REAP_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    # A driver's call that does not return; the session's end does not wait for it.
                    _log.error("the %s (process %d) cannot be killed", self.name, self._process.pid)
                self._exited.set()
            os.close(self._pidfd)
            self._pidfd = -1
        if self.guard is not None:
            self.guard.close()


def _death_signal(spec: ChildSpec) -> list[str]:
    # By an exec, not by a function that runs between fork and exec. The control link's end says the same, later.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", spec.death_signal, "--"] if setpriv else []
