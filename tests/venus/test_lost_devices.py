# SPDX-License-Identifier: Apache-2.0
"""What hangs, and what fails without an answer: the program is told in bounded time, and the others notice nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from guest_agent.graphics import find_driver
from tests.support.venus import GUEST_TIMEOUT_S, VenusServer, run_guest
from tests.support.venus_client import VenusClient, enumerate_version

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
END_S = 60.0
LOST = "VkErrorDeviceLost"
HANGS = ("--limit", "gpu-timeout-ms=1500", "--limit", "wait-ms=3000")
SMALL = (
    *("--limit", "objects=512", "--limit", f"memory-bytes={64 << 20}"),
    *("--limit", f"command-buffer-bytes={1 << 20}", "--limit", "queued-submits=64"),
)
# Memory that the allocator keeps, and a driver's own of a few hundred submissions.
RSS_SLACK_BYTES = 48 << 20


@pytest.fixture(autouse=True)
def _driver() -> None:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")


def found(server: VenusServer, case: str, tmp_path: Path) -> dict[str, object]:
    """Run a case of the guest program on the server."""
    values = run_guest("losing", tmp_path / case, server.environment, [case]).case(case)["values"]
    assert isinstance(values, dict)
    return values


@contextmanager
def hanging(server: VenusServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A guest whose work does not end; killed at the end if it has not ended."""
    shaders = tmp_path / "shaders"
    shaders.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.guest_programs.venus.losing", str(tmp_path), "hang"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**server.environment, "HELIOGRAPH_TEST_SHADERS": str(shaders)},
    )
    with process:
        try:
            assert process.stdout is not None
            assert b"HANGS\n" in iter(process.stdout.readline, b""), server.log
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["every_wait", "afterwards"])
def test_hang_ends_every_wait(case: str, tmp_path: Path) -> None:
    with closing(VenusServer(*HANGS, shared=True)) as server:
        values = found(server, case, tmp_path)
        # There is no word for an error where a timeline's value and a query's availability are polled.
        silent = {"timeline", "queries", "again timeline", "again queries", "reset", "create"}
        expected = {name: "success" if name in silent else LOST for name in values}
        assert values == expected
        # The client is gone: so is what hangs.
        assert server.process.wait(END_S) == 1, server.log
        assert "made no progress within the limit (gpu-timeout-ms)" in server.log
        assert "the worker ends" in server.log


@pytest.mark.slow
def test_others_work_while_one_hangs(tmp_path: Path) -> None:
    with closing(VenusServer("--limit", "gpu-timeout-ms=600000", "--limit", "wait-ms=2000", shared=True)) as server:
        with hanging(server, tmp_path):
            works = run_guest("lifetimes", tmp_path / "works", server.environment, ["devices_of_one_instance"])
            assert works.case("devices_of_one_instance")["values"] == {"works": [True, True]}
            assert "is lost" not in server.log
        assert server.process.wait(END_S) == 1, server.log


@pytest.mark.slow
def test_killed_while_it_hangs(tmp_path: Path) -> None:
    """The worker waits for the GPU within limits, others go on meanwhile, and it ends when it is idle."""
    with closing(VenusServer(*HANGS, shared=True)) as server, VenusClient(server.socket) as other:
        ring = other.start()
        assert enumerate_version(other, ring)
        with hanging(server, tmp_path) as process:
            process.kill()
            process.wait()
            assert enumerate_version(other, ring)
        other.close()
        assert server.process.wait(END_S) == 1, server.log
        assert "is lost" in server.log


@pytest.mark.slow
def test_hang_costs_one_worker_of_the_command(tmp_path: Path) -> None:
    with closing(VenusServer(*HANGS)) as server:
        with hanging(server, tmp_path) as process:
            assert process.wait(GUEST_TIMEOUT_S) == 0
        assert found(server, "many_submissions", tmp_path) == {"missing": 0}
        assert server.close() == 0, server.log


@pytest.fixture(scope="module")
def small() -> Iterator[VenusServer]:
    """One worker with little of everything; nothing below may end it."""
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    server = VenusServer(*SMALL, shared=True)
    yield server
    code = server.close()
    assert code == 0, f"the worker ended with {code}:\n{server.log}"


@pytest.fixture
def bystander(small: VenusServer) -> Iterator[None]:
    """A client that must notice nothing."""
    with VenusClient(small.socket) as client:
        ring = client.start()
        client.open_device(ring)
        yield
        assert enumerate_version(client, ring)
        client.create_device(ring)
        client.destroy_instance(ring)


@pytest.mark.parametrize("case", ["too_much_memory", "too_many_objects", "too_long_recording", "failed_pipeline"])
@pytest.mark.usefixtures("bystander")
def test_failure_without_an_answer_loses_the_device(case: str, small: VenusServer, tmp_path: Path) -> None:
    assert found(small, case, tmp_path) == {"ending": LOST}


@pytest.mark.usefixtures("bystander")
def test_poisoned_objects_of_many_types(small: VenusServer, tmp_path: Path) -> None:
    values = found(small, "poisoned_everywhere", tmp_path)
    assert values == dict.fromkeys(values, LOST) | {"image": "VkErrorOutOfHostMemory"}


@pytest.mark.usefixtures("bystander")
def test_many_submissions_take_bounded_memory(small: VenusServer, tmp_path: Path) -> None:
    before = small.usage()[small.process.pid]
    assert found(small, "many_submissions", tmp_path) == {"missing": 0}
    after = small.usage()[small.process.pid]
    assert after.rss_bytes < before.rss_bytes + RSS_SLACK_BYTES, small.log
