# SPDX-License-Identifier: Apache-2.0
"""The session's sound server: a PulseAudio of its own with one sink that leads nowhere, and how programs find it.

It knows no hardware, no D-Bus and no file of the host's user. With nothing playing and nobody recording the sink is
suspended, and nothing wakes up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guest_agent.children import ChildError, Children

RATE_HZ = 48_000
CHANNELS = 2
SINK = "heliograph"
START_SECONDS = 5.0
# A server that ends more often than this is not started again.
MAX_STARTS = 6
STARTS_SPAN_S = 30.0
_RETRY_S = 0.2
_POLL_S = 0.02

# The host's sound: a guest's programs must not come out there.
_HOST_VARIABLES = (
    "ALSA_CONFIG_PATH",
    "PIPEWIRE_REMOTE",
    "PIPEWIRE_RUNTIME_DIR",
    "PULSE_CLIENTCONFIG",
    "PULSE_CONFIG_PATH",
    "PULSE_COOKIE",
    "PULSE_PROP",
    "PULSE_RUNTIME_PATH",
    "PULSE_SERVER",
    "PULSE_SINK",
    "PULSE_SOURCE",
    "PULSE_STATE_PATH",
)
# norewinds: the sink mixes 50 ms ahead at most. Otherwise 2 s, for which a recording that begins has to wait.
_SCRIPT = f"""\
.fail
load-module module-null-sink sink_name={SINK} sink_properties=device.description=Heliograph norewinds=1 \
format=s16le rate={RATE_HZ} channels={CHANNELS}
load-module module-native-protocol-unix socket=%s auth-anonymous=1 auth-cookie-enabled=0
load-module module-suspend-on-idle timeout=1
set-default-sink {SINK}
"""
_OPTIONS = (
    *("--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--realtime=no", "--high-priority=no"),
    *("--disallow-exit=yes", "--disallow-module-loading=yes", "--disable-shm=yes"),
    *("--log-target=stderr", "--log-level=error"),
)
_ALSA_PLUGINS = (
    "usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so",
    "usr/lib64/alsa-lib/libasound_module_pcm_pulse.so",
    "usr/lib/alsa-lib/libasound_module_pcm_pulse.so",
)
_ALSA_MAIN = Path("/usr/share/alsa/alsa.conf")
_ALSA_CONFIG = f"""\
<{_ALSA_MAIN}>
pcm.!default {{ type pulse }}
ctl.!default {{ type pulse }}
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SoundPrograms:
    """What a session's sound needs: the server, and what records from it."""

    server: str
    recorder: str


def find_programs(path: str | None = None) -> SoundPrograms | None:
    """Return the programs on `path` ($PATH when None), or None when one is missing."""
    server, recorder = shutil.which("pulseaudio", path=path), shutil.which("parec", path=path)
    return None if server is None or recorder is None else SoundPrograms(server, recorder)


def has_alsa_plugin(root: Path = Path("/")) -> bool:
    """Whether programs that know only ALSA can be led to the sound server."""
    return any(True for pattern in _ALSA_PLUGINS for _ in root.glob(pattern))


def without_host_sound(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what leads to the host's sound."""
    return {name: value for name, value in environment.items() if name not in _HOST_VARIABLES}


class SoundServer:
    """Keeps a PulseAudio running as long as `run()` does. Event loop only.

    Args:
        directory: the agent's own, for the server's files.
        runtime_directory: the session's XDG_RUNTIME_DIR; the socket lies where programs look for it there.
    """

    def __init__(self, children: Children, programs: SoundPrograms, directory: Path, runtime_directory: Path) -> None:
        self._children = children
        self._programs = programs
        self._files = directory / "sound"
        self._socket = runtime_directory / "pulse" / "native"
        self._alsa: Path | None = None
        self._is_given_up = False

    @property
    def is_available(self) -> bool:
        """False once the server is not started again."""
        return not self._is_given_up

    def environment(self) -> dict[str, str]:
        """Return what leads a program to the sound server."""
        variables = {
            "PULSE_SERVER": f"unix:{self._socket}",
            # Clients make a cookie where they find none: not in the user's home.
            "PULSE_COOKIE": str(self._files / "cookie"),
        }
        if self._alsa is not None:
            variables["ALSA_CONFIG_PATH"] = str(self._alsa)
        return variables

    def prepare(self) -> None:
        """Write the server's files; once, before all else."""
        self._files.mkdir(mode=0o700)
        self._socket.parent.mkdir(mode=0o700)
        (self._files / "modules.pa").write_text(_SCRIPT % self._socket)
        if has_alsa_plugin() and _ALSA_MAIN.exists():
            self._alsa = self._files / "alsa.conf"
            self._alsa.write_text(_ALSA_CONFIG)

    async def run(self, handle_given_up: Callable[[], None]) -> None:
        """Run the server, and start it again when it ends. Returns after too many ends; cancelling is safe."""
        starts: deque[float] = deque(maxlen=MAX_STARTS)
        loop = asyncio.get_running_loop()
        while True:
            if len(starts) == MAX_STARTS and starts[0] > loop.time() - STARTS_SPAN_S:
                _log.error("the session goes on without sound: its sound server does not stay up")
                break
            starts.append(loop.time())
            try:
                child = self._children.start("sound server", self._command(), environment=self._server_environment())
            except ChildError as error:
                _log.error("the session goes on without sound: %s", error)
                break
            code = await asyncio.shield(child.ended)
            _log.warning("the sound server ended with code %d", code)
            await asyncio.sleep(_RETRY_S)
        self._is_given_up = True
        handle_given_up()

    async def wait_up(self) -> None:
        """Wait until programs can connect, or START_SECONDS have passed."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self._is_given_up and not self._answers():  # noqa: ASYNC110  (another process)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            _log.warning("the sound server does not come up: programs that start now may stay silent")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            return sock.connect_ex(os.fsencode(self._socket)) == 0

    def _command(self) -> tuple[str, ...]:
        return (self._programs.server, "-n", "-F", str(self._files / "modules.pa"), *_OPTIONS)

    def _server_environment(self) -> dict[str, str]:
        files = str(self._files)
        kept = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": files,
            "XDG_RUNTIME_DIR": files,
            "PULSE_CONFIG_PATH": files,
            "PULSE_RUNTIME_PATH": files,
            "PULSE_STATE_PATH": files,
            # Nothing listens there. Without, libdbus would start a bus.
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
            "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
        }
