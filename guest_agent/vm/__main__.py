# SPDX-License-Identifier: Apache-2.0
"""`python -m guest_agent.vm`: speaks for a virtual machine (`docs/architecture.md`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from guest_agent.vm.agent import Settings, VmAgent

MIN_SIZE, MAX_SIZE = 16, 16384
MAX_OUTPUTS = 16


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None or not all(MIN_SIZE <= int(side) <= MAX_SIZE for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write WIDTHxHEIGHT, each {MIN_SIZE} to {MAX_SIZE}")
    return int(match[1]), int(match[2])


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Return the settings of a command line; exits with a message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m guest_agent.vm", description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True, metavar="N", help="the gateway's socket")
    parser.add_argument("--agent-fd", type=int, required=True, metavar="N", help="listening socket for the streamer")
    parser.add_argument("--sound-fd", type=int, metavar="N", help="listening socket for who wants the sound")
    parser.add_argument("--display", required=True, metavar="PATH", help="the render worker's display socket")
    parser.add_argument("--machine", required=True, metavar="PATH", help="the render worker's machine socket")
    parser.add_argument("--session-dir", type=Path, required=True, metavar="DIR", help="a private directory")
    parser.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH", help="the screen's first size")
    parser.add_argument("--outputs", type=int, choices=range(1, MAX_OUTPUTS + 1), default=1, help="at most")
    parser.add_argument("--display-source", choices=("auto", "vhost-user", "dbus"), default="auto")
    parser.add_argument("--attach", type=Path, metavar="PATH", help="QMP socket of a machine that runs already")
    parser.add_argument("command", nargs="*", metavar="QEMU", help="the machine's command line, after --")
    found = parser.parse_args(arguments)
    if (found.attach is None) == (not found.command):
        parser.error("give either --attach or -- QEMU")
    return Settings(
        control_fd=found.control_fd,
        agent_fd=found.agent_fd,
        sound_fd=found.sound_fd,
        display_path=found.display,
        machine_path=found.machine,
        session_directory=found.session_dir.absolute(),
        size=found.size,
        outputs=found.outputs,
        source=None if found.display_source == "auto" else found.display_source,
        attach=found.attach,
        command=tuple(found.command),
    )


def main() -> int:
    settings = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="VM agent: %(levelname)s: %(message)s")

    async def run() -> int:
        return await VmAgent(settings).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
