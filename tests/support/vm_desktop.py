# SPDX-License-Identifier: Apache-2.0
"""Starts Xorg and a desktop inside a test guest that has this machine's userland (`host_root=True`)."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.vm import GuestJob, GuestShell

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class GuestDesktop:
    """A display in the guest, and the job that has it: killing that ends all of it."""

    display: str
    job: GuestJob


def python_in_guest(module: str, *arguments: str) -> str:
    """Return the command that runs a module of this tree inside the guest, with this Python."""
    # What is built here stays as it is: the guest must not look whether it is up to date.
    variables = f"HELIOGRAPH_IS_BUILT=1 PYTHONDONTWRITEBYTECODE=1 HOME=/root PYTHONPATH={shlex.quote(str(ROOT))}"
    return f"exec env {variables} {shlex.join([sys.executable, '-m', module, *arguments])}"


def start_desktop(shell: GuestShell, *program: str, timeout_s: float = 120.0) -> GuestDesktop:
    """Start Xorg and the default desktop, or a program; return when X takes clients.

    Raises:
        GuestError: it does not start.
    """
    job = shell.spawn(python_in_guest("tests.support.vm_guest.guest_desktop", "--", *program))
    said = job.read_until(r"^READY :\d+\n", timeout_s)
    return GuestDesktop(said.split()[-1], job)
