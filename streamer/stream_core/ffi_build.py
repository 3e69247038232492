# SPDX-License-Identifier: Apache-2.0
"""cffi definition of streamer.stream_core._ffi: the headers in include/ are its only source."""

from pathlib import Path

from cffi import FFI

# In the order of their dependence.
HEADERS = ("sc_result.h", "sc_packet_log.h", "sc_sender.h", "sc_encoder.h")

include = Path(__file__).parent / "include"
text = "\n".join((include / name).read_text(encoding="utf-8") for name in HEADERS)
ffibuilder = FFI()
ffibuilder.cdef("\n".join(line for line in text.splitlines() if not line.startswith("#")))
ffibuilder.set_source("streamer.stream_core._ffi", "\n".join(f'#include "{name}"' for name in HEADERS))
