# SPDX-License-Identifier: Apache-2.0
"""A distribution's kernel made ready for a quick boot: its ELF image, and the modules that a list of names needs."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_INFO = re.compile(rb"(?<=\0)(depends|softdep|alias)=([^\0]*)")
_SUFFIXES = (".ko", ".ko.xz", ".ko.zst")


class KernelError(Exception):
    """The kernel cannot be used; the text says why."""


def extract_elf(bzimage: bytes) -> bytes:
    """Return the ELF image in a bzImage. Booted through PVH, nothing is unpacked under emulation, which takes seconds.

    The payload's place is in the setup header (Linux, Documentation/arch/x86/boot.rst).
    """
    setup_bytes = ((bzimage[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[setup_bytes + offset : setup_bytes + offset + length]
    # The uncompressed size may stand behind the stream.
    if payload.startswith(b"\xfd7zXZ\0"):
        image = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        image = zlib.decompressobj(31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        image = _decompress_zstd(payload)
    else:
        raise KernelError(f"the kernel is packed in a way that is not known: {payload[:6].hex()}")
    if not image.startswith(b"\x7fELF"):
        raise KernelError("the kernel's payload is not an ELF image")
    return image


def _decompress_zstd(data: bytes) -> bytes:
    program = shutil.which("zstd")
    if program is None:
        raise KernelError("the kernel is packed with zstd, which is not installed")
    # Its exit status tells of the bytes behind the stream, too.
    return subprocess.run([program, "-dcq"], input=data, capture_output=True, check=False).stdout


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module: its object file, what it needs directly, and the devices it drives (patterns)."""

    name: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def load_modules(folder: Path, names: Iterable[str]) -> dict[str, Module]:
    """Return these modules and all they need, without those that the kernel has built in, or does not have."""
    paths = {
        path.name.split(".ko")[0].replace("-", "_"): path
        for path in folder.rglob("*.ko*")
        if path.name.endswith(_SUFFIXES)
    }
    modules: dict[str, Module] = {}
    wanted = [name.replace("-", "_") for name in names]
    while wanted:
        name = wanted.pop()
        if name in modules or name not in paths:
            continue
        module = _read_module(name, paths[name])
        modules[name] = module
        wanted += module.depends
    return modules


def _read_module(name: str, path: Path) -> Module:
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    elif path.suffix == ".zst":
        data = _decompress_zstd(data)
    depends: list[str] = []
    aliases: list[str] = []
    for key, value in _INFO.findall(b"\0" + data):
        words = value.decode()
        if key == b"depends":
            depends += [word.replace("-", "_") for word in words.split(",") if word]
        elif key == b"softdep":
            depends += [word.replace("-", "_") for word in words.split() if not word.endswith(":")]
        else:
            aliases.append(words)
    return Module(name, data, tuple(depends), tuple(aliases))


def modules_dep(modules: dict[str, Module]) -> str:
    """Return modules.dep as modprobe wants it: a module's needs, each after what needs it."""

    def needs(name: str, seen: list[str]) -> list[str]:
        for other in modules[name].depends:
            if other in modules and other != name:
                if other in seen:
                    seen.remove(other)
                seen.append(other)
                needs(other, seen)
        return seen

    return "".join(f"{name}.ko: {' '.join(f'{other}.ko' for other in needs(name, []))}\n" for name in sorted(modules))
