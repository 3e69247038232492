# SPDX-License-Identifier: Apache-2.0
"""Makes a user's QEMU command line one that can be served: what is added, and what is refused. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guest_agent.vm.port import BUS, qemu_arguments

Source = Literal["vhost-user", "dbus"]

# How we call what we add; a machine of the user's may use any other name.
PREFIX = "heliograph"
AUDIO_ID = f"{PREFIX}-audio"
_DEFAULT_MEMORY = "128M"
# Display devices of QEMU: whoever names one wants that one shown.
_DISPLAY_DEVICES = re.compile(
    r"(VGA|secondary-vga|bochs-display|cirrus-vga|isa-vga|isa-cirrus-vga|vmware-svga|ati-vga|ramfb|qxl|qxl-vga"
    r"|virtio-vga.*|virtio-gpu.*)"
)
_VHOST_DEVICES = re.compile(r"vhost-user-(gpu.*|vga)")
_TABLETS = re.compile(r"(usb-tablet|usb-wacom-tablet|virtio-tablet.*|virtio-input-host.*|vhost-user-input.*)")
_USB_CONTROLLERS = re.compile(r"(.*-)?[uexo]hci\d*")
# Options that would take from us what is ours, and what to do instead.
_REFUSED = {
    "nographic": "leave it away (for the text of a serial port: -serial file:PATH, or unix:PATH,server=on,wait=off)",
    "curses": "leave it away: the screen is in the browser",
    "daemonize": "leave it away: the machine ends with its session",
}
_SHARED = "vhost-user takes -object memory-backend-memfd,share=on alone, without hugetlb=on or seal=off"
_ON, _OFF = ("on", "yes", "true", "y"), ("off", "no", "false", "n")
# QEMU's options without a value.
_SWITCHES = frozenset(
    (
        *("S", "s", "h", "help", "version", "nodefaults", "no-user-config", "nographic", "curses", "snapshot", "usb"),
        *("enable-kvm", "no-reboot", "no-shutdown", "no-acpi", "no-hpet", "no-fd-bootchk", "win2k-hack", "daemonize"),
        *("full-screen", "only-migratable", "preconfig", "singlestep", "mem-prealloc", "semihosting"),
    )
)


class CommandError(ValueError):
    """The command line cannot be served; the text names the option and says what to do."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The sockets that QEMU listens at."""

    qmp: Path
    gpu: Path
    agent: Path


@dataclass(frozen=True, slots=True)
class QemuCommand:
    """A command line that can be started.

    Attributes:
        source: where the picture comes from.
        words: the user's command line and what was added behind it.
    """

    source: Source
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    value: str

    @property
    def first(self) -> str:
        """The value up to its first comma: a driver, a kind."""
        return self.value.split(",", 1)[0].removeprefix("driver=")

    def property(self, name: str) -> str | None:
        for part in self.value.split(","):
            key, separator, value = part.partition("=")
            if separator and key == name:
                return value
        return None


def complete(
    command: Sequence[str],
    paths: Paths,
    *,
    source: Source | None = None,
    size: tuple[int, int] = (1280, 720),
    outputs: int = 1,
    has_sound: bool = True,
) -> QemuCommand:
    """Return the user's command line with what a session needs behind it.

    Added are QMP, the D-Bus display without a bus, ports for agents inside, a pointer with absolute positions, and the
    display device with, for vhost-user, memory that can be shared; nothing of it where the user's line has it already.

    Args:
        source: where the picture shall come from; None: by vhost-user, unless the line has a display device of its own.

    Raises:
        CommandError: an option of the user's and ours exclude each other.
    """
    if not command:
        raise CommandError("there is no QEMU to run: heliograph vm [options] -- qemu-system-x86_64 ARGUMENT...")
    options = list(_options(command[1:]))
    _refuse(options)
    wanted = _wanted_source(options, source)
    words = [*_qmp(paths), *_ports(options, paths), *_display(options, wanted, paths, size, outputs)]
    words += _pointer(options)
    if wanted == "vhost-user":
        words += _shared_memory(options)
    words += ["-audiodev", f"dbus,id={AUDIO_ID}"] if has_sound else []
    words += ["-display", "dbus,p2p=yes" + (f",audiodev={AUDIO_ID}" if has_sound else "")]
    return QemuCommand(wanted, (*command, *words))


def check(command: Sequence[str], source: Source | None) -> None:
    """Find out whether a command line can be completed.

    Raises:
        CommandError: as complete().
    """
    complete(command, Paths(Path("qmp"), Path("gpu"), Path("agent")), source=source)


def _options(words: Sequence[str]) -> Iterator[_Option]:
    """QEMU's own reading: an option with one dash or two, its value the next word unless it takes none."""
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("-") or word == "-":
            yield _Option("", word)  # a disk image
            continue
        name = word[2:] if word.startswith("--") else word[1:]
        if name in _SWITCHES or index >= len(words):
            yield _Option(name, "")
            continue
        yield _Option(name, words[index])
        index += 1


def _devices(options: Sequence[_Option]) -> list[str]:
    return [option.first for option in options if option.name == "device"]


def _refuse(options: Sequence[_Option]) -> None:
    for option in options:
        if option.name in _REFUSED:
            raise CommandError(f"-{option.name} does not go with a session: {_REFUSED[option.name]}")
        if option.name in ("display", "spice") and option.first != "none":
            raise CommandError(
                f"-{option.name} {option.value} does not go with a session, which shows the screen: leave it away"
            )
        if PREFIX in (option.property("id") or ""):
            raise CommandError(f"-{option.name} {option.value}: ids that begin with {PREFIX} are taken")


