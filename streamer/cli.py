# SPDX-License-Identifier: Apache-2.0
"""The command `heliograph`. stdout carries what was asked for and nothing else; the log goes to stderr."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from streamer.config import (
    DISPLAY_SOURCES,
    LOG_LEVELS,
    MAX_FPS,
    MAX_OUTPUTS,
    Settings,
    SettingsError,
    configure_logging,
    parse_bitrate,
    parse_host,
    parse_ice_server,
    parse_limit,
    parse_size,
    parse_udp_ports,
    version,
)

_T = TypeVar("_T")
USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. `arguments` are those behind the program's name."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # These have options of their own.
    if given[:1] == ["devices"]:
        from streamer.devices import main as devices

        return devices(given[1:])
    if given[:1] == ["doctor"]:
        from streamer.doctor import main as doctor

        return doctor(given[1:])
    if given[:1] == ["vtest"]:
        from streamer.vtest import main as vtest

        return vtest(given[1:])
    if given[:1] == ["bench"]:
        return _run_benchmarks(given[1:])
    try:
        settings = parse_settings(given)
    except SettingsError as error:
        sys.stderr.write(f"heliograph: {error}\n")
        return USAGE_ERROR
    configure_logging(settings.log_level)

    from streamer.gateway.gateway import run

    return run(settings, announce)


def _run_benchmarks(arguments: Sequence[str]) -> int:
    """Become `python -m bench` in the tree that this package runs from; benchmarks are not installed."""
    tree = Path(__file__).resolve().parent.parent
    if not (tree / "bench" / "__main__.py").exists():
        sys.stderr.write("heliograph: there are no benchmarks beside an installed Heliograph: run it from its tree\n")
        return USAGE_ERROR
    if find_spec("playwright") is None:
        sys.stderr.write("heliograph: benchmarks need what tests need: make setup, or the package's extra `test`\n")
        return USAGE_ERROR
    os.chdir(tree)
    os.execv(sys.executable, [sys.executable, "-m", "bench", *arguments])


def announce(url: str) -> None:
    """Tell who started us that clients can connect now, and where."""
    try:
        sys.stdout.write(f"READY {url}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # who started us has stopped listening; the session goes on


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Return the checked settings of `desktop`, `run` or `vm`.

    Raises:
        SettingsError: options that do not go together.
        SystemExit: argparse has said what is wrong, or answered --help or --version.
    """
    # Split by hand: argparse would look for our options in the guest's command line.
    ours, command = _split_command(arguments)
    options = vars(_parser().parse_args(ours))
    mode = options.pop("mode")
    if mode == "desktop" and command:
        raise SettingsError(f"desktop takes no program: heliograph run [options] -- {' '.join(command)}")
    options["hosts"] = tuple(dict.fromkeys(options.pop("hosts") or ["127.0.0.1"]))
    options["ice_servers"] = tuple(options["ice_servers"])
    if "limits" in options:
        options["limits"] = tuple(options["limits"])
    settings = Settings(mode=mode, command=tuple(command), **options)
    settings.check()
    return settings


def _split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return list(arguments), []
    index = list(arguments).index("--")
    return list(arguments[:index]), list(arguments[index + 1 :])


def checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Give argparse an error that it shows as it is."""

    def convert(text: str) -> _T:
        try:
            return parse(text)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return what parses an integer within low…high for argparse."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise SettingsError(f"{text!r} is not within {low} to {high}")
        return int(text)

    return checked(parse)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heliograph",
        description="Shows a desktop, a program or a virtual machine in the browser, over WebRTC.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"heliograph {version()}")
    commands = parser.add_subparsers(dest="mode", required=True, metavar="COMMAND")
    desktop = commands.add_parser("desktop", help="start a desktop session", allow_abbrev=False)
    run = commands.add_parser(
        "run",
        help="start a session with one program",
        usage="%(prog)s [options] -- CMD [ARGUMENT...]",
        description="The session ends when the program does, with its exit code.",
        allow_abbrev=False,
    )
    machine = commands.add_parser(
        "vm",
        help="start a session with a virtual machine",
        usage="%(prog)s [options] -- qemu-system-x86_64 ARGUMENT...\n       %(prog)s [options] --attach QMP-SOCKET",
        description="Adds to QEMU's command line what a session needs. The session ends when the machine does, with "
        "QEMU's exit code, and the machine when the session does, at once; one that runs already goes on.",
        epilog="Example: heliograph vm -- qemu-system-x86_64 -enable-kvm -M q35 -cpu host -m 4G -drive "
        "file=debian.qcow2,if=virtio. More in docs/guests.md: sound, libvirt, Windows, the agent inside.",
        allow_abbrev=False,
    )
    commands.add_parser("vtest", help="serve Venus clients (stock Mesa's Vulkan driver) on a socket")
    commands.add_parser("devices", help="list the Vulkan devices and the encoders of this machine")
    commands.add_parser("bench", help="measure latency, rates and cost, beside those of peers (from the tree alone)")
    commands.add_parser("doctor", help="say what is missing on this machine, and how to get it")
    for command in (desktop, run, machine):
        _add_session_options(command)
    for command in (desktop, run):
        add_venus_options(command)
    _add_machine_options(machine)
    return parser


def _add_session_options(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    picture = parser.add_argument_group("picture")
    add: Any = picture.add_argument
    add("--size", type=checked(parse_size), default=defaults.size, metavar="WxH", help="at the start: %(default)s")
    add("--no-resize", dest="resizable", action="store_false", help="keep that size, whatever the browser's window is")
    add("--fps", type=integer(1, MAX_FPS), default=defaults.fps, metavar="N", help="at most; %(default)s")
    add("--no-audio", dest="has_audio", action="store_false", help="the guest has no sound")
    add("--gpu", default=defaults.gpu, metavar="ID", help="auto, cpu, or an index or UUID of `heliograph devices`")
    add("--convert", choices=("auto", "cpu", "gpu"), default=defaults.convert, help="where colours are converted")
    add("--encoder", default=defaults.encoder, metavar="NAME", help="auto, or a name of `heliograph devices`")
    add("--bitrate", dest="bitrate_bps", type=checked(parse_bitrate), metavar="RATE", help="at most; such as 8M")
    network = parser.add_argument_group("network")
    add = network.add_argument
    add(
        "--host",
        dest="hosts",
        action="append",
        type=checked(parse_host),
        metavar="IP",
        help="address to serve at, pages and media both; 127.0.0.1; may be given more than once",
    )
    add("--port", type=integer(0, 65535), default=defaults.port, metavar="N", help="%(default)s; 0: any free one")
    add("--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with this certificate (PEM)")
    add("--tls-key", type=Path, metavar="FILE", help="and this key (PEM)")
    add("--insecure-bind", action="store_true", help="serve other machines without encryption")
    add("--udp-ports", type=checked(parse_udp_ports), metavar="A-B", help="the ports that media may use")
    add(
        "--ice-server",
        dest="ice_servers",
        action="append",
        type=checked(parse_ice_server),
        default=[],
        metavar="URL",
        help="stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT; none unless given",
    )
    other = parser.add_argument_group("other")
    add = other.add_argument
    add("--name", default=defaults.name, metavar="TEXT", help="the session's name in the browser")
    add("--log-level", choices=LOG_LEVELS, default=defaults.log_level, help="%(default)s")


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the machine")
    add: Any = group.add_argument
    add(
        "--attach", type=Path, metavar="QMP-SOCKET", help="show a machine that runs already, with -display dbus,p2p=yes"
    )
    add(
        "--display-source",
        choices=DISPLAY_SOURCES,
        default=Settings().display_source,
        help="where the picture comes from; auto: from the display device that the command line has (dbus), else from "
        "one that is added and that the render worker serves (vhost-user)",
    )
    add(
        "--outputs",
        type=integer(1, MAX_OUTPUTS),
        default=Settings().outputs,
        metavar="N",
        help="screens that the guest may have, each in a window of the browser; %(default)s",
    )


def add_venus_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what guest programs draw with."""
    group = parser.add_argument_group("guest programs' graphics")
    add: Any = group.add_argument
    add(
        "--limit",
        dest="limits",
        action="append",
        type=checked(parse_limit),
        default=[],
        metavar="NAME=VALUE",
        help="what they may use, such as memory-bytes=8G; see docs/protocol/venus-limits.md",
    )
    add(
        "--no-swapchain",
        dest="has_swapchain",
        action="store_false",
        help="hide the extensions that Mesa 25.0 wants before it offers swapchains; newer ones do without",
    )


if __name__ == "__main__":
    sys.exit(main())
