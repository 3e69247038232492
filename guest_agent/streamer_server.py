# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the agent link (`docs/protocol/agent-link.md`): serves one streamer at a time."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Protocol

from guest_agent.link import Link, LinkError
from guest_agent.messages import STREAMER_TO_AGENT, Message
from guest_agent.messages import Error as ErrorMessage

_log = logging.getLogger(__name__)


class Guest(Protocol):
    """What a streamer's messages go to. Loop thread only."""

    def greet(self, send: Send) -> None:
        """A streamer is there and knows nothing: tell it what it needs to know."""

    async def handle_input(self, message: Message) -> None:
        """Take a message, in order. Cancelled when another streamer comes."""

    def reset(self) -> None:
        """The streamer is gone: release what is held."""


class Send(Protocol):
    """Tells the streamer something, if there is one."""

    def __call__(self, message: Message, /) -> None: ...


class StreamerServer:
    """Loop thread only. `run()` takes the listening socket over."""

    def __init__(self, agent_fd: int, guest: Guest) -> None:
        self._agent_fd = agent_fd
        self._guest = guest
        self._link: Link | None = None

    def send(self, message: Message) -> None:
        """Tell the streamer; nothing happens while there is none."""
        if self._link is None:
            return
        try:
            self._link.send(message)
        except LinkError as error:
            # Only control characters are so much longer in JSON.
            _log.info("%s is not told to the streamer: %s", message.type, error)

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        with socket.socket(fileno=self._agent_fd) as listener:
            listener.setblocking(False)
            async with asyncio.TaskGroup() as tasks:
                serving: asyncio.Task[None] | None = None
                while True:
                    sock, _ = await loop.sock_accept(listener)
                    link = await Link.open(sock, STREAMER_TO_AGENT)
                    if serving is not None and not serving.done():
                        _log.info("a new streamer replaces the last one")
                        # What the old one sent and nobody has taken yet must not come up among the new one's.
                        serving.cancel()
                        await asyncio.wait([serving])
                    self._link = link
                    serving = tasks.create_task(self._serve(link))

    async def _serve(self, link: Link) -> None:
        try:
            self._guest.greet(self.send)
            while (message := await link.receive()) is not None:
                if isinstance(message, ErrorMessage):
                    _log.warning("the streamer says: %s", message.message)
                else:
                    await self._guest.handle_input(message)
        except LinkError as error:
            _log.warning("the streamer's messages are broken: %s", error)
        finally:
            link.close()
            if self._link is link:
                self._link = None
                self._guest.reset()
