# SPDX-License-Identifier: Apache-2.0
"""What `heliograph doctor` finds on a machine that is set up, and what it says of one that is not."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from guest_agent.graphics import GuestDriver, find_driver
from guest_agent.vm.qemu import Emulator
from streamer import doctor
from streamer.devices import ProbeError, VulkanDevice, query_devices
from streamer.doctor import Finding


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


@pytest.mark.gpu
def test_a_machine_that_is_set_up_lacks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.main([])
    out = capsys.readouterr().out
    assert "MISSING" not in out
    assert code == 0
    assert "Nothing that a session needs is missing." in out


def test_json_has_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"Python", "X server", "encoder", "sealed memory", "port"} <= {entry["name"] for entry in found}
    assert all(set(entry) == {"name", "state", "detail", "fix"} for entry in found)


def test_a_missing_display_server_says_how_to_get_it(tmp_path: Path) -> None:
    found = doctor.check_display_server([str(tmp_path / "Xorg")], [tmp_path])
    assert states(found)["X server"] == "MISSING"
    assert states(found)["dummy driver"] == "MISSING"
    assert states(found)["input driver"] == "WARN"
    fixes = [finding.fix for finding in found]
    assert any(fix.endswith("apt-get install xserver-xorg-core") for fix in fixes)
    assert any(fix.endswith("apt-get install xserver-xorg-video-dummy") for fix in fixes)


def test_missing_programs_of_the_desktop_and_the_tests_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    [desktop] = doctor.check_desktop()
    assert desktop.state == "WARN"
    assert desktop.fix.endswith("apt-get install openbox tint2 pcmanfm xterm")
    [browser] = doctor.check_browser()
    assert browser.state == "WARN"


def test_missing_sound_is_a_warning(tmp_path: Path) -> None:
    [found] = doctor.check_sound(str(tmp_path), tmp_path)
    assert found.state == "WARN"
    assert found.fix.endswith("apt-get install pulseaudio pulseaudio-utils")
    for name in ("pulseaudio", "parec"):
        (tmp_path / name).touch(mode=0o755)
    [found] = doctor.check_sound(str(tmp_path), tmp_path)
    assert found.state == "WARN"
    assert found.fix.endswith("apt-get install libasound2-plugins")


def test_an_old_or_incomplete_qemu_is_a_warning(tmp_path: Path) -> None:
    [found] = doctor.check_virtual_machines([])
    assert (found.state, found.fix) == ("WARN", "./setup.sh qemu")
    old = Emulator(Path("/usr/bin/qemu-system-x86_64"), "7.2.0", ())
    [found] = doctor.check_virtual_machines([old])
    assert found.state == "WARN"
    assert "7.2.0" in found.detail
    [found] = doctor.check_virtual_machines([old, replace(old, version="10.0.2", lacks=("the D-Bus display",))])
    assert found.state == "WARN"
    assert "lacks the D-Bus display" in found.detail
    new = replace(old, version="10.0.2", program=Path("/build/qemu-system-x86_64"))
    [found] = doctor.check_virtual_machines([old, new])
    assert (found.state, found.fix) == ("WARN", "heliograph vm -- /build/qemu-system-x86_64 ...")
    [found] = doctor.check_virtual_machines([new, old], tmp_path / "kvm")
    assert found.state == "OK"
    assert "kvm may not be used" in found.detail


def test_a_python_package_that_does_not_import_is_named() -> None:
    [found] = doctor.check_python_packages(("json", "no_such_package_at_all"))
    assert found.state == "MISSING"
    assert "no_such_package_at_all" in found.detail
    assert found.fix == "./setup.sh python"


def test_a_taken_port_is_a_warning_that_names_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        [found] = doctor.check_port(port)
    assert found.state == "WARN"
    assert f"--port {port + 1}" in found.fix


def test_a_kernel_without_filters_is_a_warning(tmp_path: Path) -> None:
    found = states(doctor.check_kernel(tmp_path / "absent"))
    assert found == {"sealed memory": "OK", "seccomp": "WARN"}


def test_no_vulkan_driver_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> tuple[VulkanDevice, ...]:
        raise ProbeError("the Vulkan loader libvulkan.so.1 cannot be opened")

    monkeypatch.setattr(doctor, "query_devices", refuse)
    [found] = doctor.check_vulkan()
    assert found.state == "MISSING"
    assert "libvulkan1" in found.fix
    assert "./setup.sh mesa" in found.fix
    assert doctor.main([]) == 1
    assert "1 missing" in capsys.readouterr().out


@pytest.mark.gpu
def test_an_old_mesa_and_a_device_without_imports_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    [software, *_] = [entry for entry in query_devices() if entry.kind == "cpu"]
    old = replace(software, driver="llvmpipe Mesa 22.3.6 (LLVM 15.0.6)", external_memory={})
    monkeypatch.setattr(doctor, "query_devices", lambda: (old,))
    found = states(doctor.check_vulkan())
    assert found == {"Vulkan device 0": "WARN", "software Vulkan": "WARN"}


@pytest.mark.gpu
def test_guests_see_a_device_through_venus_and_nothing_else() -> None:
    driver = find_driver()
    if driver is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    [vulkan, opengl] = doctor.check_guest_graphics(driver)
    assert vulkan.state == "OK"
    assert vulkan.detail.startswith("Virtio-GPU Venus (")
    assert opengl.state == ("WARN" if driver.zink is None else "OK")


@pytest.mark.gpu
def test_a_guest_driver_that_does_not_load_is_a_warning(tmp_path: Path) -> None:
    icd = tmp_path / "virtio_icd.json"
    icd.write_text("{}")
    [found] = doctor.check_guest_graphics(GuestDriver(icd, "", None, None))
    assert found.state == "WARN"
    assert "no usable driver" in found.detail


def test_no_guest_driver_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_driver", lambda: None)
    [found] = doctor.check_guest_graphics()
    assert (found.state, found.fix) == ("WARN", "./setup.sh mesa")


def test_no_working_encoder_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "query_encoders", lambda: [{"name": "libx264", "works": False}])
    [found] = doctor.check_encoders()
    assert found.state == "MISSING"
