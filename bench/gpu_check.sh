#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The GPU check on a machine that was not set up: builds the core beside the tree with what is there (gcc, meson, ninja, cffi,
# NumPy, Vulkan headers; glslang or shaders/prebuilt), runs its C tests and `python -m bench.gpu_check`. All in one call.
# Usage: [PIPELINE=1] bench/gpu_check.sh [--gpu ID] [--json FILE] ...
# With PIPELINE=1 the host's side follows, display link to UDP (needs av and aiortc too); PIPELINE_ARGS are its options.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
rm -rf build/gpu
"$python" -m mesonbuild.mesonmain setup build/gpu -Dtests=true >build-gpu.log || { tail -n 30 build-gpu.log; exit 1; }
rm -f build-gpu.log
ninja -C build/gpu | tail -n 1
"$python" -m mesonbuild.mesonmain test -C build/gpu --print-errorlogs | grep -E '^ *[0-9]+/|^(Ok|Fail)'
# The binding goes where the package is looked for, next to its Python files.
for package in render_core streamer/stream_core; do
	[[ ! -d build/gpu/$package ]] || find "build/gpu/$package" -maxdepth 1 -name '_ffi*.so' -exec cp {} "$package/" \;
done
"$python" -m bench.gpu_check "$@"
# Venus, with the stock guest driver: what pack_guest_driver.sh has packed, if it was carried along.
if [[ -n ${GUEST_DRIVER:-} ]]; then
	"$python" -m bench.gpu_check_venus --driver "$GUEST_DRIVER" --json "${VENUS_JSON:-build/bench/gpu_check_venus.json}"
fi
if [[ -n ${PIPELINE:-} ]]; then
	read -ra pipeline_args <<<"${PIPELINE_ARGS:-}"
	"$python" -m bench.pipeline --json "${PIPELINE_JSON:-build/bench/pipeline.json}" "${pipeline_args[@]}"
fi
