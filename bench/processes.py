# SPDX-License-Identifier: Apache-2.0
"""What a session's processes use, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# The parts that are ours (or are there for us alone), in the order of tables. Others are the guest's programs.
PARTS = ("gateway", "render worker", "streamer", "guest agent", "VM agent", "X server")
# Those of a session with a desktop or a program of this machine.
DESKTOP_PARTS = tuple(part for part in PARTS if part != "VM agent")
# Ours too, where a session has sound.
SOUND = ("pulseaudio", "parec")
_MODULES = {
    "streamer.cli": "gateway",
    "render_core.worker": "render worker",
    "streamer.process": "streamer",
    "guest_agent": "guest agent",
    "guest_agent.vm": "VM agent",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """One process at one time. `wakeups`: voluntary context switches of all its threads so far.

    `fds`: 0 where only root may look.
    """

    pid: int
    name: str
    cpu_s: float
    wakeups: int
    rss_bytes: int
    shared_bytes: int
    fds: int
    threads: int

    @property
    def is_ours(self) -> bool:
        return self.name in (*PARTS, *SOUND)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a process (or several) did between two looks. `cpu`: of one core, 1.0 is all of it."""

    cpu: float
    wakeups_per_s: float


class Watch:
    """Looks at the processes below a session's gateway. Each `look()` is one moment."""

    def __init__(self, gateway_pid: int) -> None:
        self._gateway_pid = gateway_pid

    def look(self) -> tuple[float, dict[int, Usage]]:
        """Return the time (s) and the processes by pid."""
        found = {}
        for pid in descendants(self._gateway_pid):
            try:
                found[pid] = read_usage(pid, is_root=pid == self._gateway_pid)
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
        return time.monotonic(), found


def read_usage(pid: int, *, is_root: bool = False) -> Usage:
    """Read one process; raises OSError when it has gone."""
    folder = _PROC / str(pid)
    fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    memory = (folder / "statm").read_text().split()
    wakeups = 0
    for task in (folder / "task").iterdir():
        try:
            lines = (task / "status").read_text(errors="replace").splitlines()
        except OSError:
            continue
        wakeups += next((int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt")), 0)
    return Usage(
        pid,
        "gateway" if is_root else name_of((folder / "cmdline").read_bytes(), (folder / "comm").read_text()),
        (int(fields[11]) + int(fields[12])) / _TICKS,
        wakeups,
        int(memory[1]) * _PAGE_BYTES,
        int(memory[2]) * _PAGE_BYTES,
        _count_fds(folder),
        int(fields[17]),
    )


def _count_fds(folder: Path) -> int:
    try:
        return len(os.listdir(folder / "fd"))
    except PermissionError:  # a sandboxed worker's are root's to see
        return 0


def name_of(command_line: bytes, comm: str) -> str:
    """Name a process of a session by its command line."""
    words = command_line.decode(errors="replace").split("\0")
    program = os.path.basename(words[0])
    # QEMU has an -m, too.
    if program.startswith("python") and "-m" in words[:-1]:
        module = words[words.index("-m") + 1]
        return _MODULES.get(module, module)
    return "X server" if program == "Xorg" else program or comm.strip()


def machine_cpu_s() -> float:
    """Return how long all processors have been busy since the machine started, for whomever."""
    fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS


def cores() -> int:
    """Return how many processors this machine has."""
    return os.cpu_count() or 1


def tree_cpu_s(roots: Sequence[int], without: str) -> float:
    """Return the processor time so far of some processes and all below them, but for those named `without`."""
    usages: dict[int, Usage] = {}
    for root in roots:
        usages |= Watch(root).look()[1]
    return sum(usage.cpu_s for usage in usages.values() if usage.name != without)


def own_pid() -> int:
    """Return this process."""
    return os.getpid()


def descendants(root: int) -> list[int]:
    """Return `root` and all processes below it."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def rates(before: tuple[float, Mapping[int, Usage]], after: tuple[float, Mapping[int, Usage]]) -> dict[str, Rate]:
    """Return what each name used between two looks; processes of one name are added up."""
    span_s = after[0] - before[0]
    sums: dict[str, tuple[float, float]] = {}
    for pid, usage in after[1].items():
        old = before[1].get(pid)
        cpu_s, wakeups = sums.get(usage.name, (0.0, 0.0))
        sums[usage.name] = (
            cpu_s + usage.cpu_s - (old.cpu_s if old else 0.0),
            wakeups + usage.wakeups - (old.wakeups if old else 0),
        )
    return {name: Rate(cpu_s / span_s, wakeups / span_s) for name, (cpu_s, wakeups) in sums.items()}


def ours(by_name: Mapping[str, Rate]) -> Rate:
    """Add up the parts that are ours."""
    mine = [rate for name, rate in by_name.items() if name in (*PARTS, *SOUND)]
    return Rate(sum(rate.cpu for rate in mine), sum(rate.wakeups_per_s for rate in mine))


def sorted_names(by_name: Mapping[str, Rate]) -> list[str]:
    """Return our parts in their order, then the rest by what it uses."""
    rest = sorted((name for name in by_name if name not in (*PARTS, *SOUND)), key=lambda name: -by_name[name].cpu)
    return [name for name in (*PARTS, *SOUND) if name in by_name] + rest
