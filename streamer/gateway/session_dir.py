# SPDX-License-Identifier: Apache-2.0
"""The session's private directory: its sockets, and whatever its processes put there.

The gateway holds a lock on a file in it for as long as it lives; the kernel drops that lock however the gateway ends.
So a directory whose lock can be taken is left over, and the next gateway removes it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from streamer.gateway.errors import SessionDirError

PREFIX = "heliograph-"
_NEW_PREFIX = ".heliograph-new-"
_LOCK_NAME = "lock"
# A directory that is being made has no lock yet; one that has none after this long never gets one.
_NEW_GRACE_S = 60.0

_log = logging.getLogger(__name__)


class SessionDir:
    """A private directory with listening sockets. A context manager; leaving it removes the directory.

    Attributes:
        session_id: 8 letters and digits; names the directory and the viewers' cookie.
        path: absolute.
    """

    def __init__(self, session_id: str, path: Path, lock_fd: int) -> None:
        self.session_id = session_id
        self.path = path
        self._lock_fd = lock_fd
        self._sockets: list[socket.socket] = []

    @classmethod
    def create(cls, base: Path) -> Self:
        """Make a directory below `base`, locked before it gets the name by which others see it.

        Raises:
            SessionDirError: `base` cannot be written to.
        """
        try:
            new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=base))  # mode 0700
            lock_fd = os.open(new / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            session_id = secrets.token_hex(4)
            path = base / f"{PREFIX}{session_id}"
            new.rename(path)
        except OSError as error:
            raise SessionDirError(
                f"no session directory can be made in {base}: {error.strerror}; free some space there, or set "
                "XDG_RUNTIME_DIR to a directory of your own"
            ) from error
        return cls(session_id, path, lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def listen(self, name: str, kind: socket.SocketKind, backlog: int = 8) -> socket.socket:
        """Return a Unix socket that listens at `name` in the directory. The SessionDir owns it.

        Raises:
            SessionDirError: it cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, kind)
        try:
            listener.bind(os.fspath(self.path / name))
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            raise SessionDirError(f"cannot listen at {self.path / name}: {error}") from error
        self._sockets.append(listener)
        return listener

    def close(self) -> None:
        """Close the sockets, remove the directory, give the lock back. May be called twice."""
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()
        if self._lock_fd >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock_fd)
            self._lock_fd = -1


def sweep(base: Path) -> list[Path]:
    """Remove the directories in `base` that gateways of this user left behind; return which."""
    removed = []
    for path in sorted([*base.glob(f"{PREFIX}*"), *base.glob(f"{_NEW_PREFIX}*")]):
        try:
            if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.geteuid():
                continue
            if _is_stale(path):
                shutil.rmtree(path)
                removed.append(path)
                _log.info("removed %s, which a gateway that was killed had left behind", path)
        except OSError as error:
            _log.debug("cannot look after %s: %s", path, error)
    return removed


def _is_stale(path: Path) -> bool:
    try:
        fd = os.open(path / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - path.stat().st_mtime > _NEW_GRACE_S
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        # Its maker may have opened the file and not yet locked it.
        return path.name.startswith(PREFIX) or time.time() - path.stat().st_mtime > _NEW_GRACE_S
    finally:
        os.close(fd)
