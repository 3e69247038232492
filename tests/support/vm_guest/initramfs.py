# SPDX-License-Identifier: Apache-2.0
"""Writes an initramfs: a cpio archive in the "newc" format (Linux, early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat
from pathlib import PurePosixPath


class Initramfs:
    """Files of the guest's first root; folders come by themselves."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._folders: set[str] = set()

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add_folders(path)
        self._add(path, stat.S_IFREG | mode, data)

    def add_device(self, path: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._add_folders(path)
        self._add(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def archive(self) -> bytes:
        """Return the archive, uncompressed: unpacking takes long under emulation."""
        trailer = self._entry("TRAILER!!!", 0, b"", (0, 0))
        data = b"".join((*self._entries, trailer))
        return data + bytes(-len(data) % 512)

    def _add_folders(self, path: str) -> None:
        for folder in reversed(PurePosixPath(path).parents):
            name = str(folder)
            if name not in (".", "/") and name not in self._folders:
                self._folders.add(name)
                self._add(name, stat.S_IFDIR | 0o755)

    def _add(self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._entries.append(self._entry(path, mode, data, device))

    def _entry(self, path: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
        name = path.encode() + b"\0"
        inode = len(self._entries) + 1
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)
