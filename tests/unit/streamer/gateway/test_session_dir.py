# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.gateway.errors import SessionDirError
from streamer.gateway.session_dir import SessionDir, sweep

_HOLD = """
import sys, time
from pathlib import Path
from streamer.gateway.session_dir import SessionDir
directory = SessionDir.create(Path(sys.argv[1]))
print(directory.path, flush=True)
time.sleep(60)
"""


def test_directory_is_private_and_goes_away(tmp_path: Path) -> None:
    with SessionDir.create(tmp_path) as directory:
        assert directory.path.stat().st_mode & 0o777 == 0o700
        assert directory.path.name == f"heliograph-{directory.session_id}"
        listener = directory.listen("agent.sock", socket.SOCK_STREAM)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(directory.path / "agent.sock"))
        assert not os.get_inheritable(listener.fileno())
    assert list(tmp_path.iterdir()) == []
    directory.close()


def test_sweep_leaves_the_living_alone_and_removes_what_was_killed(tmp_path: Path) -> None:
    (tmp_path / "heliograph-notes.txt").write_text("a file of somebody's")
    (tmp_path / "heliograph-link").symlink_to(tmp_path)
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        (path / "frames.sock").touch()
        assert sweep(tmp_path) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        assert sweep(tmp_path) == [path]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["heliograph-link", "heliograph-notes.txt"]


def test_directory_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    new = tmp_path / ".heliograph-new-x"
    new.mkdir()
    assert sweep(tmp_path) == []
    os.utime(new, (0, 0))
    assert sweep(tmp_path) == [new]


def test_no_place_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SessionDirError, match="XDG_RUNTIME_DIR"):
        SessionDir.create(tmp_path / "missing")
