# SPDX-License-Identifier: Apache-2.0
"""The benchmark of commands does on Venus what it does on the driver."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import commands
from tests.support.venus import VenusServer, native_environment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


def test_commands_compute_and_draw_the_same(venus: VenusServer, tmp_path: Path) -> None:
    result, wrong = commands.measure(tmp_path, native_environment(), venus.environment, 1, 1)
    assert not wrong
    assert "Virtio-GPU Venus" in str(result.settings["Venus"])
    assert len(result.tables[0].rows) == len(commands.OPERATIONS)
