# SPDX-License-Identifier: Apache-2.0
"""The connection to a real X server."""

from __future__ import annotations

import pytest

from guest_agent.x_connection import MAX_EVENTS
from tests.support.guest import Guest


async def test_events_without_end_leave_the_loop_a_turn(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        pass

    seen: list[Endless] = []
    with monkeypatch.context() as patched:
        guest.x.on(Endless, seen.append)
        patched.setattr(guest.x, "_poll", Endless)
        guest.x.drain()
        assert len(seen) == MAX_EVENTS
        assert guest.x._is_drain_scheduled
