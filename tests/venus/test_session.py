# SPDX-License-Identifier: Apache-2.0
"""Programs of a session draw with nothing set, and what becomes of them when the render worker dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest_agent.graphics import find_driver
from tests.support.session import Session, SessionStarter

pytestmark = pytest.mark.gpu

_WAIT_S = 60.0
_CUBE = "vkcube"


@pytest.fixture
def start_session() -> Iterator[SessionStarter]:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    starter = SessionStarter()
    yield starter
    starter.close()


def _needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} ({package})")


def _wait_log(session: Session, pattern: str, count: int = 1) -> list[str]:
    deadline_s = time.monotonic() + _WAIT_S
    while len(found := re.findall(pattern, session.log)) < count:
        assert time.monotonic() < deadline_s, f"no {pattern!r}:\n{session.log}"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("command", "package", "expected"),
    [
        ("vulkaninfo --summary", "vulkan-tools", r"Virtio-GPU Venus \("),
        ("vkcube --c 30", "vulkan-tools", r"Selected GPU 0: Virtio-GPU Venus \("),
        ("glxinfo -B", "mesa-utils", r"OpenGL renderer string: zink Vulkan .*Virtio-GPU Venus \("),
        ("es2_info", "mesa-utils", r"GL_RENDERER: zink Vulkan .*Virtio-GPU Venus \("),  # EGL
    ],
)
def test_programs_find_the_render_worker(
    start_session: SessionStarter, tmp_path: Path, command: str, package: str, expected: str
) -> None:
    _needs(command.split()[0], package)
    output = tmp_path / "output"
    session = start_session("run", "--", "sh", "-c", f"{command} >{output} 2>&1", wait=False)
    assert session.wait() == 0, output.read_text() + session.log
    text = output.read_text()
    assert re.search(expected, text), text
    # And nothing of the host's drivers.
    assert "GPU1" not in text


def test_x_server_does_not_draw_with_it(start_session: SessionStarter) -> None:
    session = start_session.run("sleep", "600")
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or (entry / "comm").read_text().strip() != "Xorg":
                continue
            environment = (entry / "environ").read_bytes()
        except PermissionError:
            pytest.skip("the X server's environment is root's to see")
        except OSError:
            continue  # it has ended while we looked
        else:
            if str(session.runtime).encode() in environment:
                assert b"VTEST_SOCKET_NAME" not in environment
                return
    pytest.fail("the session has no Xorg")


@pytest.mark.slow
def test_killed_worker_ends_what_draws_and_the_session_lives_on(start_session: SessionStarter) -> None:
    """The program that draws aborts; the shell around it goes on and draws with the next worker."""
    _needs(_CUBE, "vulkan-tools")
    script = f"{_CUBE}; echo first ended with $?; {_CUBE} --c 30; echo second ended with $?; sleep 600"
    session = start_session.run("sh", "-c", script)
    _wait_log(session, "Selected GPU 0: Virtio-GPU Venus")
    before = session.children()
    os.kill(before["render_core.worker"], signal.SIGKILL)
    _wait_log(session, f"first ended with {128 + signal.SIGABRT}\n")
    _wait_log(session, "second ended with 0\n")
    after = session.children()
    assert after["guest_agent"] == before["guest_agent"]
    assert after["render_core.worker"] != before["render_core.worker"]
    _wait_log(session, "has left 1 Venus clients")
    assert session.stop() == 143


def test_session_that_ends_ends_what_draws(start_session: SessionStarter) -> None:
    _needs(_CUBE, "vulkan-tools")
    session = start_session.run(_CUBE)
    _wait_log(session, "Selected GPU 0: Virtio-GPU Venus")
    assert session.stop() == 143
    assert list(session.runtime.iterdir()) == []
