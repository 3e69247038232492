# SPDX-License-Identifier: Apache-2.0
"""What QEMU is asked when a new render worker takes a machine's display over."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from guest_agent.vm import vhost_display
from guest_agent.vm.qmp import Qmp
from guest_agent.vm.vhost_display import set_up_again
from tests.support.fake_qemu import FakeQmp

_BUSY = {"class": "GenericError", "desc": "busy"}


@pytest.mark.parametrize(
    ("status", "stop_answer", "asked"),
    [
        ("running", {"return": {}}, ["query-status", "stop", "cont"]),
        ("running", {"error": _BUSY}, ["query-status", "stop", "cont"]),
        ("running", None, ["query-status", "stop", "cont"]),
        ("paused", None, ["query-status"]),
    ],
    ids=["well", "refused", "too late", "paused"],
)
async def test_machine_that_ran_goes_on(
    monkeypatch: pytest.MonkeyPatch, status: str, stop_answer: dict[str, Any] | None, asked: list[str]
) -> None:
    if stop_answer is None:
        monkeypatch.setattr(vhost_display, "_QMP_PATIENCE_S", 0.05)
    ours, theirs = socket.socketpair()
    server = FakeQmp(theirs)
    try:
        async with asyncio.TaskGroup() as tasks:
            greeting = tasks.create_task(server.greet())
            qmp = await Qmp.open(ours)
            await greeting
        async with qmp, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(set_up_again(qmp))
            for name in asked:
                command = await server.receive()
                assert command["execute"] == name
                if name == "query-status":
                    await server.answer(command, {"status": status, "running": status == "running"})
                elif name == "cont":
                    await server.answer(command, {})
                elif stop_answer is not None:
                    await server.send({**stop_answer, "id": command["id"]})
            await running
    finally:
        server.close()
