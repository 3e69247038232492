# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/protocol/venus.md, between marks that leave the rest of the file to its writers."""

from __future__ import annotations

from registry import RegistryError
from venus import Venus


def _commands(venus: Venus) -> list[str]:
    lines = ["| number | command | state |", "|---|---|---|"]
    return lines + [f"| {wire.number} | {wire.name} | {wire.state.value} |" for wire in venus.commands]


def _extensions(venus: Venus) -> list[str]:
    lines = ["| number | extension | version | state |", "|---|---|---|---|"]
    return lines + [
        f"| {extension.number} | {extension.name} | {extension.spec_version} | "
        f"{'carried' if extension.known else 'not in the registry'} |"
        for extension in venus.extensions
    ]


def emit_docs(venus: Venus, text: str) -> str:
    """`text` with its tables renewed.

    Raises:
        RegistryError: a mark is missing.
    """
    count = sum(1 for wire in venus.commands if wire.command)
    version = [
        f"Of {len(venus.commands)} numbers, {count} are decoded with the registry of Vulkan headers "
        f"{venus.registry.header_version} (Debian 12), which these tables are of."
    ]
    tables = {"version": version, "commands": _commands(venus), "extensions": _extensions(venus)}
    for name, lines in tables.items():
        begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->\n"
        head, found, rest = text.partition(begin)
        _old, ended, tail = rest.partition(end)
        if not found or not ended:
            raise RegistryError(f"the document has no {begin.strip()} with {end.strip()} behind it")
        text = head + begin + "\n".join(lines) + "\n" + end + tail
    return text
