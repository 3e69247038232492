# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamer.gateway.errors import ListenError
from streamer.gateway.public_socket import PublicSocket


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Short enough, wherever pytest puts its directories."""
    here = Path.cwd()
    os.chdir(tmp_path)
    yield Path("socket")
    os.chdir(here)


def _can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_it_listens_with_that_mode_and_leaves_nothing(path: Path, mode: int) -> None:
    with PublicSocket.listen(path, mode, 4):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert _can_connect(path)
    assert not path.exists()


def test_stale_socket_is_replaced(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as dead:
        dead.bind(str(path))
    assert not _can_connect(path)
    with PublicSocket.listen(path, 0o600, 4):
        assert _can_connect(path)


def test_socket_of_somebody_who_listens_is_left_alone(path: Path) -> None:
    with PublicSocket.listen(path, 0o600, 0):
        with pytest.raises(ListenError, match="somebody listens"):
            PublicSocket.listen(path, 0o600, 4)
        # The backlog is full by now: that is somebody who listens, too.
        with pytest.raises(ListenError, match="somebody listens"):
            PublicSocket.listen(path, 0o600, 4)
    assert not path.exists()


def test_file_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        PublicSocket.listen(path, 0o600, 4)
    assert path.read_text() == "precious"


def test_socket_that_another_put_there_meanwhile_stays(path: Path) -> None:
    first = PublicSocket.listen(path, 0o600, 4)
    path.unlink()
    with PublicSocket.listen(path, 0o600, 4):
        first.close()
        first.close()
        assert _can_connect(path)


def test_bad_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="at most 107 bytes"):
        PublicSocket.listen(tmp_path / ("x" * 120), 0o600, 4)
    with pytest.raises(ListenError, match="cannot listen at"):
        PublicSocket.listen(Path("/does/not/exist"), 0o600, 4)
