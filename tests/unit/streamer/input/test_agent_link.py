# SPDX-License-Identifier: Apache-2.0
"""The agent link connects, and connects again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from guest_agent.link import Link
from guest_agent.messages import STREAMER_TO_AGENT, Clipboard, Key, Pointer
from streamer.input.agent_link import AgentLink
from tests.support.streaming import wait_until


async def accept(listening: socket.socket) -> Link:
    async with asyncio.timeout(60):
        sock, _ = await asyncio.get_running_loop().sock_accept(listening)
    return await Link.open(sock, STREAMER_TO_AGENT)


async def test_it_survives_the_agents_end_and_loses_what_nobody_could_take(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    texts: list[str] = []
    link = AgentLink(str(path), texts.append)
    assert not link.send([Key(0x61, True)])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listening:
            listening.bind(str(path))
            listening.listen(1)
            for text in ("one", "two"):
                async with await accept(listening) as agent:
                    await wait_until(lambda: link.is_connected)
                    assert link.send([Key(0x62, True)])
                    assert await agent.receive() == Key(0x62, True)
                    assert not link.takes_touch
                    agent.send(Pointer(True))
                    agent.send(Clipboard(text))
                    await wait_until(lambda text=text: text in texts)  # type: ignore[misc]
                    assert link.takes_touch
                await wait_until(lambda: not link.is_connected)
        running.cancel()
    assert texts == ["one", "two"]
