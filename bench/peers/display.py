# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.peers.display`: the X server of our own sessions by itself, for peers that want one.

Writes DISPLAY and XAUTHORITY to a file as one line when it is there, and ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from guest_agent.children import Children
from guest_agent.display_server import XorgServer
from guest_agent.screen import Screen
from guest_agent.x_connection import XConnection


async def _serve(folder: Path, width: int, height: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    children = Children()
    server = await XorgServer.start(children, folder)
    try:
        os.environ.update(server.environment())
        x = XConnection(server.display)
        Screen(x, lambda _width, _height: None).set_size(width, height)
        line = " ".join((server.environment()["DISPLAY"], server.environment()["XAUTHORITY"]))
        (folder / "display").write_text(f"{line}\n")
        await ended.wait()
        x.close()
    finally:
        await server.stop()
        children.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.display", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, arguments.width, arguments.height))


if __name__ == "__main__":
    main()
