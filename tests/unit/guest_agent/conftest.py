# SPDX-License-Identifier: Apache-2.0
"""A real X server for the agent's parts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guest_agent.children import Children
from guest_agent.display_server import XorgServer
from guest_agent.screen import Screen
from guest_agent.x_connection import XConnection
from tests.support.guest import Guest


@pytest.fixture
async def guest(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guest]:
    # Not pytest's own directory: socket paths are short.
    with tempfile.TemporaryDirectory(prefix="heliograph-test-") as name:
        directory = Path(name)
        children = Children()
        server = await XorgServer.start(children, directory)
        monkeypatch.setenv("XAUTHORITY", server.environment()["XAUTHORITY"])
        x = XConnection(server.display)
        resized: list[tuple[int, int]] = []
        screen = Screen(x, lambda width, height: resized.append((width, height)))
        screen.set_size(800, 600)
        environment = {**os.environ, **server.environment(), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        try:
            yield Guest(directory, children, server, x, screen, resized, environment)
        finally:
            x.close()
            await children.end_all(spare=server.child)
            await server.stop()
            children.close()
