# SPDX-License-Identifier: Apache-2.0
"""The command lines of the session's processes (`docs/architecture.md`, Processes). No I/O."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from guest_agent.messages import AGENT_TO_GATEWAY, STREAMER_TO_GATEWAY, WORKER_TO_GATEWAY
from streamer.config import Settings, VtestSettings, media_addresses
from streamer.gateway.child import ChildSpec

# -P: a directory named like one of our packages, where the user happens to be, is not imported.
_PYTHON = (sys.executable, "-P", "-m")


def worker_spec(
    settings: Settings, display_fd: int, frames_fd: int, guest_fd: int, environment: dict[str, str]
) -> ChildSpec:
    """The render worker. The listening fds stay the caller's; `environment` finds its Vulkan driver.

    `guest_fd` is for a virtual machine's device, or for programs' graphics.
    """
    serves_machine = settings.mode == "vm"
    return ChildSpec(
        name="render worker",
        command=(
            *(*_PYTHON, "render_core.worker"),
            *("--display-fd", str(display_fd), "--frames-fd", str(frames_fd)),
            *("--machine-fd" if serves_machine else "--vtest-fd", str(guest_fd)),
            *("--gpu", settings.gpu, "--size", str(settings.size), "--fps", str(settings.fps)),
            *("--convert", settings.convert, "--log-level", settings.log_level),
            *(() if serves_machine else _venus_options(settings.limits, settings.has_swapchain)),
        ),
        fds=(display_fd, frames_fd, guest_fd),
        environment=environment,
        accepts=WORKER_TO_GATEWAY,
        takes_stop=False,
        # It has its Venus clients to end in order.
        death_signal="TERM",
        is_guarded=not serves_machine,
    )


def vtest_worker_spec(settings: VtestSettings, vtest_fd: int, environment: dict[str, str]) -> ChildSpec:
    """A render worker that serves one Venus client and then ends. The listening fd stays the caller's."""
    return ChildSpec(
        name="render worker",
        command=(
            *(*_PYTHON, "render_core.worker", "--vtest-fd", str(vtest_fd), "--once"),
            *("--gpu", settings.gpu, "--log-level", settings.log_level),
            *_venus_options(settings.limits, settings.has_swapchain),
        ),
        fds=(vtest_fd,),
        environment=environment,
        accepts=WORKER_TO_GATEWAY,
        restarts=False,
        takes_stop=False,
        death_signal="TERM",
        is_guarded=True,
    )


def _venus_options(limits: Sequence[str], has_swapchain: bool) -> tuple[str, ...]:
    words = tuple(word for limit in limits for word in ("--limit", limit))
    return words if has_swapchain else (*words, "--no-swapchain")


def streamer_spec(settings: Settings, frames: Path, agent: Path, sound: Path | None = None) -> ChildSpec:
    """The streamer; it connects to the sockets at `frames`, `agent` and, where there is sound, `sound`."""
    options = ["--log-level", settings.log_level]
    for host in media_addresses(settings.hosts):
        options += ["--host", host]
    if settings.udp_ports is not None:
        options += ["--udp-ports", str(settings.udp_ports)]
    for server in settings.ice_servers:
        options += ["--ice-server", server]
    if settings.bitrate_bps is not None:
        options += ["--bitrate", str(settings.bitrate_bps)]
    if not settings.resizable:
        options.append("--no-resize")
    if sound is not None:
        options += ["--sound", os.fspath(sound)]
    return ChildSpec(
        name="streamer",
        command=(
            *(*_PYTHON, "streamer.process", "--frames", os.fspath(frames), "--agent", os.fspath(agent)),
            *("--fps", str(settings.fps), "--encoder", settings.encoder, "--size", str(settings.size)),
            *("--outputs", str(settings.outputs)),
            *options,
        ),
        accepts=STREAMER_TO_GATEWAY,
    )


def agent_spec(
    settings: Settings, agent_fd: int, display: Path, venus: Path, session_dir: Path, sound_fd: int | None = None
) -> ChildSpec:
    """The guest agent, which connects to the socket at `display`, and whose programs connect to the one at `venus`.

    The listening fds stay the caller's; without `sound_fd` the session has no sound.
    """
    sound = () if sound_fd is None else ("--sound-fd", str(sound_fd))
    guest = ("--desktop",) if settings.mode == "desktop" else ("--", *settings.command)
    return ChildSpec(
        name="guest agent",
        command=(
            *(*_PYTHON, "guest_agent", "--agent-fd", str(agent_fd), "--display", os.fspath(display)),
            *("--venus", os.fspath(venus)),
            *("--session-dir", os.fspath(session_dir), "--size", str(settings.size), *sound),
        ),
        guest=guest,
        fds=(agent_fd,) if sound_fd is None else (agent_fd, sound_fd),
        accepts=AGENT_TO_GATEWAY,
        restarts=False,
        # It has programs of the guest's to end in order.
        death_signal="TERM",
    )


def vm_agent_spec(
    settings: Settings, agent_fd: int, display: Path, machine: Path, session_dir: Path, sound_fd: int | None = None
) -> ChildSpec:
    """What speaks for a virtual machine; it connects to the render worker's sockets at `display` and `machine`.

    The listening fds stay the caller's. It is started again when the machine is not its own.
    """
    options = [] if sound_fd is None else ["--sound-fd", str(sound_fd)]
    if settings.display_source != "auto":
        options += ["--display-source", settings.display_source]
    if settings.attach is not None:
        options += ["--attach", os.fspath(settings.attach.absolute())]
    return ChildSpec(
        name="VM agent",
        command=(
            *(*_PYTHON, "guest_agent.vm", "--agent-fd", str(agent_fd), "--display", os.fspath(display)),
            *("--machine", os.fspath(machine), "--session-dir", os.fspath(session_dir)),
            *("--size", str(settings.size), "--outputs", str(settings.outputs), *options),
        ),
        guest=("--", *settings.command) if settings.command else (),
        fds=(agent_fd,) if sound_fd is None else (agent_fd, sound_fd),
        environment={"PATH": _path_with_qemu()},
        accepts=AGENT_TO_GATEWAY,
        restarts=settings.attach is not None,
        # It has the machine to end in order.
        death_signal="TERM",
    )


def _path_with_qemu() -> str:
    """The search path, with the QEMU that set-up keeps beside a source tree behind it."""
    ours = Path(__file__).resolve().parents[2] / "build" / "qemu" / "bin"
    path = os.environ.get("PATH", os.defpath)
    return f"{path}:{ours}" if ours.is_dir() else path
