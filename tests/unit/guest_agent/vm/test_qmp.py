# SPDX-License-Identifier: Apache-2.0
"""QMP: what QEMU may say, and what it may not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from guest_agent.vm import qmp as qmp_module
from guest_agent.vm.qmp import LineReader, QemuVersion, Qmp, QmpClosedError, QmpError
from tests.support.fake_qemu import FakeQmp


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[Qmp, FakeQmp, list[str]]]:
    events: list[str] = []

    def note(name: str, data: Mapping[str, Any]) -> None:
        events.append(f"{name} {sorted(data)}")

    ours, theirs = socket.socketpair()
    server = FakeQmp(theirs)
    try:
        async with asyncio.TaskGroup() as tasks:
            greeting = tasks.create_task(server.greet())
            qmp = await Qmp.open(ours, note)
            await greeting
        async with qmp:
            yield qmp, server, events
    finally:
        server.close()


async def test_answers_find_their_commands_in_any_order() -> None:
    async with connected() as (qmp, server, events), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(qmp.execute("first", {"a": 1}))
        second = tasks.create_task(qmp.execute("second"))
        commands = [await server.receive(), await server.receive()]
        assert [command["execute"] for command in commands] == ["first", "second"]
        assert commands[0]["arguments"] == {"a": 1} and "arguments" not in commands[1]
        await server.send({"event": "STOP", "data": {"x": 1}, "timestamp": {}})
        await server.answer(commands[1], [2])
        await server.answer(commands[0], "one")
        assert (await first, await second) == ("one", [2])
        assert events == ["STOP ['x']"]


async def test_errors_name_the_command() -> None:
    async with connected() as (qmp, server, _), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_fails(qmp.execute("getfd")))
        command = await server.receive()
        await server.send({"error": {"class": "GenericError", "desc": "no fd"}, "id": command["id"]})
        error = await running
        assert str(error) == "QMP getfd: no fd" and error.error_class == "GenericError"


async def _fails(awaitable: Any) -> QmpError:
    with pytest.raises(QmpError) as raised:
        await awaitable
    return raised.value


async def test_descriptors_go_with_their_command_one_at_a_time() -> None:
    async with connected() as (qmp, server, _), asyncio.TaskGroup() as tasks:
        read_fd, write_fd = os.pipe()
        both = [tasks.create_task(qmp.execute("getfd", {"fdname": name}, [write_fd])) for name in "ab"]
        first = await server.receive()
        assert len(server.fds) == 1
        os.write(server.fds[0], b"x")
        assert os.read(read_fd, 1) == b"x"
        await server.answer(first)
        await server.answer(await server.receive())
        assert len(server.fds) == 2
        await asyncio.gather(*both)
        os.close(read_fd)
        os.close(write_fd)


async def test_the_end_of_qemu_fails_what_waits() -> None:
    async with connected() as (qmp, server, _), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_fails(qmp.execute("query-status")))
        await server.receive()
        server.close()
        assert isinstance(await running, QmpClosedError)
        await qmp.wait_closed()
        assert isinstance(await _fails(qmp.execute("cont")), QmpClosedError)


@pytest.mark.parametrize("said", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
async def test_what_is_no_object_ends_the_connection(said: bytes) -> None:
    async with connected() as (qmp, server, _):
        await server.send_bytes(said)
        async with asyncio.timeout(60):
            await qmp.wait_closed()


async def test_odd_objects_are_passed_over() -> None:
    async with connected() as (qmp, server, events), asyncio.TaskGroup() as tasks:
        for odd in ({}, {"return": 1}, {"return": 1, "id": "99"}, {"return": 1, "id": [1]}, {"event": 3}, {"error": 1}):
            await server.send(odd)
        await server.send({"event": "ODD", "data": 7})
        running = tasks.create_task(_fails(qmp.execute("x")))
        command = await server.receive()
        await server.send({"error": 7, "id": command["id"]})
        assert str(await running) == "QMP x: no reason given"
        assert events == ["ODD []"]


def test_lines_are_bounded() -> None:
    reader = LineReader(100)
    assert reader.feed(b'{"a": 1}\r\n{"b"') == [{"a": 1}]
    assert reader.feed(b": 2}\n\n") == [{"b": 2}]
    with pytest.raises(ValueError, match="over the limit"):
        reader.feed(b"x" * 101)
    with pytest.raises(ValueError, match="over the limit"):
        LineReader(100).feed(b'{"a": "' + b"x" * 100 + b'"}\n')


async def test_a_qemu_that_does_not_answer_costs_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as (qmp, _, _):
        futures = [qmp.post("x") for _ in range(qmp_module.MAX_UNANSWERED)]
        with pytest.raises(QmpError, match="are not answered yet"):
            qmp.post("x")
        assert not any(future.done() for future in futures)
    async with connected() as (qmp, _, _):
        with pytest.raises(QmpError, match="does not read"):
            for _ in range(100):
                qmp.post("x", {"text": "y" * 100_000})
        with pytest.raises(QmpError, match="no answer within"):
            await qmp.execute("x", timeout_s=0.01)


async def test_who_does_not_greet_is_no_qemu() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(QmpError, match="no greeting"):
        await Qmp.open(ours, timeout_s=0.05)
    with pytest.raises(OSError):
        await Qmp.connect("/nonexistent/qmp.sock")


async def test_the_version() -> None:
    async with connected() as (qmp, server, _), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(qmp.version())
        await server.answer(await server.receive(), {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""})
        assert await asked == QemuVersion(10, 0, 2) and str(await asked) == "10.0.2"
        wrong = tasks.create_task(_fails(qmp.version()))
        await server.answer(await server.receive(), {"qemu": []})
        assert "names no version" in str(await wrong)
