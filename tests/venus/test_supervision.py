# SPDX-License-Identifier: Apache-2.0
"""`heliograph vtest` and its workers: who dies, who is told, who lives on. Clients without a driver, and stock ones."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.venus import GUEST_TIMEOUT_S, VenusServer
from tests.support.venus_client import FATAL, Ring, VenusClient, enumerate_version

pytestmark = pytest.mark.gpu

_WAIT_S = 60.0
_HAS_CLIENT = re.compile(r"render worker \d+ \(process (\d+)\) has a client")


@pytest.fixture
def server() -> Iterator[VenusServer]:
    with closing(VenusServer()) as server:
        yield server


def _workers(server: VenusServer, count: int) -> list[int]:
    """Wait until the server has had `count` clients; return their workers' pids, the first client's first."""
    deadline_s = time.monotonic() + _WAIT_S
    while len(pids := _HAS_CLIENT.findall(server.log)) < count:
        assert time.monotonic() < deadline_s, server.log
        time.sleep(0.02)
    return [int(pid) for pid in pids]


@contextmanager
def _client(server: VenusServer) -> Iterator[tuple[VenusClient, Ring]]:
    with VenusClient(server.socket) as client:
        ring = client.start()
        assert enumerate_version(client, ring)
        yield client, ring


def _assert_ended_in_order(client: VenusClient, ring: Ring) -> None:
    """The socket closes, and when it does, FATAL is set already."""
    client.socket.settimeout(_WAIT_S)
    try:
        assert client.socket.recv(1) == b""
    except ConnectionResetError:
        pass  # what the client said last was not read
    assert ring.status & FATAL


def _wait_gone(pids: list[int]) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while left := [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and _state(pid) not in "ZX"]:
        assert time.monotonic() < deadline_s, f"processes {left} live on"
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def test_stock_driver_finds_the_device(server: VenusServer) -> None:
    result = subprocess.run(
        ["vulkaninfo", "--summary"],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=GUEST_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr + server.log
    assert re.search(r"deviceName\s*= Virtio-GPU Venus \(", result.stdout), result.stdout
    assert "GPU1:" not in result.stdout


def test_only_its_user_may_connect_unless_told(server: VenusServer) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
    with closing(VenusServer("--socket-mode", "666")) as open_server:
        assert stat.S_IMODE(open_server.socket.stat().st_mode) == 0o666


def test_killed_worker_ends_its_client_and_no_other(server: VenusServer) -> None:
    with _client(server) as (first, first_ring), _client(server) as (second, second_ring):
        killed, spared = _workers(server, 2)
        os.kill(killed, signal.SIGKILL)
        _assert_ended_in_order(first, first_ring)
        assert enumerate_version(second, second_ring)
        assert not second.is_closed()
        with _client(server):
            pass
        server.wait_said("ended (signal 9)")
        assert _state(spared) not in "ZX"


@pytest.mark.slow
def test_stock_client_of_a_killed_worker_aborts(server: VenusServer, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    # A client that waits with a device, and then goes on: the driver finds the ring dead, and aborts.
    program = (
        "import sys, vulkan as vk\n"
        "instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(), None)\n"
        "device, = vk.vkEnumeratePhysicalDevices(instance)\n"
        f"open({str(ready)!r}, 'w').write('ready')\n"
        "queue = vk.VkDeviceQueueCreateInfo(queueFamilyIndex=0, pQueuePriorities=[1.0])\n"
        "while True: vk.vkCreateDevice(device, vk.VkDeviceCreateInfo(pQueueCreateInfos=[queue]), None)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=server.environment,
        stderr=subprocess.PIPE,
    ) as process:
        assert ready.read_text() == "ready"
        os.kill(_workers(server, 1)[0], signal.SIGKILL)
        assert process.wait(GUEST_TIMEOUT_S) == -signal.SIGABRT


def test_killed_spare_is_replaced(server: VenusServer) -> None:
    spare = next(pid for pid, usage in server.usage().items() if usage.name == "render worker")
    os.kill(spare, signal.SIGKILL)
    with _client(server):
        pass


def test_client_that_is_killed_ends_its_worker_alone(server: VenusServer) -> None:
    with _client(server) as (other, other_ring):
        with _client(server) as (_client_two, _ring_two):
            worker = _workers(server, 2)[1]
        _wait_gone([worker])  # its socket was closed without a word
        assert enumerate_version(other, other_ring)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_clients_in_order_and_leaves_nothing(server: VenusServer, number: signal.Signals) -> None:
    with _client(server) as (client, ring):
        pids = list(server.usage())
        server.process.send_signal(number)
        _assert_ended_in_order(client, ring)
        assert server.process.wait(_WAIT_S) == 0
        assert not server.socket.exists()
        _wait_gone(pids)


def test_killed_supervisor_takes_its_workers_along_and_they_end_their_clients(server: VenusServer) -> None:
    with _client(server) as (client, ring):
        pids = list(server.usage())
        server.process.kill()
        _assert_ended_in_order(client, ring)
        _wait_gone(pids)


@pytest.mark.slow
def test_stopped_worker_is_killed_in_the_end_and_its_client_is_told(server: VenusServer) -> None:
    """A worker that does nothing any more, as if it hung in a driver."""
    with _client(server) as (client, ring):
        os.kill(_workers(server, 1)[0], signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)  # do not wait so long
        _assert_ended_in_order(client, ring)
        assert server.process.wait(_WAIT_S) == 0


def test_many_clients_at_once(server: VenusServer) -> None:
    def visit(_number: int) -> int:
        with _client(server) as (client, ring):
            return enumerate_version(client, ring)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))


def test_clients_over_the_limit_wait_for_their_turn() -> None:
    with closing(VenusServer("--max-clients", "2")) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:

        def visit() -> int:
            with _client(server) as (client, ring):
                return enumerate_version(client, ring)

        with _client(server):
            with _client(server):
                _workers(server, 2)
                waiting = pool.submit(visit)
                with pytest.raises(concurrent.futures.TimeoutError):
                    waiting.result(0.5)
            assert waiting.result(_WAIT_S)


def test_limits_are_the_workers(tmp_path: Path) -> None:
    with closing(VenusServer("--limit", "memory-bytes=64M")) as server:
        result = subprocess.run(
            ["vulkaninfo"],
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=GUEST_TIMEOUT_S,
            check=False,
        )
        assert re.search(r"size\s*= 67108864 ", result.stdout), result.stdout[-3000:] + server.log


@pytest.mark.parametrize("limit", ["nonsense=5", "clients=0"])
def test_wrong_limit_is_named(tmp_path: Path, limit: str) -> None:
    with pytest.raises(AssertionError, match=f"there is no limit {limit.partition('=')[0]}"):
        VenusServer("--limit", limit)
