# SPDX-License-Identifier: Apache-2.0
"""The guest's session: its environment, and the program or the default desktop that runs in it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from guest_agent.children import Child, ChildError, Children

DESKTOP = Path(__file__).parent / "desktop"
# A shell's answers to a program that cannot be run.
EXIT_NOT_FOUND = 127
_STDERR = 2

# The host's own session: a guest's programs must not talk to it, or open their windows there.
_HOST_VARIABLES = (
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_STARTUP_ID",
    "DISPLAY",
    "SESSION_MANAGER",
    "SSH_AUTH_SOCK",
    "WAYLAND_DISPLAY",
    "WINDOWID",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_SEAT",
    "XDG_SESSION_ID",
    "XDG_VTNR",
)
# Started beside the window manager, if they are there.
_PANEL = ("tint2", "-c", str(DESKTOP / "tint2rc"))
_TERMINALS = (("xterm",), ("x-terminal-emulator",))

_log = logging.getLogger(__name__)


def make_environment(display: Mapping[str, str], runtime_directory: Path) -> dict[str, str]:
    """Return what guest programs get: ours without what belongs to the host's session."""
    environment = {name: value for name, value in os.environ.items() if name not in _HOST_VARIABLES}
    environment |= display
    environment["XDG_RUNTIME_DIR"] = str(runtime_directory)
    environment["XDG_SESSION_TYPE"] = "x11"
    environment.setdefault("XCURSOR_THEME", "Adwaita")
    environment.setdefault("XCURSOR_SIZE", "24")
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG", "")
    if "utf" not in locale.lower():
        # Text that a viewer types may be anything.
        environment.pop("LC_ALL", None)
        environment.pop("LC_CTYPE", None)
        environment["LANG"] = "C.UTF-8"
    return environment


def desktop_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the default desktop's settings before the machine's."""
    data = environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    config = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return dict(environment) | {
        "XDG_DATA_DIRS": f"{DESKTOP / 'share'}:{data}",
        "XDG_CONFIG_DIRS": f"{DESKTOP / 'config'}:{config}",
        "XDG_CURRENT_DESKTOP": "Heliograph",
        "XENVIRONMENT": str(DESKTOP / "xresources"),
        "GTK2_RC_FILES": f"{environment.get('GTK2_RC_FILES', '/etc/gtk-2.0/gtkrc')}:{DESKTOP / 'gtkrc-2.0'}",
    }


class Session:
    """A guest's programs. The session ends with its main one, whose exit code it has."""

    def __init__(self, children: Children, environment: dict[str, str]) -> None:
        self._children = children
        self._environment = environment

    def start_program(self, command: Sequence[str]) -> Child:
        """Start the guest's program.

        Raises:
            ChildError: it cannot be run.
        """
        return self._children.start(command[0], command, environment=self._environment)

    def start_desktop(self) -> Child:
        """Start the default desktop: a window manager, and what there is of the rest.

        Raises:
            ChildError: there is not even a window manager or a terminal.
        """
        environment = desktop_environment(self._environment)
        directory = Path(environment.get("HOME") or "/")
        home = directory if directory.is_dir() else None
        manager = ("openbox", "--config-file", str(DESKTOP / "config" / "openbox" / "rc.xml"))
        main = self._start_first((manager, *_TERMINALS), environment, home)
        if main is None:
            raise ChildError("there is no window manager: install openbox")
        # The panel tells its life, dozens of lines at each change of the screen; nobody misses it.
        with open(os.devnull, "wb") as nowhere:
            self._start_first((_PANEL,), environment, home, output_fd=nowhere.fileno())
        if main.name == "openbox":
            self._start_first(_TERMINALS, environment, home)
        return main

    def _start_first(
        self,
        commands: Sequence[Sequence[str]],
        environment: Mapping[str, str],
        directory: Path | None,
        output_fd: int = _STDERR,
    ) -> Child | None:
        """Start the first of these programs that there is."""
        for command in commands:
            if shutil.which(command[0], path=environment.get("PATH")):
                return self._children.start(
                    command[0], command, environment=environment, directory=directory, output_fd=output_fd
                )
            _log.warning("the desktop goes without %s: it is not installed", command[0])
        return None
