# SPDX-License-Identifier: Apache-2.0
"""What `heliograph devices` says, on real drivers, on none, and on one that crashes."""

import json
import re
import sys
from pathlib import Path

import pytest

from streamer import devices, vulkan_probe
from streamer.devices import MemoryHeap, ProbeError, VulkanDevice, query_devices, short_ids


def device(index: int, uuid: str) -> VulkanDevice:
    return VulkanDevice(
        index=index,
        name="a device",
        uuid=uuid,
        kind="discrete",
        driver="a driver",
        api_version="1.3.0",
        heaps=(MemoryHeap(2**30, True),),
        external_memory={"host-pointer": ("import",), "opaque-fd": (), "dma-buf": ()},
        host_pointer_alignment=4096,
        sync_fd=(),
        compute=True,
        video_encode=False,
    )


@pytest.fixture
def no_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loader find no driver, neither the machine's nor the private Mesa."""
    monkeypatch.setattr(devices, "vulkan_environment", lambda: {"VK_DRIVER_FILES": "/nonexistent"})


@pytest.mark.gpu
def test_software_vulkan_computes_and_imports_host_memory() -> None:
    software = [entry for entry in query_devices() if entry.kind == "cpu"]
    assert software, "no CPU device: ./setup.sh mesa"
    first = software[0]
    assert first.compute
    assert "import" in first.external_memory["host-pointer"]
    assert first.host_pointer_alignment == 4096
    assert re.fullmatch(r"[0-9a-f]{32}", first.uuid)
    assert re.search(r"Mesa 2[5-9]\.", first.driver)
    assert sum(heap.size_bytes for heap in first.heaps) > 0


@pytest.mark.gpu
def test_indexes_count_in_vulkans_order() -> None:
    found = query_devices()
    assert [entry.index for entry in found] == list(range(len(found)))


@pytest.mark.gpu
def test_text_names_all_that_the_option_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.main([]) == 0
    out = capsys.readouterr().out
    for entry, short_id in zip(query_devices(), short_ids(query_devices()), strict=True):
        assert f"{entry.index}  {entry.name}" in out
        assert f"{short_id}…" in out
    assert "libx264      yes" in out
    assert "auto" in out


@pytest.mark.gpu
def test_json_has_the_same_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.main(["--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [entry["uuid"] for entry in answer["devices"]] == [entry.uuid for entry in query_devices()]
    assert {encoder["name"] for encoder in answer["encoders"]} >= {"libx264", "h264_nvenc"}


@pytest.mark.usefixtures("no_drivers")
def test_no_driver_is_said_and_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProbeError, match="no usable driver"):
        query_devices()
    assert devices.main([]) == 1
    said = capsys.readouterr()
    assert "none" in said.out
    assert "heliograph doctor" in said.err
    assert devices.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"crashed \(signal 11\)"),
        ("raise SystemExit('broken')", "failed .*broken"),
        ("print('no JSON')", "failed"),
        ("print('{\"devices\": [{}]}')", "failed"),
    ],
)
def test_a_probe_that_goes_wrong_is_an_error(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "$PROGRAM"\n', encoding="ascii")
    script.chmod(0o755)
    monkeypatch.setenv("PROGRAM", program)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(ProbeError, match=said):
        query_devices()


def test_a_probe_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 1000\n", encoding="ascii")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(devices, "_PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(ProbeError, match="did not answer"):
        query_devices()


def test_short_ids_tell_devices_apart() -> None:
    twins = [device(0, "0123456789abcdef" * 2), device(1, "0123456789ab0000" * 2), device(2, "f" * 32), device(3, "")]
    assert short_ids(twins) == ("0123456789abc", "0123456789ab0", "ffffffff", "")


def test_a_missing_loader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *_arguments: object) -> None:
        raise OSError("libvulkan.so.1: cannot open shared object file")

    monkeypatch.setattr("builtins.__import__", _importing_vulkan(refuse))
    with pytest.raises(vulkan_probe.VulkanMissingError, match=r"libvulkan\.so\.1"):
        vulkan_probe.read_devices()


def _importing_vulkan(refuse: object) -> object:
    original = __import__

    def replacement(name: str, *arguments: object) -> object:
        if name == "vulkan":
            return refuse(name)  # type: ignore[operator]
        return original(name, *arguments)  # type: ignore[arg-type]

    return replacement
