# SPDX-License-Identifier: Apache-2.0
"""The session's sound server and what is recorded from it, with a real PulseAudio."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from guest_agent import sound
from guest_agent.children import Child, Children, descendants
from guest_agent.sound import CHANNELS, RATE_HZ, SoundServer, find_programs, without_host_sound
from guest_agent.sound_tap import SoundTap
from tests.support.streaming import WAIT_S, wait_until

PROGRAMS = find_programs()
needs_pulseaudio = pytest.mark.skipif(PROGRAMS is None, reason="pulseaudio or pulseaudio-utils is not installed")
LEFT_HZ, RIGHT_HZ = 500, 1500
# A program that knows ALSA alone: plays the default device.
ALSA_PROGRAM = f"""
import ctypes
from bench.guest_programs.beep import tone_chunks
alsa, pcm = ctypes.CDLL("libasound.so.2"), ctypes.c_void_p()
assert alsa.snd_pcm_open(ctypes.byref(pcm), b"default", 0, 0) == 0
assert alsa.snd_pcm_set_params(pcm, 2, 3, 2, 48000, 0, 100000) == 0
while True:
    for chunk in tone_chunks({LEFT_HZ}, {RIGHT_HZ}, 200):
        assert alsa.snd_pcm_writei(pcm, chunk, ctypes.c_ulong(len(chunk) // 4)) > 0
"""


class SoundBench:
    """A sound server with a tap, below a home folder that is empty."""

    def __init__(self, children: Children, server: SoundServer, directory: Path, tap_path: Path) -> None:
        self.children = children
        self.server = server
        self.home = directory / "home"
        self.environment = {**without_host_sound(os.environ), **server.environment(), "HOME": str(self.home)}
        self._tap_path = tap_path
        self.given_up = asyncio.Event()

    async def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(self._tap_path))
        return sock

    def play(self) -> Child:
        """A guest program with a tone on each channel."""
        tones = ("--left", str(LEFT_HZ), "--right", str(RIGHT_HZ))
        command = (sys.executable, "-m", "bench.guest_programs.beep", "--steady", *tones)
        return self.children.start("beep", command, environment=self.environment)

    def pid(self, word: str) -> int:
        """The pid of our descendant with that program, 0 when there is none."""
        for pid in descendants():
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if name == word:
                return pid
        return 0


@pytest.fixture
async def bench() -> AsyncIterator[SoundBench]:
    assert PROGRAMS is not None
    with tempfile.TemporaryDirectory(prefix="heliograph-test-") as name:
        directory = Path(name)
        for folder in ("agent", "runtime", "home"):
            (directory / folder).mkdir()
        children = Children()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(directory / "sound.sock"))
        listener.listen(4)
        server = SoundServer(children, PROGRAMS, directory / "agent", directory / "runtime")
        server.prepare()
        bench = SoundBench(children, server, directory, directory / "sound.sock")
        tap = SoundTap(children, PROGRAMS, bench.environment, listener.detach())
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(server.run(bench.given_up.set)), tasks.create_task(tap.run())]
            try:
                await server.wait_up()
                yield bench
            finally:
                for task in running:
                    task.cancel()
        await children.end_all()
        # A process whose threads end after its first one is a zombie before it can be waited for.
        await wait_until(lambda: not children._children)
        children.close()


async def read_samples(sock: socket.socket, count: int) -> np.ndarray:
    """Read that many samples of each channel: (count, channels)."""
    data = b""
    async with asyncio.timeout(WAIT_S):
        while len(data) < count * 2 * CHANNELS:
            part = await asyncio.get_running_loop().sock_recv(sock, 65536)
            assert part, "the sound ended"
            data += part
    return np.frombuffer(data[: count * 2 * CHANNELS], "<i2").reshape(-1, CHANNELS)


async def wait_for_tones(sock: socket.socket) -> None:
    """Read until each channel has its tone, and nothing else."""
    async with asyncio.timeout(WAIT_S):
        while True:
            samples = await read_samples(sock, RATE_HZ // 10)
            peaks = [int(np.argmax(np.abs(np.fft.rfft(channel)))) * 10 for channel in samples.T.astype(float)]
            if peaks == [LEFT_HZ, RIGHT_HZ]:
                return


async def is_closed(sock: socket.socket) -> bool:
    """Whether the other end closes; what it still sends is read."""
    async with asyncio.timeout(WAIT_S):
        while await asyncio.get_running_loop().sock_recv(sock, 65536):
            pass
    return True


def wakeups(pid: int) -> int:
    """How often a process has waited for something so far."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt"))
        total += int(line.split()[1])
    return total


