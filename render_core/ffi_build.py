# SPDX-License-Identifier: Apache-2.0
"""cffi definition of render_core._ffi: the public header is its only source."""

from pathlib import Path

from cffi import FFI

header = (Path(__file__).parent / "include" / "render_core.h").read_text(encoding="utf-8")
ffibuilder = FFI()
ffibuilder.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffibuilder.set_source("render_core._ffi", '#include "render_core.h"')
