# SPDX-License-Identifier: Apache-2.0
"""The agent's end of its control link (`docs/protocol/agent-link.md`), and what ends an agent."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Self

from guest_agent.link import Link, LinkError
from guest_agent.messages import GATEWAY_TO_AGENT, Error, Message, Stop

_log = logging.getLogger(__name__)


class AgentError(Exception):
    """The session cannot go on; the text says why."""


class SessionOver(Exception):
    """The session is over, in order."""


class GatewayLink:
    """Loop thread only.

    Attributes:
        is_gone: the gateway has ended without a word: nobody else is left to clean up.
    """

    def __init__(self, link: Link) -> None:
        self.is_gone = False
        self._link = link

    @classmethod
    async def open(cls, control_fd: int) -> Self:
        """Take the control link's socket over."""
        return cls(await Link.open(socket.socket(fileno=control_fd), GATEWAY_TO_AGENT))

    def send(self, message: Message) -> None:
        self._link.send(message)

    async def run_session(
        self,
        session: Callable[[], Awaitable[None]],
        handle: Callable[[Message], None],
        expected: tuple[type[Exception], ...],
    ) -> int:
        """Run `session` to its end, which the gateway or a signal may bring too; return the exit code for this process.

        Args:
            session: raises SessionOver when it is over, an AgentError or one of `expected` when it cannot go on.
            handle: takes the gateway's messages.
        """
        over = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        code = 0
        errors: tuple[type[Exception], ...] = (AgentError, *expected)
        try:
            async with asyncio.TaskGroup() as tasks:
                # From here on the gateway's end is noticed.
                tasks.create_task(self._serve(handle))
                tasks.create_task(_wait_until_over(over))
                await session()
        except* SessionOver:
            pass
        except* errors as group:
            for error in _leaves(group):
                _log.error("the session ends: %s", error)
            code = 1
        except* Exception as group:
            _log.error("the session ends by an error of the agent", exc_info=group)
            code = 1
        return code

    async def close(self) -> None:
        """Close it when all that was said has been sent."""
        self._link.close()
        await self._link.wait_closed()

    async def _serve(self, handle: Callable[[Message], None]) -> None:
        try:
            while (message := await self._link.receive()) is not None:
                if isinstance(message, Stop):
                    raise SessionOver
                if isinstance(message, Error):
                    _log.warning("the gateway says: %s", message.message)
                else:
                    handle(message)
        except LinkError as error:
            raise AgentError(f"the gateway's messages are broken: {error}") from error
        self.is_gone = True
        _log.warning("the gateway is gone: the session ends")
        raise SessionOver


async def _wait_until_over(over: asyncio.Event) -> None:
    await over.wait()
    raise SessionOver


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
