# SPDX-License-Identifier: Apache-2.0
"""The agent's processes, real ones, and how they end."""

from __future__ import annotations

import os
import signal

import pytest

from guest_agent import children as module
from guest_agent.children import Children, descendants


async def test_a_process_that_cannot_be_killed_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children()
    child = children.start("sleep", ["sleep", "1000"], environment=os.environ)
    with monkeypatch.context() as patched:
        # As with one that belongs to another user.
        patched.setattr(module, "_signal", lambda pids, number: None)
        patched.setattr(module, "KILL_TRIES", 2)
        await children.end_all(seconds=0.01)
    assert descendants() == {child.pid}
    child.signal(signal.SIGKILL)
    await child.ended
    children.close()
