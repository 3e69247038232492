# SPDX-License-Identifier: Apache-2.0
"""How guest programs find the session's graphics: Mesa's Venus driver, and OpenGL on top of it, by their environment.

A program gets the stock driver and a socket (`docs/guests.md`); nothing in it is Heliograph's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Where set-up puts the private Mesa of a source tree; see streamer/config.py.
_TREE = Path(__file__).resolve().parent.parent / "build" / "mesa"
_ICD_FOLDERS = ("usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "etc/vulkan/icd.d")
_ICD_NAMES = "virtio_icd*.json"
_DRI_FOLDERS = ("usr/lib/*/dri", "usr/lib64/dri", "usr/lib/dri")
_ZINK = "zink_dri.so"

# The host's choices of drivers. With any of them a program could find the host's devices, or none.
_HOST_VARIABLES = (
    "DRI_PRIME",
    "EGL_PLATFORM",
    "GALLIUM_DRIVER",
    "LIBGL_ALWAYS_INDIRECT",
    "LIBGL_ALWAYS_SOFTWARE",
    "LIBGL_DRI3_DISABLE",
    "LIBGL_KOPPER_DISABLE",
    "MESA_LOADER_DRIVER_OVERRIDE",
    "MESA_VK_DEVICE_SELECT",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_LOADER_DRIVERS_SELECT",
)


@dataclass(frozen=True, slots=True)
class GuestDriver:
    """The Mesa that guest programs use.

    Attributes:
        icd: the Venus driver's manifest for the Vulkan loader.
        library_path: for LD_LIBRARY_PATH; empty for the system's Mesa.
        zink: the folder of Mesa's OpenGL drivers, if OpenGL on Vulkan is among them.
        prefix: what the private Mesa's files lie in; None for the system's.
    """

    icd: Path
    library_path: str
    zink: Path | None
    prefix: Path | None


def find_driver(private: Path | None = None, system: Path = Path("/")) -> GuestDriver | None:
    """Return the private Mesa's driver, or the system's, or None.

    Args:
        private: the private Mesa; $HELIOGRAPH_MESA or the source tree's when None.
        system: where the system's files are.
    """
    prefix = private or Path(os.environ.get("HELIOGRAPH_MESA") or _TREE)
    icd = _first(prefix, [f"{folder}/{_ICD_NAMES}" for folder in _ICD_FOLDERS])
    library_path = _library_path(prefix)
    if icd is not None and library_path:
        return GuestDriver(icd, library_path, _zink(prefix), prefix)
    icd = _first(system, [f"{folder}/{_ICD_NAMES}" for folder in _ICD_FOLDERS])
    return None if icd is None else GuestDriver(icd, "", _zink(system), None)


def _first(root: Path, patterns: Sequence[str]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(root.glob(pattern))), None)


def _zink(root: Path) -> Path | None:
    driver = _first(root, [f"{folder}/{_ZINK}" for folder in _DRI_FOLDERS])
    return None if driver is None else driver.parent


def _library_path(prefix: Path) -> str:
    """Return what the private Mesa's `env` says, empty when set-up has not finished it."""
    try:
        lines = (prefix / "env").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition("=")[2] for line in lines if line.startswith("LD_LIBRARY_PATH="))
    return next(found, "")


def graphics_variables(driver: GuestDriver, socket_path: str, *, is_cpu: bool) -> dict[str, str]:
    """Return the variables that lead a program to the render worker behind `socket_path`.

    Args:
        is_cpu: the worker's device is a CPU: Mesa's OpenGL takes such a device only when it is told to.
    """
    variables = {
        "VN_DEBUG": "vtest",
        "VTEST_SOCKET_NAME": socket_path,
        # Only this driver: what else the machine has is the host's. The second name is for loaders before 1.3.207.
        "VK_DRIVER_FILES": str(driver.icd),
        "VK_ICD_FILENAMES": str(driver.icd),
        # Pictures go to the X server by shared memory: the socket carries no DMA-BUFs.
        "MESA_VK_WSI_DEBUG": "sw",
    }
    if driver.zink is not None:
        variables |= {
            "MESA_LOADER_DRIVER_OVERRIDE": "zink",
            "GALLIUM_DRIVER": "zink",
            "LIBGL_KOPPER_DRI2": "1",
            "__GLX_FORCE_VENDOR_LIBRARY_0": "mesa",
        }
        if is_cpu:
            variables["LIBGL_ALWAYS_SOFTWARE"] = "1"
    if driver.prefix is not None:
        variables["LD_LIBRARY_PATH"] = driver.library_path
        if driver.zink is not None:
            variables["LIBGL_DRIVERS_PATH"] = str(driver.zink)
            variables["GBM_BACKENDS_PATH"] = str(driver.zink.parent / "gbm")
        vendor = _first(driver.prefix, ["usr/share/glvnd/egl_vendor.d/*mesa*.json"])
        if vendor is not None:
            variables["__EGL_VENDOR_LIBRARY_FILENAMES"] = str(vendor)
    return variables


def with_graphics(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return a program's environment with these variables and without the host's choices of drivers."""
    found = {name: value for name, value in environment.items() if name not in _HOST_VARIABLES}
    library_path = ":".join(
        path for path in (variables.get("LD_LIBRARY_PATH"), environment.get("LD_LIBRARY_PATH")) if path
    )
    found |= variables
    if library_path:
        found["LD_LIBRARY_PATH"] = library_path
    return found
