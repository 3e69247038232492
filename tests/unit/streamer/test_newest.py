# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

from streamer.newest import Newest
from tests.support.streaming import wait_until


async def test_the_first_goes_at_once_and_of_those_that_follow_the_last() -> None:
    sent: list[int] = []
    newest: Newest[int] = Newest(1.0, sent.append)
    for value in range(5):
        newest.put(value)
    assert sent == [0]
    await wait_until(lambda: len(sent) == 2)
    newest.put(7)
    assert sent == [0, 4]
    newest.cancel()
    newest.put(8)
    assert sent == [0, 4, 8]
    newest.put(9)
    newest.cancel()
    await asyncio.sleep(1.1)
    assert sent == [0, 4, 8]
