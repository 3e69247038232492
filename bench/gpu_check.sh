#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The GPU check on a machine that was not set up: builds the core beside the tree with what is there (gcc, meson, ninja, cffi,
# NumPy, Vulkan headers; glslang or shaders/prebuilt), runs its C tests and `python -m bench.gpu_check`. All in one call.
# Usage: bench/gpu_check.sh [--gpu ID] [--json FILE] ...
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
rm -rf build/gpu
"$python" -m mesonbuild.mesonmain setup build/gpu -Dtests=true >build-gpu.log || { tail -n 30 build-gpu.log; exit 1; }
rm -f build-gpu.log
ninja -C build/gpu | tail -n 1
"$python" -m mesonbuild.mesonmain test -C build/gpu --print-errorlogs | grep -E '^ *[0-9]+/|^(Ok|Fail)'
# The binding goes where the package is looked for, next to its Python files.
cp build/gpu/render_core/_ffi*.so render_core/
exec "$python" -m bench.gpu_check "$@"
