# SPDX-License-Identifier: Apache-2.0
"""The web client's files, read once: what is not in the list cannot be asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

_CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served; `etag` in quotes."""

    content: bytes
    content_type: str
    etag: str


def load_static_files() -> Mapping[str, StaticFile]:
    """Return the client's files by their path below `static/`."""
    return dict(_walk(resources.files("streamer").joinpath("web").joinpath("static"), ""))


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, StaticFile]]:
    for entry in directory.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
            continue
        content_type = _CONTENT_TYPES.get(name[name.rfind(".") :])
        if content_type is not None:
            content = entry.read_bytes()
            yield name, StaticFile(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
