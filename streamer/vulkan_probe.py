# SPDX-License-Identifier: Apache-2.0
"""Asks Vulkan what devices there are, and prints the answer as JSON: `python -m streamer.vulkan_probe`.

A process of its own, because a driver is loaded with variables that must be set before the process starts, and because
a driver that crashes or hangs must not take the asking command with it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_UUID_SIZE = 16
_KINDS = ("other", "integrated", "discrete", "virtual", "cpu")  # by VkPhysicalDeviceType
_API_1_1 = 1 << 22 | 1 << 12
_QUEUE_VIDEO_ENCODE = 0x40
_HANDLE_TYPES = (
    # our name, VkExternalMemoryHandleTypeFlagBits, the device extension it comes with
    ("host-pointer", 0x80, "VK_EXT_external_memory_host"),
    ("opaque-fd", 0x1, "VK_KHR_external_memory_fd"),
    ("dma-buf", 0x200, "VK_EXT_external_memory_dma_buf"),
)
_SEMAPHORE_SYNC_FD = 0x10
_FENCE_SYNC_FD = 0x8


def main() -> int:
    """Print `{"devices": [...]}` or `{"error": text}`."""
    try:
        answer: dict[str, Any] = {"devices": read_devices()}
    except VulkanMissingError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
    return 0


class VulkanMissingError(Exception):
    """There is no Vulkan loader, or it finds no driver."""


def read_devices() -> list[dict[str, Any]]:
    """Return what each device can do, in Vulkan's order. Loads drivers into this process.

    Raises:
        VulkanMissingError: no loader or no driver.
    """
    try:
        import vulkan as vk
    except OSError as error:
        raise VulkanMissingError(f"the Vulkan loader libvulkan.so.1 cannot be opened: {error}") from error
    application = vk.VkApplicationInfo(
        pApplicationName="heliograph",
        applicationVersion=0,
        pEngineName="heliograph",
        engineVersion=0,
        apiVersion=_API_1_1,
    )
    try:
        instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=application), None)
    except (vk.VkError, vk.VkException) as error:
        raise VulkanMissingError(f"the Vulkan loader finds no usable driver ({type(error).__name__})") from error
    try:
        return [_read_device(vk, index, device) for index, device in enumerate(vk.vkEnumeratePhysicalDevices(instance))]
    except (vk.VkError, vk.VkException) as error:
        raise VulkanMissingError(f"the devices cannot be listed ({type(error).__name__})") from error
    finally:
        vk.vkDestroyInstance(instance, None)


def _read_device(vk: Any, index: int, device: Any) -> dict[str, Any]:
    base = vk.vkGetPhysicalDeviceProperties(device)
    extensions = {entry.extensionName for entry in vk.vkEnumerateDeviceExtensionProperties(device, None)}
    families = vk.vkGetPhysicalDeviceQueueFamilyProperties(device)
    answer: dict[str, Any] = {
        "index": index,
        "name": _text(vk, base.deviceName),
        "uuid": "",
        "kind": _KINDS[base.deviceType] if base.deviceType < len(_KINDS) else "other",
        "driver": "",
        "api_version": f"{base.apiVersion >> 22 & 0x7F}.{base.apiVersion >> 12 & 0x3FF}.{base.apiVersion & 0xFFF}",
        "heaps": _heaps(vk, device),
        "external_memory": {name: [] for name, _type, _extension in _HANDLE_TYPES},
        "host_pointer_alignment": None,
        "sync_fd": [],
        "compute": any(family.queueFlags & vk.VK_QUEUE_COMPUTE_BIT for family in families),
        "video_encode": any(family.queueFlags & _QUEUE_VIDEO_ENCODE for family in families),
    }
    if base.apiVersion < _API_1_1:
        return answer  # the questions below came with 1.1
    identity = vk.VkPhysicalDeviceIDProperties()
    chain = identity
    driver = host = None
    if base.apiVersion >= 1 << 22 | 2 << 12 or "VK_KHR_driver_properties" in extensions:
        chain = driver = vk.VkPhysicalDeviceDriverProperties(pNext=chain)
    if "VK_EXT_external_memory_host" in extensions:
        chain = host = vk.VkPhysicalDeviceExternalMemoryHostPropertiesEXT(pNext=chain)
    vk.vkGetPhysicalDeviceProperties2(device, vk.VkPhysicalDeviceProperties2(pNext=chain))
    answer["uuid"] = bytes(vk.ffi.buffer(identity.deviceUUID, _UUID_SIZE)).hex()
    if driver is not None:
        answer["driver"] = f"{_text(vk, driver.driverName)} {_text(vk, driver.driverInfo)}".strip()
    if host is not None:
        answer["host_pointer_alignment"] = int(host.minImportedHostPointerAlignment)
    for name, handle_type, extension in _HANDLE_TYPES:
        if extension in extensions:
            answer["external_memory"][name] = _buffer_features(vk, device, handle_type)
    answer["sync_fd"] = _sync_features(vk, device, extensions)
    return answer


def _text(vk: Any, value: Any) -> str:
    return value if isinstance(value, str) else bytes(vk.ffi.string(value)).decode("utf-8", "replace")


def _heaps(vk: Any, device: Any) -> list[dict[str, Any]]:
    memory = vk.vkGetPhysicalDeviceMemoryProperties(device)
    return [
        {
            "size_bytes": int(memory.memoryHeaps[i].size),
            "device_local": bool(memory.memoryHeaps[i].flags & vk.VK_MEMORY_HEAP_DEVICE_LOCAL_BIT),
        }
        for i in range(memory.memoryHeapCount)
    ]


def _buffer_features(vk: Any, device: Any, handle_type: int) -> list[str]:
    info = vk.VkPhysicalDeviceExternalBufferInfo(
        # What the convert stage does with it.
        usage=vk.VK_BUFFER_USAGE_STORAGE_BUFFER_BIT
        | vk.VK_BUFFER_USAGE_TRANSFER_SRC_BIT
        | vk.VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        handleType=handle_type,
    )
    properties = vk.vkGetPhysicalDeviceExternalBufferProperties(device, info).externalMemoryProperties
    return _features(properties.externalMemoryFeatures, importable=4, exportable=2)


def _sync_features(vk: Any, device: Any, extensions: set[str]) -> list[str]:
    answer: list[str] = []
    if "VK_KHR_external_semaphore_fd" in extensions:
        semaphore_info = vk.VkPhysicalDeviceExternalSemaphoreInfo(handleType=_SEMAPHORE_SYNC_FD)
        semaphore = vk.vkGetPhysicalDeviceExternalSemaphoreProperties(device, semaphore_info)
        ways = _features(semaphore.externalSemaphoreFeatures, importable=2, exportable=1)
        answer += [f"semaphore {way}" for way in ways]
    if "VK_KHR_external_fence_fd" in extensions:
        fence_info = vk.VkPhysicalDeviceExternalFenceInfo(handleType=_FENCE_SYNC_FD)
        fence = vk.vkGetPhysicalDeviceExternalFenceProperties(device, fence_info)
        answer += [f"fence {way}" for way in _features(fence.externalFenceFeatures, importable=2, exportable=1)]
    return answer


def _features(flags: int, *, importable: int, exportable: int) -> list[str]:
    return [name for name, bit in (("import", importable), ("export", exportable)) if flags & bit]


if __name__ == "__main__":
    sys.exit(main())
