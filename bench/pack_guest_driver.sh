#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Collects what the Venus part of the GPU check needs on a machine that was not set up: the stock guest driver of the private
# Mesa with its libraries, the guest programs' shaders as SPIR-V, the Python package `vulkan`. Under 64 MiB.
# Usage: bench/pack_guest_driver.sh FOLDER; there: python3 -m bench.gpu_check_venus --driver FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: bench/pack_guest_driver.sh FOLDER}
python=.venv/bin/python
driver=$(find build/mesa /usr/lib -name libvulkan_virtio.so -print -quit 2>/dev/null)
[[ -n $driver ]] || { echo "there is no libvulkan_virtio.so: make setup" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"/{lib,shaders,python}
cp "$driver" "$folder/lib/"
# What every machine has stays its own: glibc, and the compiler's run-time library.
LD_LIBRARY_PATH=$(dirname "$driver") ldd "$driver" | awk '$2 == "=>" && $3 ~ /^\// || $2 == "=>" && $3 ~ /^build/ { print $1, $3 }' |
	while read -r name path; do
		case $name in
		libc.so* | libm.so* | libdl.so* | librt.so* | libpthread.so* | libgcc_s.so* | libstdc++.so* | ld-linux*) ;;
		*) cp -L "$path" "$folder/lib/$name" ;;
		esac
	done
# The loader takes a path with a slash relative to the manifest's own folder.
printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "./lib/libvulkan_virtio.so", "api_version": "1.3.305"}}\n' \
	>"$folder/virtio_icd.json"
cp -r "$("$python" -c 'import pathlib, vulkan; print(pathlib.Path(vulkan.__file__).parent)')" "$folder/python/"
find "$folder" -name __pycache__ -prune -exec rm -rf {} +
# Running them once compiles all shaders.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
HELIOGRAPH_TEST_SHADERS=$folder/shaders "$python" -m bench.gpu_check_venus --only-shaders "$scratch"
du -sh "$folder"
