# SPDX-License-Identifier: Apache-2.0
"""The test guest: Debian's kernel, busybox and our programs, made once from the packages that set-up has downloaded."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.vm_guest.initramfs import Initramfs
from tests.support.vm_guest.kernel import KernelError, extract_elf, load_modules, modules_dep

_HERE = Path(__file__).parent
_BUILD = _HERE.parents[2] / "build" / "vm"
# Program: its sources.
_PROGRAMS = {
    "evdump": ("evdump.c",),
    "kms": ("kms.c", "kms_card.c", "kms_draw.c"),
    "portshell": ("portshell.c",),
}
# Buses, displays, input, sound, file systems; /init loads those whose devices are there.
_MODULES = (
    *("virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "virtio_balloon", "uio_pci_generic"),
    *("virtio_gpu", "bochs", "qxl", "cirrus", "vgem"),
    *("virtio_input", "evdev", "psmouse", "usbhid", "hid_generic", "xhci_pci", "ehci_pci", "uhci_hcd"),
    *("snd_intel8x0", "snd_hda_intel", "snd_hda_codec_generic", "virtio_snd"),
    *("9p", "9pnet_virtio", "overlay", "virtiofs", "ext4", "crc32c_generic", "virtio_pmem", "nd_pmem"),
)


class GuestMissingError(Exception):
    """There is no test guest on this machine; the text says what to do."""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """What QEMU boots."""

    kernel: Path
    initramfs: Path


def prepare_guest(folder: Path = _BUILD) -> GuestImage:
    """Return the test guest; make it if its parts have changed (seconds). Several processes may ask at once.

    Raises:
        GuestMissingError: set-up has not got its packages, or they cannot be used.
    """
    packages = _find_packages(folder / "dl")
    key = _key(packages)
    image = GuestImage(folder / "vmlinux", folder / "initramfs.cpio")
    stamp = folder / "stamp"
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text(encoding="utf-8") == key and image.kernel.exists()):
            stamp.unlink(missing_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as work:
                try:
                    _build(packages, image, Path(work))
                except KernelError as error:
                    raise GuestMissingError(f"making the test guest: {error}") from error
            stamp.write_text(key, encoding="utf-8")
    return image


def _find_packages(folder: Path) -> dict[str, Path]:
    packages: dict[str, Path] = {}
    for name, pattern in (("kernel", "linux-image-*"), ("busybox", "busybox-static_*"), ("headers", "libdrm-dev_*")):
        path = next(iter(sorted(folder.glob(f"{pattern}.deb"))), None)
        if path is None:
            raise GuestMissingError("set-up has got no test guest: ./setup.sh guest says why")
        packages[name] = path
    return packages


def _key(packages: dict[str, Path]) -> str:
    """What the guest is made of; a change makes it anew."""
    key = hashlib.sha256("\n".join(path.name for path in packages.values()).encode())
    makers = [_HERE / name for name in ("image.py", "initramfs.py", "kernel.py", "init")]
    for path in (*makers, *sorted(_HERE.glob("*.[ch]"))):
        key.update(path.name.encode() + path.read_bytes())
    return key.hexdigest()


def _build(packages: dict[str, Path], image: GuestImage, work: Path) -> None:
    for name, package in packages.items():
        _run("dpkg-deb", "-x", str(package), str(work / name))
    [kernel] = (work / "kernel" / "boot").glob("vmlinuz-*")
    image.kernel.write_bytes(extract_elf(kernel.read_bytes()))
    version = kernel.name.removeprefix("vmlinuz-")
    [modules_folder] = (path for path in (work / "kernel").rglob(version) if path.parent.name == "modules")
    modules = load_modules(modules_folder, _MODULES)

    initramfs = Initramfs()
    initramfs.add_device("dev/console", 5, 1)
    initramfs.add_device("dev/null", 1, 3)
    initramfs.add_file("init", (_HERE / "init").read_bytes(), 0o755)
    [busybox] = (work / "busybox").rglob("bin/busybox")
    initramfs.add_file("bin/busybox", busybox.read_bytes(), 0o755)
    for name, sources in _PROGRAMS.items():
        headers = work / "headers" / "usr" / "include" / "libdrm"
        program = work / name
        _run(*_compiler(), f"-I{headers}", "-o", str(program), *(str(_HERE / source) for source in sources))
        initramfs.add_file(f"bin/{name}", program.read_bytes(), 0o755)
    folder = f"lib/modules/{version}"
    for module in modules.values():
        initramfs.add_file(f"{folder}/{module.name}.ko", module.data)
    initramfs.add_file(f"{folder}/modules.dep", modules_dep(modules).encode())
    aliases = [f"alias {alias} {module.name}\n" for module in modules.values() for alias in module.aliases]
    initramfs.add_file(f"{folder}/modules.alias", "".join(aliases).encode())
    initramfs.add_file(f"{folder}/modules.symbols", b"")
    image.initramfs.write_bytes(initramfs.archive())


def _compiler() -> tuple[str, ...]:
    compiler = shutil.which("gcc") or shutil.which("cc") or "gcc"
    return (compiler, "-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror")


def _run(*command: str) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise GuestMissingError(f"making the test guest: {command[0]}: {error.strerror}") from error
    if result.returncode:
        raise GuestMissingError(f"making the test guest: {command[0]}: {result.stderr.strip()[-800:]}")
