# SPDX-License-Identifier: Apache-2.0
"""Processes whose parents have died come to the gateway, which ends them with the session."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TERM_PATIENCE_S = 1.0
_KILL_PATIENCE_S = 5.0

_log = logging.getLogger(__name__)


class Orphanage:
    """Makes this process the one that orphaned descendants come to. Children it has already are left alone."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            _log.warning("orphaned processes cannot be looked after: %s", os.strerror(ctypes.get_errno()))
        self._not_ours = _children()

    def kill_all(self) -> None:
        """End and reap every other child, their children when those come to us, and so on. Blocks until done.

        They get TERM and a moment first: a display server that is killed leaves its socket behind.
        """
        begun_s = time.monotonic()
        asked: set[int] = set()
        while orphans := _children() - self._not_ours:
            is_patient = time.monotonic() < begun_s + _TERM_PATIENCE_S
            for pid in orphans:
                try:
                    if not is_patient or pid not in asked:
                        os.kill(pid, signal.SIGTERM if is_patient else signal.SIGKILL)
                    asked.add(pid)
                    os.waitpid(pid, os.WNOHANG)
                except (ProcessLookupError, ChildProcessError, PermissionError):
                    pass
            if time.monotonic() > begun_s + _TERM_PATIENCE_S + _KILL_PATIENCE_S:
                _log.error("these processes do not end: %s", ", ".join(map(str, sorted(orphans))))
                return
            time.sleep(0.005)


def _children() -> set[int]:
    """Return our children's pids, zombies included."""
    children = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # "pid (name) state ppid …"; the name may hold anything.
            ppid = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if int(ppid) == os.getpid():
            children.add(int(entry.name))
    return children
