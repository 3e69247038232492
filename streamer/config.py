# SPDX-License-Identifier: Apache-2.0
"""Settings: read once from the command line and the environment, checked, and frozen.

Nothing else reads the environment.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import ifaddr

from guest_agent.vm.qemu_command import CommandError, Source
from guest_agent.vm.qemu_command import check as check_command

Mode = Literal["desktop", "run", "vm"]
DISPLAY_SOURCES = ("auto", "vhost-user", "dbus")

MIN_SIZE, MAX_SIZE = 16, 16384  # what the display link takes
MAX_FPS = 240
MAX_OUTPUTS = 16
MIN_BITRATE_BPS, MAX_BITRATE_BPS = 100_000, 1_000_000_000
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
LOG_TIME_FORMAT = "%H:%M:%S"


class SettingsError(ValueError):
    """A setting is wrong; the text says which, why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """UDP ports, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Settings:
    """One session's settings, as checked by `check()`."""

    mode: Mode = "desktop"
    command: tuple[str, ...] = ()
    attach: Path | None = None  # the QMP socket of a machine that runs already
    display_source: str = "auto"  # of DISPLAY_SOURCES, for a machine
    size: Size = Size(1280, 720)
    resizable: bool = True
    outputs: int = 1  # that the guest may be asked to have; what it shows beyond that can be watched all the same
    has_audio: bool = True
    fps: int = 60
    gpu: str = "auto"
    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_bind: bool = False
    ice_servers: tuple[str, ...] = ()
    udp_ports: PortRange | None = None
    bitrate_bps: int | None = None
    encoder: str = "auto"
    convert: str = "auto"
    limits: tuple[str, ...] = ()  # NAME=VALUE, as parse_limit() returns them
    has_swapchain: bool = True
    name: str = "Heliograph"
    log_level: str = "info"

    @property
    def secure(self) -> bool:
        """Whether HTTP is served over TLS."""
        return self.tls_cert is not None

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach the session."""
        return not all(ipaddress.ip_address(host).is_loopback for host in self.hosts)

    def check(self) -> None:
        """Check what belongs together.

        Raises:
            SettingsError: the combination is refused; says what to do instead.
        """
        if self.mode == "run" and not self.command:
            raise SettingsError("run needs a program: heliograph run [options] -- CMD [ARGUMENT...]")
        if self.mode == "vm":
            self._check_machine()
        if not 1 <= self.outputs <= MAX_OUTPUTS:
            raise SettingsError(f"{self.outputs} outputs: a guest has 1 to {MAX_OUTPUTS}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key belong together: give both, or neither")
        for option, path in (("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key)):
            if path is not None and not os.access(path, os.R_OK):
                raise SettingsError(f"{option} {path}: there is no such file, or it cannot be read")
        if self.exposed and not self.secure and not self.insecure_bind:
            raise SettingsError(
                f"--host {' '.join(self.hosts)} can be reached by other machines, and the connection would not be "
                "encrypted: add --tls-cert and --tls-key, or --insecure-bind if you mean it"
            )

    def _check_machine(self) -> None:
        if (self.attach is None) == (not self.command):
            raise SettingsError(
                "vm needs a machine: heliograph vm [options] -- qemu-system-x86_64 ARGUMENT..., or --attach QMP-SOCKET "
                "for one that runs already"
            )
        if self.attach is None:
            sources: dict[str, Source | None] = {"auto": None, "vhost-user": "vhost-user", "dbus": "dbus"}
            try:
                check_command(self.command, sources[self.display_source])
            except CommandError as error:
                raise SettingsError(str(error)) from error
        if self.attach is not None and not self.attach.is_socket():
            raise SettingsError(
                f"--attach {self.attach}: no such socket; QEMU makes one with -qmp unix:PATH,server=on,wait=off"
            )
        if self.attach is not None and self.display_source == "vhost-user":
            raise SettingsError(
                "--display-source vhost-user: a machine that runs already can be shown by dbus alone: leave it away"
            )


@dataclass(frozen=True, slots=True)
class VtestSettings:
    """What `heliograph vtest` was told.

    Attributes:
        socket_mode: the socket file's permissions.
        max_clients: served at once; more wait in the socket's backlog.
        limits: of each client, NAME=VALUE, as parse_limit() returns them.
        has_swapchain: whether clients see the extensions that Mesa 25.0 wants before it offers swapchains.
    """

    socket: Path
    socket_mode: int = 0o600
    gpu: str = "auto"
    max_clients: int = 64
    limits: tuple[str, ...] = ()
    has_swapchain: bool = True
    log_level: str = "info"


def parse_size(text: str) -> Size:
    """Parse `1280x720`."""
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no size: write WIDTHxHEIGHT, such as 1280x720")
    size = Size(int(match[1]), int(match[2]))
    if not (MIN_SIZE <= size.width <= MAX_SIZE and MIN_SIZE <= size.height <= MAX_SIZE):
        raise SettingsError(f"{text!r}: width and height must be {MIN_SIZE} to {MAX_SIZE}")
    return size


def parse_udp_ports(text: str) -> PortRange:
    """Parse `50000-50100`, or one port."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no port range: write FIRST-LAST, such as 50000-50100")
    ports = PortRange(int(match[1]), int(match[2] or match[1]))
    if not 1 <= ports.first <= ports.last <= 65535:
        raise SettingsError(f"{text!r}: ports are 1 to 65535, the first not above the last")
    return ports


