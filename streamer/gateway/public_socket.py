# SPDX-License-Identifier: Apache-2.0
"""A listening Unix socket at a path that the user names."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from streamer.gateway.errors import ListenError

_MAX_PATH_BYTES = 107

_log = logging.getLogger(__name__)


class PublicSocket:
    """A listening stream socket. A context manager; leaving it removes the file, if it is still ours.

    Attributes:
        listener: the PublicSocket owns it.
    """

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.listener = listener
        self._path = path
        self._identity = _identity(path)

    @classmethod
    def listen(cls, path: Path, mode: int, backlog: int) -> Self:
        """Listen at `path`. A socket there that nobody listens at any more is replaced; anything else is left alone.

        Args:
            mode: the file's permissions: who may write to it may connect.

        Raises:
            ListenError: the place is taken, or cannot be used.
        """
        if len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise ListenError(f"{path}: a socket's path has at most {_MAX_PATH_BYTES} bytes; choose a shorter one")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _alone_in(path.parent):
                _remove_stale(path)
                listener.bind(os.fspath(path))
                # Nobody can connect before listen().
                os.chmod(path, mode)
                listener.listen(backlog)
                return cls(path, listener)
        except OSError as error:
            listener.close()
            raise ListenError(f"cannot listen at {path}: {error.strerror}") from error
        except BaseException:
            listener.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop to listen. May be called twice."""
        if self.listener.fileno() < 0:
            return
        self.listener.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                self._path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two who find a stale socket only one replaces it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ListenError(f"{path} is there and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(os.fspath(path))
    # Non-blocking: a full backlog says EAGAIN, and is somebody's too.
    if code != errno.ECONNREFUSED:
        raise ListenError(f"somebody listens at {path} already; choose another path")
    _log.info("replacing %s, at which nobody listens", path)
    path.unlink()
