# SPDX-License-Identifier: Apache-2.0
"""The host's end of the agent's port, against agents that come, go, stop reading, and talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from guest_agent.link import encode_message
from guest_agent.port_framing import MARK, PortFramer
from guest_agent.vm import port as port_module
from guest_agent.vm.port import AgentPort


class FakeGuest:
    """QEMU's chardev and what an agent says through it."""

    def __init__(self, listener: socket.socket, port: AgentPort, texts: asyncio.Queue[str]) -> None:
        self.port = port
        self.texts = texts
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self.socket: socket.socket | None = None
        self._framer = PortFramer()
        self._found: list[dict[str, Any] | None] = []

    async def accept(self) -> None:
        if self.socket is not None:
            self.socket.close()
        async with asyncio.timeout(60):
            self.socket, _ = await self._loop.sock_accept(self._listener)
        self._framer = PortFramer()
        self._found = []

    async def send(self, data: bytes) -> None:
        assert self.socket is not None
        async with asyncio.timeout(60):
            await self._loop.sock_sendall(self.socket, data)

    async def say(self, **fields: Any) -> None:
        await self.send(encode_message(fields))

    async def hear(self) -> dict[str, Any] | None:
        """The host's next message; None for a mark."""
        assert self.socket is not None
        async with asyncio.timeout(60):
            while not self._found:
                data = await self._loop.sock_recv(self.socket, 65536)
                assert data, "the host has closed the port"
                self._found = self._framer.feed(data)
        return self._found.pop(0)

    async def hear_type(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self.hear()
            if message is not None and message["type"] == kind:
                return message

    async def begin(self) -> None:
        """Be a new agent; return when the host has told it the time, which comes after its hello."""
        await self.send(MARK + encode_message({"type": "hello", "version": 1, "reply": False}))
        while (message := await self.hear()) is None or message.get("reply") is not True:
            pass
        await self.hear_type("time")


@pytest.fixture
async def fake() -> AsyncIterator[FakeGuest]:
    with tempfile.TemporaryDirectory(prefix="hg-test-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "agent.sock"
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        texts: asyncio.Queue[str] = asyncio.Queue()
        guest = FakeGuest(listener, AgentPort(path, texts.put_nowait), texts)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(guest.port.run())
            await guest.accept()
            yield guest
            serving.cancel()
        if guest.socket is not None:
            guest.socket.close()


async def test_an_agent_is_told_what_there_is(fake: FakeGuest) -> None:
    fake.port.set_text("before it came")
    fake.port.send_size(1, 800, 600)
    fake.port.send_size(0, 1024, 768)
    fake.port.send_size(0, 1280, 720)
    assert not fake.port.is_present
    assert await fake.hear() is None
    assert await fake.hear() == {"type": "hello", "version": 1, "reply": False}
    await fake.begin()
    assert fake.port.is_present
    sizes = [await fake.hear_type("size") for _ in range(2)]
    assert {(size["scanout"], size["width"], size["height"]) for size in sizes} == {(1, 800, 600), (0, 1280, 720)}
    assert (await fake.hear_type("clipboard"))["text"] == "before it came"
    fake.port.set_text("after")
    assert await fake.hear() == {"type": "clipboard", "text": "after"}


async def test_an_agent_that_was_there_before_answers(fake: FakeGuest) -> None:
    await fake.hear_type("hello")
    await fake.send(MARK + encode_message({"type": "hello", "version": 1, "reply": True}))
    # Told at once: its hello is not answered with another.
    assert (await fake.hear() or {})["type"] == "time"


async def test_the_viewers_text_is_newer_than_what_an_agent_brings(fake: FakeGuest) -> None:
    hello = MARK + encode_message({"type": "hello", "version": 1, "reply": True})
    await fake.send(hello + encode_message({"type": "clipboard", "text": "copied before"}))
    assert await asyncio.wait_for(fake.texts.get(), 60) == "copied before"
    fake.port.set_text("the viewer's")
    await fake.send(hello + encode_message({"type": "clipboard", "text": "copied before"}))
    while (await fake.hear_type("clipboard"))["text"] != "the viewer's":
        pass
    assert fake.port.guest_text == ""
    assert fake.texts.empty()


async def test_texts_go_to_the_viewer_once_and_the_newest_wins(fake: FakeGuest) -> None:
    await fake.begin()
    for number in range(500):
        await fake.say(type="clipboard", text=f"text {number}")
    seen = [await asyncio.wait_for(fake.texts.get(), 60)]
    while seen[-1] != "text 499":
        seen.append(await asyncio.wait_for(fake.texts.get(), 60))
    assert len(seen) < 100
    assert fake.port.guest_text == "text 499"
    # What came from the guest does not go back there, nor again to the viewer.
    await fake.say(type="clipboard", text="text 499")
    fake.port.set_text("the viewer's")
    assert await fake.hear() == {"type": "clipboard", "text": "the viewer's"}
    await fake.say(type="clipboard", text="the viewer's")
    await fake.say(type="clipboard", text="last")
    assert await asyncio.wait_for(fake.texts.get(), 60) == "last"


async def test_a_new_agent_takes_over_from_one_that_died_in_a_message(fake: FakeGuest) -> None:
    await fake.begin()
    await fake.send(encode_message({"type": "clipboard", "text": "x" * 1000})[:500])
    await fake.begin()
    await fake.say(type="clipboard", text="whole")
    assert await asyncio.wait_for(fake.texts.get(), 60) == "whole"


async def test_the_port_comes_back_after_qemu_closed_it(fake: FakeGuest) -> None:
    await fake.begin()
    fake.port.set_text("kept")
    await fake.accept()
    await fake.begin()
    assert (await fake.hear_type("clipboard"))["text"] == "kept"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "key", "keysym": 97, "down": True},
        {"type": "clipboard"},
        {"type": "clipboard", "text": 5},
        {"type": "clipboard", "text": "\ud800"},
        {"type": "clock", "behind_ms": 1e99, "was_set": False},
        {"type": "clock", "behind_ms": 1, "was_set": 1},
        {"type": "hello", "version": 0, "reply": False},
        {"type": "hello", "version": 1},
        {"type": "size", "scanout": 0, "width": 1, "height": 1},
        {"type": ["hello"]},
    ],
)
async def test_what_an_agent_may_not_say_is_named(fake: FakeGuest, fields: dict[str, Any]) -> None:
    await fake.begin()
    body = json.dumps(fields).encode()
    await fake.send(struct.pack("<I", len(body)) + body)
    message = (await fake.hear_type("error"))["message"]
    assert message.startswith(("message.type", f"{fields['type']}."))
    # It is listened to as before.
    await fake.say(type="clipboard", text="well")
    assert await asyncio.wait_for(fake.texts.get(), 60) == "well"


