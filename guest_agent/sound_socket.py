# SPDX-License-Identifier: Apache-2.0
"""The listening end of the sound link (`docs/protocol/sound-link.md`): who is connected is served, the newest alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Never

# How long a client that comes again and again has to wait.
PAUSE_S = 0.1


async def serve_newest(fd: int, serve: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> Never:
    """Accept connections of the listening socket `fd`, which is taken over. Cancelling is safe, and the only end.

    Args:
        serve: serves one connection, which it owns; cancelled when another comes.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=fd) as listener:
        listener.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            serving: asyncio.Task[None] | None = None
            while True:
                sock, _ = await loop.sock_accept(listener)
                if serving is not None and not serving.done():
                    serving.cancel()
                    await asyncio.wait([serving])
                serving = tasks.create_task(serve(sock))
                await asyncio.sleep(PAUSE_S)


async def wait_gone_or(sock: socket.socket, ended: Awaitable[object]) -> None:
    """Wait until the other end has closed, whose bytes are thrown away, or the source of the sound has `ended`."""

    async def wait_ended() -> None:
        await ended

    async with asyncio.TaskGroup() as tasks:
        both = (tasks.create_task(_wait_gone(sock)), tasks.create_task(wait_ended()))
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()


async def _wait_gone(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while await loop.sock_recv(sock, 4096):
            pass
