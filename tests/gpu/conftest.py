# SPDX-License-Identifier: Apache-2.0
"""The core is used in this process: it must see the Vulkan drivers that a worker would see."""

import ctypes
import os
from pathlib import Path

from streamer.config import vulkan_environment

_environment = vulkan_environment()
for _folder in filter(None, _environment.pop("LD_LIBRARY_PATH", "").split(":")):
    # Read at a process's start only. A library that is loaded already is what a driver then gets.
    for _library in sorted(Path(_folder).glob("libdrm*.so.*[0-9]")):
        ctypes.CDLL(str(_library), mode=ctypes.RTLD_GLOBAL)
os.environ.update(_environment)
