# SPDX-License-Identifier: Apache-2.0
"""What processes use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench import processes
from bench.processes import Rate, Usage


@pytest.mark.parametrize(
    ("command_line", "name"),
    [
        (b"/v/bin/python\0-P\0-m\0render_core.worker\0--gpu\0auto\0", "render worker"),
        (b"python\0-m\0streamer.process\0", "streamer"),
        (b"python\0-m\0guest_agent\0", "guest agent"),
        (b"/usr/lib/xorg/Xorg\0-displayfd\x007\0", "X server"),
        (b"python\0-m\0bench.guest_programs.clock\0", "bench.guest_programs.clock"),
        (b"/usr/bin/xterm\0", "xterm"),
        (b"", "kthread"),
    ],
)
def test_names(command_line: bytes, name: str) -> None:
    assert processes.name_of(command_line, "kthread\n") == name


def test_child_is_found_and_read() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        _, found = processes.Watch(os.getpid()).look()
        assert found[os.getpid()].name == "gateway"
        usage = found[child.pid]
        assert usage.threads == 1
        assert usage.rss_bytes > 0
        assert usage.fds >= 3
    finally:
        child.communicate(b"\n")


def _usage(pid: int, name: str, cpu_s: float, wakeups: int) -> Usage:
    return Usage(pid, name, cpu_s, wakeups, 0, 0, 0, 1)


def test_rates_add_up_by_name_and_count_new_processes() -> None:
    before = (10.0, {1: _usage(1, "gateway", 1.0, 100), 2: _usage(2, "xterm", 5.0, 0)})
    after = (
        12.0,
        {
            1: _usage(1, "gateway", 1.5, 140),
            2: _usage(2, "xterm", 5.2, 2),
            3: _usage(3, "xterm", 0.2, 2),
            4: _usage(4, "streamer", 0.0, 0),
        },
    )
    found = processes.rates(before, after)
    assert found["gateway"] == Rate(0.25, 20.0)
    assert found["xterm"].cpu == pytest.approx(0.2)
    assert processes.ours(found).cpu == pytest.approx(0.25)
    assert processes.sorted_names(found) == ["gateway", "streamer", "xterm"]
