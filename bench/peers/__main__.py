# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.peers [install]`: which products can be measured here; fetch what is missing of the peers."""

from __future__ import annotations

import argparse
import subprocess
import sys

from bench.peers import novnc, selkies
from bench.peers.products import PRODUCTS
from bench.peers.selkies import Selkies


def main() -> int:
    """List, or install; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("list", "install"), default="list")
    arguments = parser.parse_args()
    if arguments.what == "install":
        for product, commands in ((Selkies("websockets"), selkies.INSTALL), (novnc.NoVnc(), novnc.INSTALL)):
            if product.missing() is None:
                continue
            for command in commands:
                sys.stdout.write(f"{' '.join(command)}\n")
                sys.stdout.flush()
                if subprocess.run(command, check=False).returncode:
                    sys.stdout.write(f"{product.name}: not installed; benchmarks leave it out\n")
                    break
    for each in PRODUCTS:
        lacking = each.missing()
        sys.stdout.write(f"{each.name}: {f'missing, to install: {lacking}' if lacking else each.version()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
