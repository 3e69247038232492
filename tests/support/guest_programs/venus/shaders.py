# SPDX-License-Identifier: Apache-2.0
"""GLSL to SPIR-V by glslangValidator, remembered beside the results so that a source is compiled once a run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

_COMPILER = "glslangValidator"


def compile_glsl(stage: str, source: str) -> bytes:
    """Return the SPIR-V of `source` ("#version" is added); `stage` as glslang names it: comp, vert, frag."""
    text = f"#version 460\n{source}"
    name = hashlib.sha256(f"{stage}{text}".encode()).hexdigest()[:24]
    folder = Path(os.environ.get("HELIOGRAPH_TEST_SHADERS") or tempfile.gettempdir())
    path = folder / f"{name}.spv"
    if path.exists():
        return path.read_bytes()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made, given = Path(scratch) / "out.spv", Path(scratch) / f"source.{stage}"
        given.write_text(text, encoding="utf-8")
        command = [_COMPILER, "-V", "--target-env", "vulkan1.2", "-o", str(made), str(given)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ValueError(f"{result.stdout}\n{text}")
        made.rename(path)
    return path.read_bytes()
