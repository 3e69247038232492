# SPDX-License-Identifier: Apache-2.0
"""The kinds of fields that messages have. Each makes a dataclass field whose `check` metadata takes a JSON value and
returns it, or raises a ValueError that says what is wrong (the message's and field's names are put before it)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

MAX_NUMBERS = 1024


def _field(check: Callable[[Any], Any], default: Any = dataclasses.MISSING) -> Any:
    """`default`: what a message without the field means; without one the field must be there."""
    return dataclasses.field(default=default, metadata={"check": check})


def integer(minimum: int, maximum: int, default: Any = dataclasses.MISSING) -> Any:
    """An int within minimum…maximum. True and 1.0 are none."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be an integer")
        if not minimum <= value <= maximum:
            raise ValueError(f"must be within {minimum}…{maximum}")
        return value

    return _field(check, default)


def number(limit: float) -> Any:
    """An int or float whose absolute value is at most `limit`; becomes a float."""

    def check(value: Any) -> float:
        return _number(value, limit)

    return _field(check)


def _number(value: Any, limit: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("must be a number")
    # 1e999 is JSON, and infinite; an int may be too large for a float.
    if not -limit <= value <= limit:
        raise ValueError(f"must be within ±{limit:g}")
    return float(value)


def boolean() -> Any:
    """True or false."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value

    return _field(check)


def choice(*values: Any) -> Any:
    """One of `values`, of their type."""

    def check(value: Any) -> Any:
        if type(value) is not type(values[0]) or value not in values:
            raise ValueError(f"must be one of {', '.join(map(repr, values))}")
        return value

    return _field(check)


def string(
    *, max_characters: int | None = None, max_bytes: int | None = None, default: Any = dataclasses.MISSING
) -> Any:
    """A string that UTF-8 can say, of at most that many characters or bytes of UTF-8."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        if max_characters is not None and len(value) > max_characters:
            raise ValueError(f"has {len(value)} characters, over the limit of {max_characters}")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            # JSON can escape half of a surrogate pair; no text has that.
            raise ValueError("is not valid Unicode") from None
        if max_bytes is not None and size > max_bytes:
            raise ValueError(f"has {size} bytes, over the limit of {max_bytes}")
        return value

    return _field(check, default)


def mapping() -> Any:
    """A JSON object, whatever is in it."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        return value

    return _field(check)


def numbers() -> Any:
    """A JSON object of finite numbers."""

    def check(value: Any) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        if len(value) > MAX_NUMBERS:
            raise ValueError(f"has over {MAX_NUMBERS} numbers")
        for number_value in value.values():
            if not isinstance(number_value, int | float) or isinstance(number_value, bool):
                raise ValueError("must hold numbers only")
            if isinstance(number_value, float) and not math.isfinite(number_value):
                raise ValueError("must hold finite numbers only")
        return value

    return _field(check)
