# SPDX-License-Identifier: Apache-2.0
"""One server for all tests of this folder, and each guest program run once on it and once on the driver itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest_agent.graphics import find_driver
from tests.support.venus import Run, VenusServer, native_environment, run_guest

Pair = tuple[Run, Run]


@pytest.fixture(scope="session")
def venus() -> Iterator[VenusServer]:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    server = VenusServer()
    yield server
    code = server.close()
    assert code == 0, f"heliograph vtest ended with {code}:\n{server.log}"


@pytest.fixture
def worker() -> Iterator[VenusServer]:
    """One worker for all clients, as a session has it."""
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    server = VenusServer(shared=True)
    yield server
    code = server.close()
    assert code == 0, f"the worker ended with {code}:\n{server.log}"


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
