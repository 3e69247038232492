# SPDX-License-Identifier: Apache-2.0
"""Tests of virtual machines: all of them need QEMU and the test guest, and are skipped where one is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.vm import why_no_machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.vm)
        item.add_marker(pytest.mark.slow)
        # A machine may boot first, under emulation.
        item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def _machines() -> None:
    if (reason := why_no_machine()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def machine_folder() -> Iterator[Path]:
    """A private folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-vm-") as folder:
        yield Path(folder)
