# SPDX-License-Identifier: Apache-2.0
"""Put SPIR-V headers into shaders/prebuilt: dist.py GLSLANG.

Run by `meson dist`, and by hand to build where there is no glslang.
"""

import os
import pathlib
import subprocess
import sys

root = pathlib.Path(os.environ.get("MESON_DIST_ROOT", pathlib.Path(__file__).parent.parent)) / "shaders"
(root / "prebuilt").mkdir(exist_ok=True)
for source in sorted(root.glob("*.comp")):
    header = root / "prebuilt" / f"{source.stem}.spv.h"
    command = [sys.argv[1], "-V", "--target-env", "vulkan1.1", "--quiet", "--vn", f"{source.stem}_spv"]
    subprocess.run([*command, "-o", str(header), str(source)], check=True)
