# SPDX-License-Identifier: Apache-2.0
"""`heliograph doctor`: what a session needs, what of it is here, and the command that gets the rest."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from guest_agent.graphics import GuestDriver, find_driver
from guest_agent.sound import find_programs, has_alsa_plugin
from guest_agent.vm.qemu import WANTED_MAJOR, Emulator, find_emulator, find_emulators
from streamer.config import runtime_directory, version, vulkan_environment
from streamer.devices import ProbeError, VulkanDevice, query_devices, query_encoders, query_guest_device

State = Literal["OK", "WARN", "MISSING"]

_MESA_WANTED = 25
_DEFAULT_PORT = 8080
_X_SERVERS = ("/usr/lib/xorg/Xorg", "/usr/libexec/Xorg", "/usr/lib/Xorg")  # /usr/bin's may be a wrapper
_X_MODULES = (Path("/usr/lib/xorg/modules"), Path("/usr/lib64/xorg/modules"))
_PYTHON_PACKAGES = ("aiohttp", "aiortc", "av", "cffi", "numpy", "vulkan", "xcffib")
_DESKTOP = (("openbox", "window manager"), ("tint2", "panel"), ("pcmanfm", "file manager"), ("xterm", "terminal"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. MISSING: no session without it; WARN: a session, but less of one."""

    name: str
    state: State
    detail: str
    fix: str = ""


