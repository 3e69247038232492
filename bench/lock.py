# SPDX-License-Identifier: Apache-2.0
"""Measuring where others work too: alone, if they ask for the same lock."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def alone(lock: Path | None) -> AsyncIterator[None]:
    """Hold a file's lock, so that nobody who asks for it works meanwhile; None: do not."""
    if lock is None:
        yield
        return
    with lock.open("ab") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield
