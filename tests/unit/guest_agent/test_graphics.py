# SPDX-License-Identifier: Apache-2.0
"""Which driver guest programs get, and what their environment says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest_agent.graphics import GuestDriver, find_driver, graphics_variables, with_graphics


def _touch(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A private Mesa as set-up makes it."""
    prefix = tmp_path / "mesa"
    _touch(prefix / "usr/share/vulkan/icd.d/virtio_icd.json")
    _touch(prefix / "usr/share/vulkan/icd.d/lvp_icd.json")
    _touch(prefix / "usr/share/glvnd/egl_vendor.d/50_mesa.json")
    _touch(prefix / "usr/lib/x/dri/zink_dri.so")
    _touch(prefix / "env", f"VK_ADD_DRIVER_FILES=/lvp.json\nLD_LIBRARY_PATH={prefix}/usr/lib/x\n")
    return prefix


def test_private_driver_comes_before_the_systems(private: Path, tmp_path: Path) -> None:
    system = tmp_path / "system"
    _touch(system / "usr/share/vulkan/icd.d/virtio_icd.x86_64.json")
    driver = find_driver(private, system)
    assert driver is not None
    assert driver.icd == private / "usr/share/vulkan/icd.d/virtio_icd.json"
    assert driver.library_path == f"{private}/usr/lib/x"
    assert driver.zink == private / "usr/lib/x/dri"


def test_systems_driver_needs_no_paths(tmp_path: Path) -> None:
    icd = _touch(tmp_path / "usr/share/vulkan/icd.d/virtio_icd.x86_64.json")
    _touch(tmp_path / "usr/lib/x86_64-linux-gnu/dri/zink_dri.so")
    driver = find_driver(tmp_path / "none", tmp_path)
    assert driver == GuestDriver(icd, "", tmp_path / "usr/lib/x86_64-linux-gnu/dri", None)
    variables = graphics_variables(driver, "/s/venus.sock", is_cpu=False)
    assert variables["VK_DRIVER_FILES"] == str(icd)
    assert not {"LD_LIBRARY_PATH", "LIBGL_DRIVERS_PATH", "__EGL_VENDOR_LIBRARY_FILENAMES"} & set(variables)


def test_private_driver_that_is_not_finished_is_none(private: Path, tmp_path: Path) -> None:
    (private / "env").unlink()
    assert find_driver(private, tmp_path / "nothing") is None


def test_variables_lead_to_the_socket_and_to_nothing_else(private: Path) -> None:
    driver = find_driver(private)
    assert driver is not None
    variables = graphics_variables(driver, "/s/venus.sock", is_cpu=True)
    assert variables["VN_DEBUG"] == "vtest"
    assert variables["VTEST_SOCKET_NAME"] == "/s/venus.sock"
    assert variables["VK_DRIVER_FILES"] == variables["VK_ICD_FILENAMES"] == str(driver.icd)
    assert variables["MESA_VK_WSI_DEBUG"] == "sw"
    assert variables["LIBGL_DRIVERS_PATH"] == str(private / "usr/lib/x/dri")
    host = {
        "VK_ADD_DRIVER_FILES": "/host.json",
        "MESA_LOADER_DRIVER_OVERRIDE": "iris",
        "LD_LIBRARY_PATH": "/a:/b",
        "HOME": "/h",
    }
    environment = with_graphics(host, variables)
    assert "VK_ADD_DRIVER_FILES" not in environment
    assert environment["MESA_LOADER_DRIVER_OVERRIDE"] == "zink"
    assert environment["LD_LIBRARY_PATH"] == f"{private}/usr/lib/x:/a:/b"
    assert environment["HOME"] == "/h"


def test_opengl_is_told_of_a_cpu_and_only_of_a_cpu(private: Path) -> None:
    driver = find_driver(private)
    assert driver is not None
    assert graphics_variables(driver, "/s", is_cpu=True)["LIBGL_ALWAYS_SOFTWARE"] == "1"
    on_gpu = graphics_variables(driver, "/s", is_cpu=False)
    assert "LIBGL_ALWAYS_SOFTWARE" not in with_graphics({"LIBGL_ALWAYS_SOFTWARE": "1"}, on_gpu)


def test_without_zink_opengl_stays_the_systems(private: Path) -> None:
    (private / "usr/lib/x/dri/zink_dri.so").unlink()
    driver = find_driver(private)
    assert driver is not None
    assert driver.zink is None
    variables = graphics_variables(driver, "/s", is_cpu=True)
    assert not {"GALLIUM_DRIVER", "LIBGL_ALWAYS_SOFTWARE", "LIBGL_DRIVERS_PATH"} & set(variables)
