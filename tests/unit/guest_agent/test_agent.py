# SPDX-License-Identifier: Apache-2.0
"""The agent as its own process: what it shows, how it ends, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import xcffib

import guest_agent
from guest_agent import messages
from guest_agent.children import descendants
from guest_agent.graphics import find_driver, graphics_variables
from guest_agent.link import Link
from guest_agent.messages import AgentReady, Exited, Graphics, Message
from guest_agent.sound import find_programs
from tests.support.fake_worker import FakeWorker
from tests.support.fifo import Fifo
from tests.support.streaming import wait_until

# A window of one colour: what a guest program draws.
PAINTER = """
import os, sys, xcffib, xcffib.xproto
x = xcffib.connect(); root = x.get_setup().roots[0]; window = x.generate_id()
x.core.CreateWindow(24, window, root.root, 30, 40, 100, 50, 0, 1, root.root_visual, 2, [0x2468AC])
x.core.MapWindow(window); x.flush()
while True: x.wait_for_event()
"""
# A window over the whole screen, with a cursor so large that the X server draws it itself.
POINTER = """
import xcffib, xcffib.xproto as p
x = xcffib.connect(); root = x.get_setup().roots[0]; core = x.core
mask, gc, cursor, window = (x.generate_id() for _ in range(4))
core.CreatePixmap(1, mask, root.root, 128, 128); core.CreateGC(gc, mask, p.GC.Foreground, [1])
core.PolyFillRectangle(mask, gc, 1, [p.RECTANGLE.synthetic(0, 0, 128, 128)])
core.CreateCursor(cursor, mask, mask, 0xFFFF, 0, 0, 0, 0, 0, 64, 32)
attributes = p.CW.BackPixel | p.CW.Cursor
core.CreateWindow(24, window, root.root, 0, 0, 640, 480, 0, 1, root.root_visual, attributes, [0x2468AC, cursor])
core.MapWindow(window); x.flush()
while True: x.wait_for_event()
"""
SLEEPER = "trap '' TERM; (setsid sleep 1000 &) ; sleep 1000"


class AgentProcess:
    """An agent with a gateway, a streamer and a worker that are this test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(directory / "display.sock"))
        self.listener.listen(4)
        self.agent_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.agent_listener.bind(str(directory / "agent.sock"))
        self.agent_listener.listen(4)
        self.sound_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sound_listener.bind(str(directory / "sound.sock"))
        self.sound_listener.listen(4)
        self.worker = FakeWorker(self.listener)
        self.control: Link
        self.process: subprocess.Popen[bytes]

    async def start(
        self, *arguments: str, prefix: Sequence[str] = (), python: str = sys.executable, has_sound: bool = False
    ) -> None:
        ours, theirs = socket.socketpair()
        fds = (theirs.fileno(), self.agent_listener.fileno(), self.sound_listener.fileno())
        command = [*prefix, python, "-m", "guest_agent", "--control-fd", str(fds[0]), "--agent-fd", str(fds[1])]
        command += ["--display", str(self.directory / "display.sock"), "--session-dir", str(self.directory)]
        command += ["--sound-fd", str(fds[2])] if has_sound else []
        command += ["--size", "640x480", *arguments]
        # An editable install would try to build itself, which another user may not.
        skip = os.pathsep.join(str(finder._build_path) for finder in sys.meta_path if hasattr(finder, "_build_path"))
        environment = {**os.environ, "MESONPY_EDITABLE_SKIP": skip}
        self.process = await asyncio.to_thread(subprocess.Popen, command, pass_fds=fds, env=environment)
        theirs.close()
        self.control = await Link.open(ours, messages.AGENT_TO_GATEWAY)

    async def told(self) -> Message | None:
        async with asyncio.timeout(60):
            return await self.control.receive()

    async def ready(self) -> str:
        message = await self.told()
        assert isinstance(message, AgentReady)
        return message.display

    async def streamer(self) -> Link:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.directory / "agent.sock"))
        return await Link.open(sock, messages.AGENT_TO_STREAMER)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 60)

    def close(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for sock in (self.listener, self.agent_listener, self.sound_listener):
            sock.close()


@pytest.fixture
async def agent() -> AsyncIterator[AgentProcess]:
    with tempfile.TemporaryDirectory(prefix="heliograph-test-", ignore_cleanup_errors=True) as name:
        agent = AgentProcess(Path(name))
        async with asyncio.TaskGroup() as tasks:
            runner = tasks.create_task(agent.worker.run())
            try:
                yield agent
            finally:
                runner.cancel()
                if hasattr(agent, "control"):  # else the test was skipped before it started one
                    agent.control.close()
                    await agent.control.wait_closed()
                agent.close()


def traces(agent: AgentProcess, display: str) -> list[str]:
    """What an X server of the agent's has left. Another one on this machine may have the number already."""
    path = Path(f"/tmp/.X11-unix/X{display.removeprefix(':')}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except FileNotFoundError:
            return []
        except ConnectionRefusedError:
            return [str(path)]
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []  # it has ended since
    return [str(path)] if os.fsencode(agent.directory) in command else []


def find_process(word: bytes) -> int:
    """Return the youngest of our descendants with this word in its command line."""
    found = []
    for pid in descendants():
        with contextlib.suppress(OSError):  # it has ended while we looked
            if word in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return max(found)


async def test_a_guest_program_is_shown_and_its_exit_code_is_told(agent: AgentProcess) -> None:
    await agent.start("--", sys.executable, "-c", PAINTER)
    display = await agent.ready()
    await agent.worker.until(lambda: agent.worker.pixel(30, 40) == agent.worker.pixel(129, 89) == 0x2468AC)
    assert agent.worker.pixel(29, 40) != 0x2468AC and agent.worker.pixel(130, 89) != 0x2468AC
    os.kill(find_process(b"2468AC"), signal.SIGSEGV)
    assert await agent.told() == Exited(128 + signal.SIGSEGV)
    assert await agent.ended() == 0
    assert traces(agent, display) == [] and not (agent.directory / "guest").exists()


async def test_resize_follows_the_viewer_and_the_guest(agent: AgentProcess) -> None:
    await agent.start("--", sys.executable, "-c", PAINTER)
    await agent.ready()
    worker = agent.worker
    for size in ((1001, 601), (333, 777), (1920, 1080)):
        worker.want(*size)
        await worker.until_shown(size)
        await worker.until(lambda: len(worker.regions) == 2 and worker.pixel(129, 89) == 0x2468AC)


async def test_worker_may_come_back(agent: AgentProcess) -> None:
    await agent.start("--", sys.executable, "-c", PAINTER)
    await agent.ready()
    worker = agent.worker
    worker.want(801, 603)
    await worker.until_shown((801, 603))
    for connections in (2, 3):
        worker.wanted = (640, 480)
        worker.drop()
        # The guest keeps its size.
        await worker.until_shown((801, 603))
        assert worker.connections == connections
        await worker.until(lambda: worker.pixel(30, 40) == 0x2468AC)


async def test_cursor_is_apart_from_the_picture(agent: AgentProcess) -> None:
    await agent.start("--", sys.executable, "-c", POINTER)
    await agent.ready()
    worker = agent.worker
    streamer = await agent.streamer()
    streamer.send(messages.Motion(300, 200))
    await worker.until(lambda: worker.cursor is not None and worker.cursor.size == (128, 128))
    assert worker.cursor is not None and worker.cursor.image is not None
    assert (worker.cursor.hot_x, worker.cursor.hot_y) == (64, 32)
    assert set(struct.iter_unpack("<I", worker.cursor.image.pixels)) == {(0xFFFF0000,)}
    await worker.until(lambda: worker.pixel(0, 0) == 0x2468AC)
    assert {pixel & 0xFFFFFF for (pixel,) in struct.iter_unpack("<I", worker.picture())} == {0x2468AC}
    streamer.close()


async def test_nothing_is_written_while_the_worker_reads(agent: AgentProcess) -> None:
    # The program draws, and says so; the picture stays as it is until its flush is answered.
    fifo = Fifo(agent.directory / "drawn")
    agent.worker.holds_answers = True
    drawn = f"x.core.GetInputFocus().reply(); open({str(fifo.path)!r}, 'w').write('drawn\\n')"
    program = PAINTER.replace("while True", f"{drawn}\nwhile True")
    await agent.start("--", "sh", "-c", f'read go < "{agent.directory}/go"; exec "$0" -c "$1"', sys.executable, program)
    os.mkfifo(agent.directory / "go")
    await agent.worker.until(lambda: len(agent.worker.flushed) == 1)
    picture = agent.worker.picture()
    await asyncio.to_thread((agent.directory / "go").write_text, "go\n")
    assert await fifo.read_line() == "drawn"
    assert agent.worker.picture() == picture and len(agent.worker.flushed) == 1
    agent.worker.release()
    await agent.worker.until(lambda: agent.worker.pixel(30, 40) == 0x2468AC)
    fifo.close()


@pytest.mark.slow
async def test_stop_ends_even_what_ignores_it(agent: AgentProcess) -> None:
    await agent.start("--", "sh", "-c", SLEEPER)
    display = await agent.ready()
    started = descendants()
    agent.control.send(messages.Stop())
    assert await agent.ended() == 0
    await wait_until(lambda: not started & descendants())
    assert traces(agent, display) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_end_the_session(agent: AgentProcess, number: signal.Signals) -> None:
    await agent.start("--", "sleep", "1000")
    display = await agent.ready()
    agent.process.send_signal(number)
    assert await agent.ended() == 0
    assert traces(agent, display) == []


async def test_session_directory_goes_when_the_gateway_dies(agent: AgentProcess) -> None:
    await agent.start("--", "sleep", "1000")
    display = await agent.ready()
    agent.control.close()
    assert await agent.ended() == 0
    assert traces(agent, display) == [] and not agent.directory.exists()


async def test_killed_agent_leaves_no_server(agent: AgentProcess) -> None:
    await agent.start("--", "sleep", "1000")
    display = await agent.ready()
    children = {pid for pid in descendants() if pid != agent.process.pid}
    watched = [os.pidfd_open(pid) for pid in children]
    agent.process.kill()
    await agent.ended()
    for fd in watched:
        await asyncio.get_running_loop().run_in_executor(None, _wait_for_end, fd)
    assert traces(agent, display) == []


def _wait_for_end(fd: int) -> None:
    assert select.select([fd], [], [], 60)[0]
    os.close(fd)


async def test_death_of_the_display_server_ends_the_session(agent: AgentProcess) -> None:
    await agent.start("--", "sleep", "1000")
    display = await agent.ready()
    os.kill(find_process(b"Xorg"), signal.SIGKILL)
    assert await agent.ended() == 1
    assert traces(agent, display) == []


async def test_missing_program_is_told(agent: AgentProcess) -> None:
    await agent.start("--", "/nonexistent/program")
    assert await agent.told() == Exited(127)
    assert await agent.ended() == 0


async def test_streamer_is_served_and_replaced(agent: AgentProcess) -> None:
    await agent.start("--", sys.executable, "-c", PAINTER)
    await agent.ready()
    first = await agent.streamer()
    first.send(messages.Key(0xFFE1, True))
    second = await agent.streamer()
    async with asyncio.timeout(60):
        assert await first.receive() is None
        second.send(messages.Clipboard("from the viewer"))
        second._writer.write(b"\x0f\0\0\0" + b'{"type": "no"} ')
        answer = await second.receive()
    assert answer == messages.Error("message.type: 'no' is not known here")
    first.close()
    second.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_runs_without_privileges(agent: AgentProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    # This interpreter may lie where only its owner comes to; the machine's own one of the same version will do then.
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
    packages = Path(xcffib.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{Path(guest_agent.__file__).parents[1]}{os.pathsep}{packages}")
    check = f"import sys, xcffib.xproto, guest_agent.agent; assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, "/usr/bin/python3"):
        command = (*prefix, "sh", "-c", '"$0" -c "$1" 2>/dev/null', python, check)
        if await asyncio.to_thread(subprocess.call, command) == 0:
            break
    else:
        pytest.skip("no other user can read this tree")
    for name in ("", "display.sock", "agent.sock", "sound.sock"):
        os.chown(agent.directory / name, 65534, 65534)
    await agent.start("--", python, "-c", PAINTER, prefix=prefix, python=python, has_sound=True)
    display = await agent.ready()
    await agent.worker.until(lambda: agent.worker.pixel(30, 40) == 0x2468AC)
    if find_programs() is not None:
        await _hear(agent)
    agent.control.send(messages.Stop())
    assert await agent.ended() == 0
    assert traces(agent, display) == []


async def _hear(agent: AgentProcess) -> None:
    """Wait until the sound socket gives samples."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                await loop.sock_connect(sock, str(agent.directory / "sound.sock"))
                if await loop.sock_recv(sock, 1920):
                    return


@pytest.mark.skipif(find_programs() is None, reason="pulseaudio or pulseaudio-utils is not installed")
async def test_sound_is_there_when_programs_start_and_ends_with_them(agent: AgentProcess) -> None:
    info = agent.directory / "info"
    await agent.start("--", "sh", "-c", f"pactl get-default-sink >{info}; sleep 1000", has_sound=True)
    await agent.ready()
    streamer = await agent.streamer()
    async with asyncio.timeout(60):
        assert await streamer.receive() == messages.Sound(True)
    await _hear(agent)
    await wait_until(lambda: info.exists() and info.read_text() == "heliograph\n")
    sound_server = find_process(b"pulseaudio")
    agent.control.send(messages.Stop())
    assert await agent.ended() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(sound_server, 0)
    streamer.close()


async def _variables(agent: AgentProcess, graphics: Graphics | None, *options: str) -> dict[str, str]:
    """Return a program's environment; the agent is told about its graphics when the guest is ready."""
    path = agent.directory / "environment"
    await agent.start(*options, "--", "sh", "-c", f"env -0 >{path}")
    if graphics is not None:
        await agent.ready()
        assert not path.exists()  # it waits
        agent.control.send(graphics)
        agent.control.send(Graphics("gpu", False))  # of a worker that comes later: too late
    told = await agent.told()
    while not isinstance(told, Exited):
        told = await agent.told()
    assert told == Exited(0)
    return dict(entry.split("=", 1) for entry in path.read_text().split("\0") if entry)


async def test_programs_are_led_to_the_worker(agent: AgentProcess) -> None:
    driver = find_driver()
    if driver is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    found = await _variables(agent, Graphics("cpu", True), "--venus", "/s/venus.sock")
    expected = graphics_variables(driver, "/s/venus.sock", is_cpu=True)
    library_path = expected.pop("LD_LIBRARY_PATH", "")
    assert expected.items() <= found.items()
    assert found.get("LD_LIBRARY_PATH", "").startswith(library_path)


@pytest.mark.parametrize("graphics", [Graphics("cpu", False), None])
async def test_without_a_worker_for_it_programs_keep_the_systems_graphics(
    agent: AgentProcess, graphics: Graphics | None
) -> None:
    found = await _variables(agent, graphics, *(("--venus", "/s/venus.sock") if graphics else ()))
    assert "VTEST_SOCKET_NAME" not in found
