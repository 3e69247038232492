# SPDX-License-Identifier: Apache-2.0
"""Our own guest programs give on Venus what they give on the driver itself, to the last byte."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.guest_programs.venus import lifetimes
from tests.support.guest_programs.venus.compute import Compute
from tests.support.guest_programs.venus.drawing import DrawingCases
from tests.support.guest_programs.venus.recording import Recording
from tests.support.guest_programs.venus.sync import Sync
from tests.support.guest_programs.venus.textures import Textures
from tests.support.venus import Run

pytestmark = pytest.mark.gpu

PROGRAMS = {
    "compute": Compute.names(),
    "drawing": DrawingCases.names(),
    "textures": Textures.names(),
    "sync": Sync.names(),
    "recording": Recording.names(),
    "lifetimes": list(lifetimes.CASES),
    # On libraries that use Vulkan. These programs are not imported here: their libraries look for drivers.
    "with_wgpu": ["compute", "drawing", "adapters"],
    "with_ncnn": ["inference"],
}
LIBRARIES = {"with_wgpu": "wgpu", "with_ncnn": "ncnn"}


def compared(case: dict[str, object]) -> dict[str, object]:
    """The values that must not depend on the driver."""
    values = case["values"]
    assert isinstance(values, dict)
    return {name: value for name, value in values.items() if not name.startswith("_")}


def need_library(program: str) -> None:
    """Skip the test when the program's library has no build for this machine."""
    library = LIBRARIES.get(program)
    if library and importlib.util.find_spec(library) is None:
        pytest.skip(f"the Python package {library} is not installed")


def marked(program: str, *values: str) -> Any:
    """A test's parameters; libraries take their time to start."""
    return pytest.param(program, *values, marks=[pytest.mark.slow] if program in LIBRARIES else [])


@pytest.mark.parametrize(
    ("program", "case"), [marked(program, case) for program, cases in PROGRAMS.items() for case in cases]
)
def test_results_are_those_of_the_driver(both: Callable[[str], tuple[Run, Run]], program: str, case: str) -> None:
    need_library(program)
    native, venus = both(program)
    expected, found = native.case(case), venus.case(case)
    assert compared(found) == compared(expected)
    keys = expected["raw"]
    assert isinstance(keys, list) and found["raw"] == keys
    for key in keys:
        right, given = (np.frombuffer(run.raw(case, key), np.uint8) for run in (native, venus))
        assert len(given) == len(right)
        different = np.flatnonzero(given != right)
        assert different.size == 0, f"{key}: {different.size} bytes differ, the first at {different[0]}"


@pytest.mark.parametrize("program", [marked(program) for program in PROGRAMS])
def test_programs_end_well(both: Callable[[str], tuple[Run, Run]], program: str) -> None:
    need_library(program)
    for run in both(program):
        assert run.code == 0, run.output[-4000:]
