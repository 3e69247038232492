# SPDX-License-Identifier: Apache-2.0
"""One server for all tests of this folder, and each guest program run once on it and once on the driver itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest_agent.graphics import find_driver
from tests.support.venus import Run, VenusServer, native_environment, run_guest
from tests.support.venus_client import VenusClient, enumerate_version

Pair = tuple[Run, Run]


def _serve(*, shared: bool) -> Iterator[VenusServer]:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    server = VenusServer(shared=shared)
    yield server
    code = server.close()
    assert code == 0, f"{'the worker' if shared else 'heliograph vtest'} ended with {code}:\n{server.log}"


@pytest.fixture(scope="session")
def venus() -> Iterator[VenusServer]:
    yield from _serve(shared=False)


@pytest.fixture
def worker() -> Iterator[VenusServer]:
    """One worker for all clients, as a session has it."""
    yield from _serve(shared=True)


@pytest.fixture(scope="module")
def server() -> Iterator[VenusServer]:
    """One worker for all tests of a module: what a hostile client breaks, the others feel."""
    yield from _serve(shared=True)


@pytest.fixture
def bystander(server: VenusServer) -> Iterator[None]:
    """A client that is connected all the while and must notice nothing."""
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        version = enumerate_version(client, ring)
        yield
        assert enumerate_version(client, ring) == version
        client.destroy_instance(ring)


@pytest.fixture(scope="session")
def both(venus: VenusServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Return a function that runs a guest program on native and Venus, once in a session."""
    if shutil.which("glslangValidator") is None:
        pytest.skip("there is no glslangValidator (glslang-tools)")
    folder: Path = tmp_path_factory.mktemp("venus")
    done: dict[str, Pair] = {}

    def run(program: str) -> Pair:
        if program not in done:
            native = run_guest(program, folder / f"{program}-native", native_environment())
            done[program] = native, run_guest(program, folder / f"{program}-venus", venus.environment)
        return done[program]

    return run
