# SPDX-License-Identifier: Apache-2.0
"""Indented C text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Text:
    """Lines of C with tabs."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def __call__(self, line: str = "") -> None:
        """Add a line."""
        self._lines.append("\t" * self._depth + line if line else "")

    @property
    def position(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def mentions(self, word: str, since: int) -> bool:
        """Whether `word` is in the lines from `since` on."""
        return any(word in line for line in self._lines[since:])

    @contextmanager
    def block(self, head: str = "", end: str = "}") -> Iterator[None]:
        """`head {` ... `}`."""
        self(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self(end)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """One tab more."""
        self._depth += 1
        yield
        self._depth -= 1

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n" if self._lines else ""
