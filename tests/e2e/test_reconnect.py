# SPDX-License-Identifier: Apache-2.0
"""What a person who watches sees of a part's death and of a broken network: the picture comes back by itself."""

from __future__ import annotations

import os
import signal
import sys
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from bench.barcodes import newest_value, wait_value_above, watch_barcodes
from tests.support.browser import client
from tests.support.session import Session, SessionStarter
from tests.support.tcp_proxy import tcp_proxy

_COUNTER = (sys.executable, "-m", "bench.guest_programs.clock", "--count", "--fps", "20", "--size", "800x450")


def _count(start_session: SessionStarter) -> Session:
    """Start a session whose guest shows a number that grows."""
    return start_session.run(*_COUNTER, options=("--size", "800x450", "--no-resize"))


@pytest.mark.parametrize("part", ["streamer.process", "render_core.worker"])
async def test_picture_comes_back_and_the_guest_went_on(
    browser: Browser, start_session: SessionStarter, part: str
) -> None:
    session = _count(start_session)
    async with client(browser) as viewer:
        await viewer.open(session.url)
        await watch_barcodes(viewer.page)
        number = await wait_value_above(viewer.page, 0)
        # More than once: nothing wears out.
        for _ in range(2):
            first = (await viewer.stats())["viewer"]
            os.kill(session.children()[part], signal.SIGKILL)
            # The numbers of a guest that had begun anew would be smaller.
            if part == "streamer.process":
                await viewer.page.wait_for_function("first => heliograph.stats().viewer > first", arg=first)
            number = await wait_value_above(viewer.page, await newest_value(viewer.page) + 20)
        await viewer.wait_picture()
        await wait_value_above(viewer.page, number)
        await expect(viewer.page.locator("#panel.shown")).to_have_count(0)


async def test_broken_network_is_said_and_mended(browser: Browser, start_session: SessionStarter) -> None:
    session = _count(start_session)
    parts = urlsplit(session.url)
    assert parts.port is not None
    async with tcp_proxy(parts.port) as proxy, client(browser) as viewer:
        await viewer.open(f"http://127.0.0.1:{proxy.port}/?{parts.query}")
        await watch_barcodes(viewer.page)
        number = await wait_value_above(viewer.page, 0)
        first = (await viewer.stats())["viewer"]
        proxy.cut()
        await proxy.refused.wait()  # the client has tried to come back
        await expect(viewer.page.locator("#panel.shown")).to_contain_text("Reconnecting")
        # The last picture stays meanwhile.
        await expect(viewer.page.locator("#still")).to_be_visible()
        proxy.mend()
        await viewer.page.wait_for_function("first => heliograph.stats().viewer > first", arg=first)
        await viewer.wait_picture()
        await wait_value_above(viewer.page, number)
        await expect(viewer.page.locator("#panel.shown")).to_have_count(0)
