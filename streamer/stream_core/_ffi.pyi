# SPDX-License-Identifier: Apache-2.0
"""Types of the generated binding: everything behind it is Any; the wrappers in this package are what is typed."""

from typing import Any

ffi: Any
lib: Any
