# SPDX-License-Identifier: Apache-2.0
"""`python -m guest_agent.in_vm`, inside a virtual machine: see docs/guests.md."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from guest_agent.in_vm.agent import InVmAgent
from guest_agent.in_vm.port_device import PortDevice, PortError, find_port
from guest_agent.port_framing import PORT_NAME


def main(arguments: Sequence[str]) -> int:
    """Serve the port until it is gone."""
    parser = argparse.ArgumentParser(
        prog="python -m guest_agent.in_vm",
        description="Clipboard, sizes and time for a virtual machine that `heliograph vm` shows.",
    )
    parser.add_argument("--port", type=Path, metavar="PATH", help=f"its device (default: that of {PORT_NAME})")
    parser.add_argument("--display", default=os.environ.get("DISPLAY", ":0"), help="X display (default: %(default)s)")
    parser.add_argument("--no-clock", action="store_true", help="leave the guest's clock alone")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="in-vm agent: %(levelname)s: %(message)s")

    async def run() -> None:
        port = PortDevice.open(options.port or find_port(PORT_NAME))
        await InVmAgent(port, options.display, sets_clock=not options.no_clock).run()

    try:
        asyncio.run(run())
    except PortError as error:
        sys.stderr.write(f"in-vm agent: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
