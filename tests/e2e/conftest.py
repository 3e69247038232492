# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: a browser, and sessions started by the command itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.support.browser import chromium, chromium_path
from tests.support.session import SessionStarter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = __file__.rpartition("/")[0]
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.e2e)
            if chromium_path() is None:
                item.add_marker(pytest.mark.skip(reason="no chromium on this machine"))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def start_session() -> Iterator[SessionStarter]:
    """Start `heliograph run` or `desktop`; what is still running at the end of the test is ended."""
    starter = SessionStarter()
    yield starter
    starter.close()
