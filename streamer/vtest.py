# SPDX-License-Identifier: Apache-2.0
"""`heliograph vtest`: unmodified Vulkan programs with Mesa's stock Venus driver are executed, by a socket."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamer.cli import add_venus_options, announce, checked, integer
from streamer.config import LOG_LEVELS, VtestSettings, configure_logging, parse_mode

_EPILOG = "A program finds the socket by VN_DEBUG=vtest and VTEST_SOCKET_NAME=PATH; docs/guests.md says more."


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal comes; return the exit code."""
    settings = parse_settings(arguments)
    configure_logging(settings.log_level)

    from streamer.gateway.vtest import run

    return run(settings, announce)


def parse_settings(arguments: Sequence[str]) -> VtestSettings:
    """Return the checked settings.

    Raises:
        SystemExit: argparse has said what is wrong, or answered --help.
    """
    parser = argparse.ArgumentParser(
        prog="heliograph vtest",
        description="Execute Vulkan programs that come with Mesa's stock Venus driver, each in a process of its own.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    add: Any = parser.add_argument
    add("--socket", type=Path, required=True, metavar="PATH", help="where programs connect")
    add(
        "--socket-mode",
        type=checked(parse_mode),
        default=0o600,
        metavar="MODE",
        help="the socket's permissions: who may write may connect; 600: only this user",
    )
    add("--gpu", default="auto", metavar="ID", help="auto, cpu, or an index or UUID of `heliograph devices`")
    add("--max-clients", type=integer(1, 1024), default=64, metavar="N", help="served at once; %(default)s")
    add("--log-level", choices=LOG_LEVELS, default="info", help="%(default)s")
    add_venus_options(parser)
    options = vars(parser.parse_args(arguments))
    return VtestSettings(**{**options, "socket": options["socket"].absolute(), "limits": tuple(options["limits"])})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