async def test_nothing_is_taken_before_hello(fake: FakeGuest) -> None:
    await fake.send(MARK + encode_message({"type": "clipboard", "text": "too early"}))
    assert "before hello" in (await fake.hear_type("error"))["message"]
    assert fake.port.guest_text == ""


async def test_who_is_wrong_all_the_time_is_heard_again_when_it_begins_anew(fake: FakeGuest) -> None:
    await fake.begin()
    for _ in range(port_module.MAX_REFUSED + 1):
        await fake.say(type="nonsense")
    await fake.say(type="clipboard", text="not heard")
    await fake.begin()
    await fake.say(type="clipboard", text="heard")
    assert await asyncio.wait_for(fake.texts.get(), 60) == "heard"


async def test_an_agent_that_does_not_read_costs_a_bounded_amount(
    fake: FakeGuest, caplog: pytest.LogCaptureFixture
) -> None:
    await fake.begin()
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            fake.port.set_text(f"{number}" + "x" * 1_000_000)
        writer = fake.port._writer
        assert writer is not None
        assert writer.transport.get_write_buffer_size() <= port_module.MAX_UNSENT_BYTES
    assert sum("does not read" in record.message for record in caplog.records) == 1


async def test_a_flood_of_beginnings_is_answered_seldom(fake: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    await fake.begin()
    flood = (MARK + encode_message({"type": "hello", "version": 1, "reply": False})) * 5000
    await fake.send(flood)
    await fake.begin()
    assert fake.port._greeted < 50


async def test_random_bytes_do_no_harm(fake: FakeGuest) -> None:
    rng = random.Random(7)
    words = [MARK, b"\xff", *(encode_message({"type": kind, "text": "x"}) for kind in ("hello", "clipboard", "clock"))]
    for _ in range(300):
        await fake.send(b"".join(rng.choices((*words, rng.randbytes(9)), k=20)))
    await fake.begin()
    await fake.say(type="clipboard", text="still there")
    while await asyncio.wait_for(fake.texts.get(), 60) != "still there":
        pass


async def test_no_port_is_waited_for() -> None:
    with tempfile.TemporaryDirectory(prefix="hg-test-") as folder:
        port = AgentPort(Path(folder) / "nothing", lambda text: None)
        port.set_text("x")
        port.send_size(0, 100, 100)
        port.send_time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await port.run()
        assert not port.is_present