def main(arguments: Sequence[str]) -> int:
    """Print what was found; return 1 when something is missing that a session needs."""
    parser = argparse.ArgumentParser(
        prog="heliograph doctor",
        description="Say what is missing on this machine, and how to get it.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    if options.json:
        findings = examine()
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        sys.stdout.write(f"heliograph {version()}\n")
        findings = examine(_print)
        missing = sum(finding.state == "MISSING" for finding in findings)
        sys.stdout.write(f"{missing} missing\n" if missing else "Nothing that a session needs is missing.\n")
    return 1 if any(finding.state == "MISSING" for finding in findings) else 0


def _print(finding: Finding) -> None:
    sys.stdout.write(f"{finding.state:<8} {finding.name:<18} {finding.detail}\n")
    if finding.fix:
        sys.stdout.write(f"{'':<8} {'':<18} fix: {finding.fix}\n")
    sys.stdout.flush()


def examine(report: Callable[[Finding], None] = lambda finding: None) -> list[Finding]:
    """Look for everything a session needs; `report` hears of each finding as it is made. Takes seconds."""
    findings: list[Finding] = []
    for check in (
        check_python,
        check_python_packages,
        check_render_core,
        check_display_server,
        check_desktop,
        check_vulkan,
        check_guest_graphics,
        check_sound,
        check_virtual_machines,
        check_encoders,
        check_kernel,
        check_runtime_directory,
        check_port,
        check_browser,
    ):
        for finding in check():
            findings.append(finding)
            report(finding)
    return findings


def check_python() -> list[Finding]:
    """Which one runs this; an older one than 3.11 would not get here."""
    return [Finding("Python", "OK", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")]


def check_python_packages(names: Sequence[str] = _PYTHON_PACKAGES) -> list[Finding]:
    """The packages import, with the libraries they open."""
    broken = []
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            broken.append(f"{name} ({error})")
    if broken:
        return [Finding("Python packages", "MISSING", "cannot import " + ", ".join(broken), "./setup.sh python")]
    return [Finding("Python packages", "OK", ", ".join(names))]


def check_render_core() -> list[Finding]:
    """The compiled core is built and loads."""
    try:
        core = importlib.import_module("render_core")
        core.FrameLink  # noqa: B018 - a folder without the compiled part imports as an empty package
    except (ImportError, OSError, AttributeError) as error:
        return [Finding("render core", "MISSING", f"cannot be imported: {error}", "make build")]
    return [Finding("render core", "OK", "built")]


def check_display_server(
    servers: Sequence[str] = _X_SERVERS, module_folders: Sequence[Path] = _X_MODULES
) -> list[Finding]:
    """Xorg, its dummy driver, its test input driver, and the keymap compiler it runs."""
    server = next((path for path in servers if os.access(path, os.X_OK)), None)
    findings = [
        Finding("X server", "OK", server)
        if server
        else Finding("X server", "MISSING", "Xorg is not installed", install("xserver-xorg-core"))
    ]
    for name, module, package, state, loss in (
        ("dummy driver", "drivers/dummy_drv.so", "xserver-xorg-video-dummy", "MISSING", "no screen in memory"),
        ("input driver", "input/inputtest_drv.so", "xserver-xorg-core", "WARN", "the wheel turns in whole notches"),
    ):
        path = next((folder / module for folder in module_folders if (folder / module).exists()), None)
        if path:
            findings.append(Finding(name, "OK", str(path)))
        else:
            state_without: State = "MISSING" if state == "MISSING" else "WARN"
            findings.append(Finding(name, state_without, f"{module} is not there: {loss}", install(package)))
    if shutil.which("xkbcomp") and Path("/usr/share/X11/xkb/rules").is_dir():
        findings.append(Finding("keymaps", "OK", "xkbcomp and /usr/share/X11/xkb"))
    else:
        findings.append(
            Finding(
                "keymaps", "MISSING", "the X server needs xkbcomp and keymaps", install("x11-xkb-utils", "xkb-data")
            )
        )
    return findings


def check_desktop() -> list[Finding]:
    """The default desktop's programs; without them `heliograph run` still works."""
    absent = [(program, what) for program, what in _DESKTOP if shutil.which(program) is None]
    if not absent:
        return [Finding("desktop", "OK", ", ".join(program for program, _what in _DESKTOP))]
    lacks = ", ".join(f"{what} ({program})" for program, what in absent)
    return [Finding("desktop", "WARN", f"lacks its {lacks}", install(*(program for program, _what in absent)))]


def check_vulkan() -> list[Finding]:
    """A Vulkan device with a compute queue that takes host memory, and a Mesa that is new enough."""
    try:
        devices = query_devices()
    except ProbeError as error:
        loader_is_missing = "libvulkan" in str(error)
        fix = f"{install('libvulkan1')}; ./setup.sh mesa" if loader_is_missing else "./setup.sh mesa"
        return [Finding("Vulkan", "MISSING", str(error), fix)]
    return [_device_finding(device) for device in devices] + [_software_finding(devices)]


def _device_finding(device: VulkanDevice) -> Finding:
    name = f"Vulkan device {device.index}"
    lacks = []
    if not device.compute:
        lacks.append("no compute queue")
    if "import" not in device.external_memory.get("host-pointer", ()):
        lacks.append("no import of host memory: pictures are copied once more")
    if lacks:
        return Finding(name, "WARN", f"{device.name}: {'; '.join(lacks)}")
    return Finding(name, "OK", f"{device.name} ({device.kind}, {device.driver or 'driver unknown'})")


def _software_finding(devices: Sequence[VulkanDevice]) -> Finding:
    name = "software Vulkan"
    versions = [
        int(match[1])
        for device in devices
        if device.kind == "cpu" and (match := re.search(r"\bMesa (\d+)\.", device.driver))
    ]
    prefix = vulkan_environment().get("VK_ADD_DRIVER_FILES")
    if not versions:
        state: State = "OK" if any(device.kind != "cpu" for device in devices) else "WARN"
        return Finding(
            name, state, "no Mesa driver; only needed without a GPU", "" if state == "OK" else "./setup.sh mesa"
        )
    if max(versions) < _MESA_WANTED:
        return Finding(
            name, "WARN", f"Mesa {max(versions)} is older than what is tested ({_MESA_WANTED})", "./setup.sh mesa"
        )
    return Finding(name, "OK", f"Mesa {max(versions)}" + (f" from {prefix}" if prefix else ", the system's"))


def check_guest_graphics(driver: GuestDriver | None = None) -> list[Finding]:
    """Guest programs' Vulkan, tried with a render worker, and their OpenGL. A session does without, if need be."""
    name = "guests' Vulkan"
    driver = driver or find_driver()
    if driver is None:
        return [Finding(name, "WARN", "Mesa's Venus driver is not installed", "./setup.sh mesa")]
    try:
        device = query_guest_device(driver)
    except ProbeError as error:
        return [Finding(name, "WARN", f"programs draw without a render worker: {error}")]
    findings = [Finding(name, "OK", f"{device.name}, Vulkan {device.api_version}, {driver.icd}")]
    if driver.zink is None:
        findings.append(Finding("guests' OpenGL", "WARN", "Mesa's zink is not installed", "./setup.sh mesa"))
    else:
        findings.append(Finding("guests' OpenGL", "OK", f"zink, {driver.zink}"))
    return findings


def check_sound(path: str | None = None, root: Path = Path("/")) -> list[Finding]:
    """The guest's sound server and what records from it. A session does without, if need be."""
    name = "guests' sound"
    programs = find_programs(path)
    if programs is None:
        loss = "pulseaudio or parec is not installed: sessions are silent"
        return [Finding(name, "WARN", loss, install("pulseaudio", "pulseaudio-utils"))]
    if not has_alsa_plugin(root):
        loss = "programs that know only ALSA are silent"
        return [Finding(name, "WARN", f"{programs.server}; {loss}", install("libasound2-plugins"))]
    return [Finding(name, "OK", f"{programs.server}, {programs.recorder}, ALSA's plugin")]


def check_virtual_machines(emulators: Sequence[Emulator] | None = None, kvm: Path = Path("/dev/kvm")) -> list[Finding]:
    """QEMU, for `heliograph vm` alone, and whether KVM may be used (that it works is not tried)."""
    name = "QEMU"
    found = find_emulators() if emulators is None else emulators
    emulator = find_emulator(found)
    if emulator is None:
        old = ", ".join(f"{older.version} ({older.program})" for older in found)
        loss = f"{old} is older than what is tested ({WANTED_MAJOR})" if old else "it is not installed"
        return [Finding(name, "WARN", f"{loss}: no virtual machines", "./setup.sh qemu")]
    if emulator.lacks:
        return [Finding(name, "WARN", f"{emulator.program} lacks {', '.join(emulator.lacks)}", "./setup.sh qemu")]
    first = found[0]
    if first.program != emulator.program:
        # It is found by its name, and so would be started.
        loss = f"{first.program}, which is found first, is {first.version}: machines by vhost-user need KVM there"
        return [Finding(name, "WARN", loss, f"heliograph vm -- {emulator.program} ...")]
    usable = os.access(kvm, os.R_OK | os.W_OK)
    speed = f"{kvm} may be used" if usable else f"{kvm} may not be used: guests are emulated, slowly"
    return [Finding(name, "OK", f"{emulator.version}, {emulator.program}; {speed}")]


def check_encoders() -> list[Finding]:
    """Some encoder works: each is opened and given frames."""
    try:
        encoders = query_encoders()
    except ImportError as error:
        return [Finding("encoder", "MISSING", f"cannot be tried: {error}", "./setup.sh python")]
    working = [encoder["name"] for encoder in encoders if encoder["works"]]
    if working:
        return [Finding("encoder", "OK", ", ".join(working))]
    return [Finding("encoder", "MISSING", "no H.264 encoder works; PyAV's wheels bring libx264", "./setup.sh python")]


def check_kernel(seccomp: Path = Path("/proc/sys/kernel/seccomp/actions_avail")) -> list[Finding]:
    """Sealed memory, and the system call filter that the render worker puts on."""
    findings = []
    try:
        fd = os.memfd_create("heliograph-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        finally:
            os.close(fd)
        findings.append(Finding("sealed memory", "OK", "memfd_create, F_SEAL_SHRINK"))
    except OSError as error:
        findings.append(
            Finding("sealed memory", "MISSING", f"{error}: Linux 3.17 or newer, and a sandbox that allows it")
        )
    try:
        actions = seccomp.read_text(encoding="ascii").split()
    except OSError:
        actions = []
    if "errno" in actions:
        findings.append(Finding("seccomp", "OK", "filters"))
    else:
        findings.append(
            Finding("seccomp", "WARN", f"{seccomp} does not list filters: workers run with less of a sandbox")
        )
    return findings


def check_runtime_directory() -> list[Finding]:
    """A folder for the session's sockets."""
    folder = runtime_directory()
    if os.access(folder, os.W_OK | os.X_OK):
        return [Finding("session folder", "OK", f"in {folder}")]
    return [Finding("session folder", "MISSING", f"{folder} cannot be written", "export XDG_RUNTIME_DIR=FOLDER")]


def check_port(port: int = _DEFAULT_PORT) -> list[Finding]:
    """The default port is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror
            return [Finding("port", "WARN", f"127.0.0.1:{port}: {reason}", f"heliograph desktop --port {port + 1}")]
    return [Finding("port", "OK", f"127.0.0.1:{port} is free")]


def check_browser() -> list[Finding]:
    """Chromium, for the end-to-end tests alone."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path:
        return [Finding("browser for tests", "OK", path)]
    return [Finding("browser for tests", "WARN", "end-to-end tests need Chromium", install("chromium"))]


def install(*packages: str) -> str:
    """Return the command that installs Debian packages."""
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {' '.join(packages)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
