# SPDX-License-Identifier: Apache-2.0
"""All that vulkaninfo shows of the device is what the driver shows, but for what is listed here with its reason."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.venus import VenusServer, native_environment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("vulkaninfo") is None, reason="there is no vulkaninfo (vulkan-tools)"),
]

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Path("/usr/share/vulkan/registry/vk.xml")

# Extensions that the protocol knows, but guests are not shown.
HIDDEN = {
    "VK_EXT_memory_budget": "the host's numbers are not the guest's",
    "VK_EXT_external_memory_host": "memory of the guest's process is not the worker's",
    "VK_KHR_maintenance5": "its structs are not in the registry of Vulkan 1.3.239",
    "VK_EXT_dynamic_rendering_unused_attachments": "its structs are not in the registry of Vulkan 1.3.239",
}
# Extensions that the driver lacks.
ADDED = {
    "VK_EXT_device_memory_report": "made by the guest's driver",
    "VK_EXT_physical_device_drm": "made by the guest's driver",
    "VK_EXT_tooling_info": "made by the guest's driver",
    "VK_EXT_image_drm_format_modifier": "emulated: Mesa 25.0 offers no swapchain without it",
    "VK_EXT_external_memory_dma_buf": "emulated: Mesa 25.0 offers no swapchain without it",
    "VK_EXT_queue_family_foreign": "emulated: Mesa 25.0 offers no swapchain without it",
}
# Values, by pattern.
VALUES = {
    r".*\.(deviceUUID|driverUUID|pipelineCacheUUID)\.\d+": "made by the guest's driver, from the device's and its own",
    r".*\.(driverID|driverName|driverInfo|driverVersion)": "the guest's driver tells of itself",
    r".*\.conformanceVersion\..*": "the guest's driver tells of itself",
    r".*\.deviceName": "the guest's driver puts its name before the device's",
    r".*\.apiVersion": "the least of the device's, the registry's and the guest driver's",
    r".*\.sparse.*": "the guest's driver does without sparse resources where the device is llvmpipe",
    r".*\.queueFlags\.3": "the same: VK_QUEUE_SPARSE_BINDING_BIT",
    r".*\.maxMemoryAllocationCount": "the guest's limit",
}


def flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from flat(each, f"{path}.{index}")
    else:
        yield path, value


def structs() -> dict[str, set[str]]:
    """The extensions of each struct in the registry."""
    found: dict[str, set[str]] = {}
    for extension in ElementTree.parse(REGISTRY).getroot().iter("extension"):
        for each in extension.iter("type"):
            found.setdefault(str(each.get("name")), set()).add(str(extension.get("name")))
    return found


def about(environment: Mapping[str, str], folder: Path) -> dict[str, object]:
    """What vulkaninfo writes as JSON."""
    path = folder / "info.json"
    path.unlink(missing_ok=True)
    command = ["vulkaninfo", "--json=0", "-o", str(path)]
    result = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return dict(flat(json.loads(path.read_text(encoding="utf-8"))["capabilities"]["device"]))


def test_every_difference_has_its_reason(venus: VenusServer, tmp_path: Path) -> None:
    native, found = about(native_environment(), tmp_path), about(venus.environment, tmp_path)
    assert len(found) > 1500
    with (ROOT / "render_core/protocol/extensions.csv").open(newline="", encoding="utf-8") as file:
        carried = {row["name"] for row in csv.DictReader(file)}
    shown = {path.partition(".")[2] for path in found if path.startswith("extensions.")}
    owners = structs()

    def reason(path: str) -> str | None:
        kind, _, rest = path.partition(".")
        if kind == "extensions":
            if path not in native:
                return ADDED.get(rest)
            return HIDDEN.get(rest) or (None if rest in carried else "the protocol does not carry it")
        for part in rest.split("."):
            extensions = owners.get(part, set())
            if extensions and path not in found and not extensions & shown:
                return "of an extension that is not shown"
            if path not in native and extensions & set(ADDED):
                return "of an extension that is added"
        return next((why for pattern, why in VALUES.items() if re.fullmatch(pattern, path)), None)

    different = sorted(path for path in native | found if native.get(path) != found.get(path))
    unexplained = {
        path: (native.get(path, "missing"), found.get(path, "missing")) for path in different if reason(path) is None
    }
    assert not unexplained


def test_guests_see_vulkan_1_3(venus: VenusServer, tmp_path: Path) -> None:
    version = about(venus.environment, tmp_path)["properties.VkPhysicalDeviceProperties.apiVersion"]
    assert isinstance(version, int) and version >= 1 << 22 | 3 << 12


def test_its_text_shows_memory_of_the_guests_size(venus: VenusServer) -> None:
    """The whole of it, with what the JSON lacks: memory types and heaps."""
    texts = []
    for environment in (native_environment(), venus.environment):
        result = subprocess.run(["vulkaninfo"], env=environment, capture_output=True, text=True, timeout=60, check=True)
        text = result.stdout.partition("VkPhysicalDeviceMemoryProperties:")[2]
        texts.append(text.partition("VkPhysicalDeviceFeatures:")[0])
    types = [re.findall(r"MEMORY_PROPERTY_\w+", text) for text in texts]
    assert types[0] == types[1] and types[0]
    sizes = [[int(size) for size in re.findall(r"size\s+= (\d+)", text)] for text in texts]
    assert len(sizes[0]) == len(sizes[1])
    assert all(0 < guest <= host for host, guest in zip(*sizes, strict=True))
