# SPDX-License-Identifier: Apache-2.0
"""Errors of the stream core, by its results (sc_result.h)."""

from __future__ import annotations

from ._ffi import ffi, lib


class StreamCoreError(Exception):
    """Something in the stream core failed; the message says what."""


class InvalidError(StreamCoreError):
    """An argument that cannot be."""


def check(result: int, what: str) -> int:
    """Return a result that is no error; raise the exception of one that is."""
    if result >= 0:
        return result
    text = f"{what}: {ffi.string(lib.sc_result_text(result)).decode()}"
    if result == lib.SC_ERROR_NOMEM:
        raise MemoryError(text)
    if result == lib.SC_ERROR_IO:
        raise OSError(text)
    raise (InvalidError if result == lib.SC_ERROR_INVALID else StreamCoreError)(text)
