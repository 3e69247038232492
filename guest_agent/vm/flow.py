# SPDX-License-Identifier: Apache-2.0
"""Calls that nobody waits for one by one, but that must not pile up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

# More than anybody presses while QEMU does something else.
MAX_UNANSWERED = 64
TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class Flow:
    """Keeps count of one way's unanswered calls; loop thread only."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Future[Any]] = set()

    def add(self, call: asyncio.Future[Any]) -> None:
        """Count a call until it is answered."""
        self._calls.add(call)
        call.add_done_callback(self._handle_answer)

    def _handle_answer(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        error = None if call.cancelled() else call.exception()
        if error is not None:
            _log.debug("input is lost: %s", error)

    async def wait_for_room(self) -> bool:
        """Wait while too many are unanswered; False when none was answered in time."""
        if len(self._calls) >= MAX_UNANSWERED:
            await asyncio.wait(self._calls, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        return len(self._calls) < MAX_UNANSWERED

    async def settle(self) -> None:
        """Wait until all are answered; not for ever."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=TIMEOUT_S)
