# SPDX-License-Identifier: Apache-2.0
"""Guests that end badly leave nothing behind in the worker, and what one takes too much of costs only itself."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import Usage
from tests.support.venus import GUEST_TIMEOUT_S, VenusServer, run_guest
from tests.support.venus_client import VenusClient, enumerate_version

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SETTLE_S = 30.0
# The allocator and the driver fill their caches during the first dozen guests. The soak has time to see what grows.
RSS_SLACK_BYTES = 48 << 20


def start(server: VenusServer, what: str, shaders: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a misbehaving guest and wait for its READY line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.guest_programs.venus.misbehaving", ".", what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=ROOT,
        env={**server.environment, "HELIOGRAPH_TEST_SHADERS": str(shaders)},
    )
    assert process.stdout is not None
    deadline_s = time.monotonic() + GUEST_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
        byte = process.stdout.read(1) if readable else b""
        if not byte:
            process.kill()
            process.wait()
            pytest.fail(f"{what} did not get so far: {line!r}\n{server.log}")
        line += byte
    return process, line.decode().strip()


def worker_usage(server: VenusServer) -> Usage:
    return server.usage()[server.process.pid]


def wait_until(is_so: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + SETTLE_S
    while not is_so():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.05)


def venus_threads(server: VenusServer) -> int:
    """How many threads the core has for clients; the driver's own come when it likes."""
    found = 0
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += (task / "comm").read_text().startswith("venus")
    return found


def wait_for_rest(server: VenusServer, fds: int, threads: int) -> None:
    """Wait until the worker has no more files and threads than these."""
    wait_until(
        lambda: worker_usage(server).fds <= fds and venus_threads(server) <= threads,
        lambda: (
            f"{fds} files, {threads} threads before; now {venus_threads(server)}, {worker_usage(server)}\n{server.log}"
        ),
    )


def visit(server: VenusServer) -> None:
    """A correct client comes and goes."""
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        enumerate_version(client, ring)
        client.destroy_instance(ring)


@pytest.mark.parametrize("what", ["leak", "work"])
def test_nothing_is_left_of_a_guest_that_ends_badly(worker: VenusServer, tmp_path: Path, what: str) -> None:
    """One that leaks all it has, one that is killed while the GPU works for it; again and again."""
    visit(worker)
    fds, threads = worker_usage(worker).fds, 1  # the ticker of rings stays
    rss = []
    for _ in range(4):
        process, _ = start(worker, what, tmp_path)
        if what == "work":
            assert venus_threads(worker) > threads
            process.send_signal(signal.SIGKILL)
        process.wait(GUEST_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()
        visit(worker)
        wait_for_rest(worker, fds, threads)
        rss.append(worker_usage(worker).rss_bytes)
    assert rss[-1] <= rss[0] + RSS_SLACK_BYTES, rss


def test_memory_over_the_limit_costs_only_who_took_it(worker: VenusServer, tmp_path: Path) -> None:
    with VenusClient(worker.socket) as client:
        ring = client.start()
        client.open_device(ring)
        process, said = start(worker, "hog", tmp_path)
        assert process.wait(GUEST_TIMEOUT_S) == 0
        assert process.stdout is not None
        process.stdout.close()
        assert said in ("READY VkErrorDeviceLost", "READY VkErrorOutOfDeviceMemory"), said
        assert enumerate_version(client, ring)
        client.destroy_instance(ring)


def test_memory_is_zero_before_a_guest_sees_it(worker: VenusServer, tmp_path: Path) -> None:
    run = run_guest("lifetimes", tmp_path / "guest", worker.environment, ["memory_of_a_new_device"])
    assert run.case("memory_of_a_new_device")["values"] == {"_zero": [True, True]}


def test_eight_guests_at_once(worker: VenusServer, tmp_path: Path) -> None:
    """Stock drivers, one worker: none of them feels the others, among which one is killed."""
    killed, _ = start(worker, "work", tmp_path)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda i: run_guest(
                    "compute",
                    tmp_path / f"guest{i}",
                    worker.environment,
                    ["storage_buffer", "fills_copies_and_updates", "several_sets_and_dispatches"],
                ),
                range(7),
            )
        )
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    for run in runs:
        assert run.code == 0, run.output[-2000:]
        run.case("fills_copies_and_updates")
        run.case("several_sets_and_dispatches")


def test_clients_of_a_server_that_ends_end_too(tmp_path: Path) -> None:
    """A stock driver would wait for ever on a socket that is closed: its rings are marked dead first."""
    server = VenusServer()
    try:
        process, _ = start(server, "work", tmp_path)
        server.process.send_signal(signal.SIGTERM)
        code = process.wait(GUEST_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()
        assert code != 0
    finally:
        server.close()


def test_clients_of_a_worker_that_is_killed_end(tmp_path: Path) -> None:
    server = VenusServer()
    try:
        process, _ = start(server, "work", tmp_path)
        others = {pid for pid, usage in server.usage().items() if usage.name == "render worker"}
        busiest = max(others, key=lambda pid: server.usage()[pid].cpu_s)
        os.kill(busiest, signal.SIGKILL)
        code = process.wait(GUEST_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()
        assert code != 0
        visit(server)
    finally:
        assert server.close() == 0