def _wanted_source(options: Sequence[_Option], source: Source | None) -> Source:
    own = [name for name in _devices(options) if _DISPLAY_DEVICES.fullmatch(name)]
    own += [f"-vga {option.value}" for option in options if option.name == "vga" and option.value != "none"]
    vhost = [name for name in _devices(options) if _VHOST_DEVICES.fullmatch(name)]
    if vhost:
        raise CommandError(f"-device {vhost[0]}: leave it away, it is added with what it needs to be connected to")
    if source == "vhost-user" and own:
        raise CommandError(
            f"{own[0]}: the picture cannot come from it and by vhost-user: leave it away, or say --display-source dbus"
        )
    wanted = source or ("dbus" if own else "vhost-user")
    if wanted == "vhost-user" and any(option.name == "vnc" and option.value != "none" for option in options):
        raise CommandError("-vnc does not go with vhost-user: leave it away, or say --display-source dbus")
    return wanted


def _qmp(paths: Paths) -> list[str]:
    chardev = f"socket,id={PREFIX}-qmp,path={paths.qmp},server=on,wait=off"
    return ["-chardev", chardev, "-mon", f"chardev={PREFIX}-qmp,mode=control"]


def _ports(options: Sequence[_Option], paths: Paths) -> list[str]:
    """Ways to agents inside the machine: ours, and the stock spice-vdagent unless the user has given it one."""
    words = qemu_arguments(paths.agent)
    if any(option.name == "chardev" and option.first in ("qemu-vdagent", "spicevmc") for option in options):
        return words
    return [
        *words,
        *("-chardev", f"qemu-vdagent,id={PREFIX}-vdagent,name=vdagent,clipboard=on,mouse=off"),
        *("-device", f"virtserialport,bus={BUS},chardev={PREFIX}-vdagent,name=com.redhat.spice.0"),
    ]


def _display(
    options: Sequence[_Option], source: Source, paths: Paths, size: tuple[int, int], outputs: int
) -> list[str]:
    has_own = any(_DISPLAY_DEVICES.fullmatch(name) for name in _devices(options)) or any(
        option.name == "vga" and option.value != "none" for option in options
    )
    heads = f"max_outputs={outputs},xres={size[0]},yres={size[1]}"
    if source == "dbus":
        return [] if has_own else ["-vga", "none", "-device", f"virtio-vga,{heads}"]
    return [
        # QEMU waits for the render worker before it makes the device, and listens again when it was lost.
        *("-chardev", f"socket,id={PREFIX}-gpu,path={paths.gpu},server=on,wait=on"),
        *("-vga", "none", "-device", f"vhost-user-gpu-pci,chardev={PREFIX}-gpu,{heads}"),
    ]


def _pointer(options: Sequence[_Option]) -> list[str]:
    if any(_TABLETS.fullmatch(name) for name in _devices(options)):
        return []
    if any(option.name == "usbdevice" and option.first == "tablet" for option in options):
        return []
    has_usb = any(_USB_CONTROLLERS.fullmatch(name) for name in _devices(options)) or any(
        option.name == "usb" for option in options
    )
    # USB, not virtio: every system has a driver for it.
    return [*([] if has_usb else ["-device", f"qemu-xhci,id={PREFIX}-usb"]), "-device", "usb-tablet"]


def _shared_memory(options: Sequence[_Option]) -> list[str]:
    """vhost-user's other end maps the guest's memory."""
    backends = [option for option in options if option.name == "object" and option.first.startswith("memory-backend-")]
    ram = [option for option in backends if option.first != "memory-backend-epc"]
    uses = {option.property("memory-backend") for option in options if option.name in ("machine", "M")}
    uses |= {option.property("memdev") for option in options if option.name == "numa"}
    more = {option.property("memdev") for option in options if option.name == "device"}
    for option in ram:
        if option.property("id") in uses | more:
            _check_shared(option)
    if any(option.property("id") in uses for option in ram):
        return []
    if any(option.name == "numa" for option in options):
        raise CommandError("-numa: give each node -object memory-backend-memfd,share=on,… and memdev=, for vhost-user")
    if any(option.name == "mem-path" for option in options):
        raise CommandError(f"-mem-path: leave it away, or say --display-source dbus: {_SHARED}")
    return [
        *("-object", f"memory-backend-memfd,id={PREFIX}-ram,size={_memory_size(options)},share=on"),
        *("-machine", f"memory-backend={PREFIX}-ram"),
    ]


def _check_shared(option: _Option) -> None:
    """Files and huge pages may become smaller, or unreadable, while the render worker reads them."""
    if option.first != "memory-backend-memfd":
        raise CommandError(f"-object {option.value}: say --display-source dbus for this memory: {_SHARED}")
    if option.property("share") in _OFF:
        raise CommandError(f"-object {option.value}: vhost-user needs share=on there")
    if option.property("hugetlb") in _ON or option.property("seal") in _OFF:
        raise CommandError(f"-object {option.value}: leave hugetlb and seal away there: {_SHARED}")


def _memory_size(options: Sequence[_Option]) -> str:
    size = _DEFAULT_MEMORY
    for option in options:
        if option.name == "m":
            size = option.property("size") or option.first
    # A number alone is in MiB for -m, in bytes for the object.
    if re.fullmatch(r"\d+", size):
        return f"{size}M"
    if re.fullmatch(r"\d+(\.\d+)?[bkKmMgGtT]", size) is None:
        raise CommandError(f"-m {size}: is no size of memory; write such as -m 2G")
    return size