def parse_bitrate(text: str) -> int:
    """Parse `8M`, `8000k` or `8000000` to bits a second."""
    match = re.fullmatch(r"(\d{1,10})(?:\.(\d{1,3}))?\s*([kKmM]?)(?:bps|bit/s)?", text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no bit rate: write bits a second, such as 8M, 2500k or 8000000")
    scale = {"": 1, "k": 1000, "m": 1_000_000}[match[3].lower()]
    bitrate_bps = round(float(f"{match[1]}.{match[2] or 0}") * scale)
    if not MIN_BITRATE_BPS <= bitrate_bps <= MAX_BITRATE_BPS:
        raise SettingsError(f"{text!r}: the bit rate must be {MIN_BITRATE_BPS} to {MAX_BITRATE_BPS} bits a second")
    return bitrate_bps


def parse_limit(text: str) -> str:
    """Parse `NAME=VALUE`, the value with k, M or G (1024 each) behind it or without; return it without.

    The render core knows the names and what each may be.
    """
    match = re.fullmatch(r"([a-z][a-z-]{0,40})=(\d{1,15})([kMG]?)", text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no limit: write NAME=VALUE, such as memory-bytes=8G")
    return f"{match[1]}={int(match[2]) << {'': 0, 'k': 10, 'M': 20, 'G': 30}[match[3]]}"


def parse_mode(text: str) -> int:
    """Parse a socket's permissions in octal, such as `660`."""
    if re.fullmatch(r"0?[0-7]{3}", text.strip()) is None:
        raise SettingsError(f"{text!r} is no file mode: write three octal digits, such as 660")
    return int(text, 8)


def parse_host(text: str) -> str:
    """Parse an address of this machine; `localhost` is 127.0.0.1."""
    text = text.strip().removeprefix("[").removesuffix("]")
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise SettingsError(
            f"{text!r} is no IP address: name an address of this machine, such as 127.0.0.1, ::1 or 0.0.0.0"
        ) from None


def parse_ice_server(text: str) -> str:
    """Parse `stun:HOST[:PORT]` or `turn[s]:USER:PASSWORD@HOST[:PORT]`; handed on as it is."""
    if re.fullmatch(r"(stuns?|turns?):[^\s]{1,512}", text) is None:
        raise SettingsError(f"{text!r} is no ICE server: write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT")
    return text


def media_addresses(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses media may use: `hosts`, with 0.0.0.0 and :: replaced by what this machine has."""
    addresses: list[str] = []
    for host in hosts:
        address = ipaddress.ip_address(host)
        if not address.is_unspecified:
            addresses.append(host)
            continue
        for adapter in ifaddr.get_adapters():
            for entry in adapter.ips:
                # A link-local IPv6 address needs a scope that a candidate cannot carry.
                if entry.is_IPv4 and address.version == 4:
                    addresses.append(str(entry.ip))
                elif entry.is_IPv6 and address.version == 6 and not ipaddress.ip_address(entry.ip[0]).is_link_local:
                    addresses.append(str(entry.ip[0]))
    return tuple(dict.fromkeys(addresses))


def url_host(hosts: tuple[str, ...]) -> str:
    """Return the host part of the URL that is printed, in brackets where IPv6 needs them."""
    addresses = media_addresses(hosts) or hosts
    reachable = [host for host in addresses if not ipaddress.ip_address(host).is_loopback]
    host = (reachable or list(addresses))[0]
    return f"[{host}]" if ":" in host else host


def same_host(origin: str, host: str) -> bool:
    """Whether an Origin header's host and port are those of the Host header."""
    try:
        parts = urlsplit(origin)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and not (parts.path or parts.query or parts.fragment or parts.username)
            and parts.netloc.lower() == host.lower()
        )
    except ValueError:
        return False


def runtime_directory() -> Path:
    """Return where session directories go: $XDG_RUNTIME_DIR if it is ours and short enough, else /tmp."""
    value = os.environ.get("XDG_RUNTIME_DIR", "")
    # A socket's path has at most 107 bytes, and the session's part takes up to 47.
    if value.startswith("/") and len(os.fsencode(value)) <= 60:
        path = Path(value)
        try:
            if path.stat().st_uid == os.geteuid() and os.access(path, os.W_OK | os.X_OK):
                return path
        except OSError:
            pass
    default = Path(tempfile.gettempdir())
    return default if len(os.fsencode(default)) <= 60 else Path("/tmp")


def vulkan_environment() -> dict[str, str]:
    """Return the variables that let a Vulkan process find the private Mesa, if set-up has made one.

    They come from the file `env` (KEY=VALUE lines) in $HELIOGRAPH_MESA, or in build/mesa of the source tree. The
    machine's own drivers stay visible. Paths that the process has already are kept behind ours.
    """
    configured = os.environ.get("HELIOGRAPH_MESA")
    prefix = Path(configured) if configured else Path(__file__).resolve().parent.parent / "build" / "mesa"
    try:
        text = (prefix / "env").read_text(encoding="utf-8")
    except OSError:
        return {}
    variables: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if not separator or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            continue
        present = os.environ.get(key)
        if present and key in ("LD_LIBRARY_PATH", "VK_ADD_DRIVER_FILES", "VK_DRIVER_FILES") and value not in present:
            value = f"{value}:{present}"
        variables[key] = value
    return variables


def version() -> str:
    """Return the installed distribution's version."""
    try:
        return metadata.version("heliograph")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def configure_logging(level: str) -> None:
    """Send log lines of `level` and above to stderr."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT, datefmt=LOG_TIME_FORMAT, stream=sys.stderr, force=True)
    for noisy in ("aiohttp.access", "asyncio", "aioice", "aiortc"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
