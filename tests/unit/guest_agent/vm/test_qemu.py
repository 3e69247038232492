# SPDX-License-Identifier: Apache-2.0
"""What is found out about a QEMU program, from scripts that speak as QEMU does."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest_agent.vm.qemu import Emulator, examine, find_emulator

_SCRIPT = """#!/bin/sh
case "$*" in
-version) echo 'QEMU emulator version {version} (Debian 1:10.0.2+ds-2)' ;;
'-device help') printf 'name "vhost-user-gpu-pci", bus PCI\\nname "{second}", bus PCI\\n' ;;
'-display help') printf 'Available display backend types:\\nnone\\n{display}\\n' ;;
esac
"""


def program(path: Path, version: str, second: str = "qxl-vga", display: str = "dbus") -> Path:
    path.write_text(_SCRIPT.format(version=version, second=second, display=display), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_program_says_its_version_and_what_it_lacks(tmp_path: Path) -> None:
    whole = program(tmp_path / "whole", "10.0.2")
    assert examine(whole) == Emulator(whole, "10.0.2", ())
    part = program(tmp_path / "part", "11.1", second="VGA", display="gtk")
    assert examine(part) == Emulator(part, "11.1", ("the D-Bus display", "the device qxl"))


def test_what_does_not_run_is_none(tmp_path: Path) -> None:
    assert examine(tmp_path / "absent") is None
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    other.chmod(0o755)
    assert examine(other) is None


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [([("7.2.0", ())], None), ([("7.2.0", ()), ("10.0.2", ())], 1), ([("10.1", ("x",)), ("10.0.2", ())], 1)],
)
def test_the_first_that_is_new_enough_and_whole_is_taken(
    versions: list[tuple[str, tuple[str, ...]]], chosen: int | None
) -> None:
    emulators = [Emulator(Path(f"/q{i}"), version, lacks) for i, (version, lacks) in enumerate(versions)]
    assert find_emulator(emulators) == (None if chosen is None else emulators[chosen])
