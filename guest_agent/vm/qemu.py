# SPDX-License-Identifier: Apache-2.0
"""Which QEMU there is: the machine's own, or the one that set-up keeps in build/qemu where that is too old."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "qemu-system-x86_64"
# What is tested. Older ones refuse vhost-user-gpu without KVM, and have less of the D-Bus display.
WANTED_MAJOR = 10

_PRIVATE = Path(__file__).resolve().parents[2] / "build" / "qemu" / "bin" / PROGRAM
_SECONDS = 30.0
_DEVICES = {"vhost-user-gpu-pci": "the device vhost-user-gpu", "qxl-vga": "the device qxl"}


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU program that runs.

    Attributes:
        program: its path.
        version: as it says itself.
        lacks: parts of it that are not installed, in words.
    """

    program: Path
    version: str
    lacks: tuple[str, ...]

    @property
    def is_new_enough(self) -> bool:
        """Whether it is one that is tested, or newer."""
        return int(self.version.partition(".")[0]) >= WANTED_MAJOR


def examine(program: Path) -> Emulator | None:
    """Return what a QEMU program says of itself; None when it does not run. Takes a fraction of a second."""
    said = _ask(program, "-version")
    match = re.search(r"version (\d+(?:\.\d+)*)", said)
    if match is None:
        return None
    devices = _ask(program, "-device", "help")
    lacks = [words for device, words in _DEVICES.items() if f'"{device}"' not in devices]
    if "dbus" not in _ask(program, "-display", "help").split():
        lacks.insert(0, "the D-Bus display")
    return Emulator(program, match[1], tuple(lacks))


def find_emulators() -> list[Emulator]:
    """Return the QEMU programs of this machine: on PATH, and set-up's."""
    on_path = shutil.which(PROGRAM)
    programs = [Path(path) for path in (on_path, _PRIVATE) if path is not None]
    return [emulator for program in programs if (emulator := examine(program)) is not None]


def find_emulator(emulators: Sequence[Emulator] | None = None) -> Emulator | None:
    """Return the first QEMU that is new enough and lacks nothing, else the first that is new enough, else None.

    Without `emulators`, of this machine's.
    """
    found = find_emulators() if emulators is None else emulators
    usable = [emulator for emulator in found if emulator.is_new_enough]
    return next((emulator for emulator in usable if not emulator.lacks), usable[0] if usable else None)


def _ask(program: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout
