# SPDX-License-Identifier: Apache-2.0
"""Guest memory that can be given away: sealed memfds, each with an address of its own."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
from typing import Self

PAGE_BYTES = 4096

# The display link wants each region at an address of its own. Nothing lives at these addresses: they only tell
# the regions apart. 4 GiB for each is more than any screen takes.
_addresses = itertools.count(1 << 32, 1 << 32)


class Region:
    """A memfd of at least `size_bytes`, sealed against shrinking and growing. Owns its fd until close()."""

    def __init__(self, name: str, size_bytes: int) -> None:
        self.size_bytes = -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
        self.address = next(_addresses)
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self.size_bytes)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except OSError:
            os.close(self.fd)
            raise

    def map(self) -> mmap.mmap:
        """Return a mapping of the whole region, which the caller closes."""
        return mmap.mmap(self.fd, self.size_bytes)

    def close(self) -> None:
        """Close the fd; mappings stay. May be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