@needs_pulseaudio
async def test_what_a_program_plays_is_recorded_and_nothing_is_left_in_its_home(bench: SoundBench) -> None:
    program = bench.play()
    with await bench.connect() as sock:
        await wait_for_tones(sock)
    program.signal(signal.SIGTERM)
    await program.ended
    assert not list(bench.home.rglob("*"))


@needs_pulseaudio
@pytest.mark.skipif(not sound.has_alsa_plugin(), reason="libasound2-plugins is not installed")
async def test_a_program_that_knows_only_alsa_is_heard(bench: SoundBench) -> None:
    bench.children.start("alsa", (sys.executable, "-c", ALSA_PROGRAM), environment=bench.environment)
    with await bench.connect() as sock:
        await wait_for_tones(sock)


@needs_pulseaudio
async def test_recording_begins_and_ends_with_the_connection(bench: SoundBench) -> None:
    assert not bench.pid("parec")
    with await bench.connect() as sock:
        await read_samples(sock, 4800)
        assert bench.pid("parec")
    await wait_until(lambda: not bench.pid("parec"))
    # With nobody to play or to listen, nothing wakes up.
    pid = bench.pid("pulseaudio")
    async with asyncio.timeout(WAIT_S):
        before = -1
        while before != (before := wakeups(pid)):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(1)


@needs_pulseaudio
async def test_a_new_listener_replaces_the_last(bench: SoundBench) -> None:
    with await bench.connect() as first:
        await read_samples(first, 480)
        with await bench.connect() as second:
            assert await is_closed(first)
            await read_samples(second, 4800)


@needs_pulseaudio
async def test_a_server_that_is_killed_comes_back(bench: SoundBench) -> None:
    killed = bench.pid("pulseaudio")
    with await bench.connect() as sock:
        await read_samples(sock, 480)
        os.kill(killed, signal.SIGKILL)
        assert await is_closed(sock)
    await wait_until(lambda: bench.pid("pulseaudio") not in (0, killed))
    await bench.server.wait_up()
    bench.play()
    with await bench.connect() as sock:
        await wait_for_tones(sock)
    assert bench.server.is_available


@needs_pulseaudio
async def test_a_server_that_is_killed_again_and_again_is_given_up(
    bench: SoundBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "_RETRY_S", 0.0)
    async with asyncio.timeout(WAIT_S):
        while not bench.given_up.is_set():
            if pid := bench.pid("pulseaudio"):
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
    assert not bench.server.is_available
    await bench.server.wait_up()  # at once
    # Who wants to listen is told so by the end of the connection.
    with await bench.connect() as sock:
        assert await is_closed(sock)


async def test_without_a_server_connections_end_at_once(tmp_path: Path) -> None:
    assert find_programs(str(tmp_path)) is None
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(4)
    children = Children()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(SoundTap(children, None, {}, listener.detach()).run())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, str(path))
            assert await is_closed(sock)
        running.cancel()
    children.close()


def test_the_hosts_sound_is_not_the_guests() -> None:
    environment = {"PULSE_SERVER": "unix:/run/user/0/pulse/native", "PIPEWIRE_REMOTE": "x", "HOME": "/h"}
    assert without_host_sound(environment) == {"HOME": "/h"}


def test_alsa_programs_are_led_to_the_server_where_there_is_a_plugin(tmp_path: Path) -> None:
    assert not sound.has_alsa_plugin(tmp_path)
    plugin = tmp_path / "usr/lib/x/alsa-lib/libasound_module_pcm_pulse.so"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    assert sound.has_alsa_plugin(tmp_path)
