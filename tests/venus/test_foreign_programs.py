# SPDX-License-Identifier: Apache-2.0
"""Programs that nobody here wrote, on a real X server: Vulkan, Direct3D 12 by vkd3d, OpenGL by zink."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import xcffib.xproto

from guest_agent.children import Children
from guest_agent.display_server import XorgServer
from guest_agent.graphics import find_driver
from guest_agent.screen import Screen
from guest_agent.x_connection import XConnection
from tests.support.venus import VenusServer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("Xorg") is None, reason="there is no Xorg (xserver-xorg-core)"),
]

WIDTH, HEIGHT = 640, 480
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A running program and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """It must still run."""
        code = self.process.poll()
        assert code is None, f"it has ended with {code}:\n{self.said}"


class Desktop:
    """An X server without a window manager, and programs on it with a Venus environment."""

    def __init__(self, server: XorgServer, x: XConnection, environment: Mapping[str, str]) -> None:
        self.x = x
        self.environment = {**environment, **server.environment(), "LANG": "C.UTF-8"}

    async def run(self, *command: str) -> str:
        """Run a program to its end, which must be a good one; return what it said."""
        with self.running(*command) as program:
            code = await asyncio.to_thread(program.process.wait, WAIT_S)
            assert code == 0, f"{command[0]} ended with {code}:\n{program.said}"
            return program.said

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[Program]:
        """Run a program, killed at the end if need be."""
        with tempfile.NamedTemporaryFile() as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.environment)
            )
            try:
                yield Program(process, Path(log.name))
            finally:
                process.kill()
                process.wait()

    def picture(self) -> bytes:
        """What the screen shows, four bytes a pixel."""
        format_ = xcffib.xproto.ImageFormat.ZPixmap
        cookie = self.x.core.GetImage(format_, self.x.root, 0, 0, WIDTH, HEIGHT, 0xFFFFFFFF)
        return bytes(self.x.reply(cookie).data)


@pytest.fixture
async def desktop(venus: VenusServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desktop]:
    with tempfile.TemporaryDirectory(prefix="heliograph-test-") as name:
        children = Children()
        server = await XorgServer.start(children, Path(name))
        monkeypatch.setenv("XAUTHORITY", server.environment()["XAUTHORITY"])
        x = XConnection(server.display)
        Screen(x, lambda width, height: None).set_size(WIDTH, HEIGHT)
        try:
            yield Desktop(server, x, venus.environment)
        finally:
            x.close()
            await server.stop()
            children.close()


def need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} ({package})")


def need_zink() -> None:
    driver = find_driver()
    if driver is None or driver.zink is None:
        pytest.skip("there is no zink (libgl1-mesa-dri 25)")


def colors(picture: bytes) -> set[bytes]:
    return {picture[i : i + 4] for i in range(0, len(picture), 4)}


async def colors_and_motion(desktop: Desktop, program: Program) -> None:
    """Wait until something of several colours is shown, and until it has moved."""
    first: bytes | None = None
    async with asyncio.timeout(WAIT_S):
        while True:
            program.check()
            picture = desktop.picture()
            if len(colors(picture)) > 8:
                if first is not None and picture != first:
                    return
                first = picture
            await asyncio.sleep(0.05)


async def test_vkcube_draws_its_frames_and_ends(desktop: Desktop) -> None:
    need("vkcube", "vulkan-tools")
    await desktop.run("vkcube", "--suppress_popups", "--c", "100")


@pytest.mark.parametrize(
    ("command", "package", "moves"),
    [
        (("vkcube", "--suppress_popups"), "vulkan-tools", True),
        (("vkd3d-gears",), "vkd3d-demos", True),
        (("vkd3d-triangle",), "vkd3d-demos", False),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
async def test_pictures_come_to_the_screen(
    desktop: Desktop, command: tuple[str, ...], package: str, moves: bool
) -> None:
    need(command[0], package)
    with desktop.running(*command) as program:
        if moves:
            await colors_and_motion(desktop, program)
        else:
            async with asyncio.timeout(WAIT_S):
                while len(colors(desktop.picture())) < 1000:
                    program.check()
                    await asyncio.sleep(0.05)


async def test_opengl_is_zink_on_venus(desktop: Desktop) -> None:
    need("glxinfo", "mesa-utils")
    need_zink()
    said = await desktop.run("glxinfo", "-B")
    assert "zink" in said and "Virtio-GPU Venus" in said, said
    assert "OpenGL core profile version string: 4." in said, said


async def test_glxgears_turns(desktop: Desktop) -> None:
    need("glxgears", "mesa-utils")
    need_zink()
    with desktop.running("glxgears", "-info") as program:
        await colors_and_motion(desktop, program)


async def test_glmark2_validates_its_scenes(desktop: Desktop) -> None:
    """Scenes that check pixels of what they have drawn."""
    need("glmark2", "glmark2-x11")
    need_zink()
    scenes = (
        "build",
        "texture",
        "shading",
        "bump",
        "effect2d",
        "desktop",
        "buffer",
        "conditionals",
        "function",
        "loop",
    )
    arguments = [word for scene in scenes for word in ("-b", scene)]
    said = await desktop.run("glmark2", "--validate", "--size", "320x240", *arguments)
    results = [line for line in said.splitlines() if "Validation:" in line]
    assert "zink" in said, said
    assert len(results) == len(scenes), said
    assert not [line for line in results if "Failure" in line], said
    assert sum("Success" in line for line in results) >= 5, said
