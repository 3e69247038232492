# SPDX-License-Identifier: Apache-2.0
"""`python -m guest_agent`: one guest's display server, session and input (`docs/architecture.md`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from guest_agent.agent import Agent, Settings
from guest_agent.display_server import MAX_HEIGHT, MAX_WIDTH
from guest_agent.screen import MIN_SIZE


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write WIDTHxHEIGHT")
    width, height = int(match[1]), int(match[2])
    if not (MIN_SIZE <= width <= MAX_WIDTH and MIN_SIZE <= height <= MAX_HEIGHT):
        raise argparse.ArgumentTypeError(f"{text} is not within {MIN_SIZE}x{MIN_SIZE} and {MAX_WIDTH}x{MAX_HEIGHT}")
    return width, height


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Return the settings of a command line; exits with a message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m guest_agent", description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True, metavar="N", help="the gateway's socket")
    parser.add_argument("--agent-fd", type=int, required=True, metavar="N", help="listening socket for the streamer")
    parser.add_argument("--display", required=True, metavar="PATH", help="the render worker's socket")
    parser.add_argument("--session-dir", type=Path, required=True, metavar="DIR", help="a private directory")
    parser.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH", help="the screen's first size")
    parser.add_argument("--venus", metavar="PATH", help="the render worker's socket for programs' graphics")
    parser.add_argument("--sound-fd", type=int, metavar="N", help="listening socket for who wants the sound")
    parser.add_argument("--desktop", action="store_true", help="run the default desktop")
    parser.add_argument("command", nargs="*", metavar="CMD", help="the guest's program, after --")
    found = parser.parse_args(arguments)
    if found.desktop == bool(found.command):
        parser.error("give either --desktop or -- CMD")
    return Settings(
        control_fd=found.control_fd,
        agent_fd=found.agent_fd,
        display_path=found.display,
        session_directory=found.session_dir.absolute(),
        width=found.size[0],
        height=found.size[1],
        command=tuple(found.command),
        venus_path=found.venus,
        sound_fd=found.sound_fd,
    )


def main() -> int:
    settings = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="agent: %(levelname)s: %(message)s")

    async def run() -> int:
        return await Agent(settings).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
