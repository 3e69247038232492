# SPDX-License-Identifier: Apache-2.0
"""Print as JSON what a program sees of the device."""

from __future__ import annotations

import json
import sys

import vulkan as vk

from tests.support.guest_programs.venus.gpu import Gpu


def about(gpu: Gpu) -> dict[str, object]:
    """Return name, versions, memory, queues and extensions."""
    driver = vk.VkPhysicalDeviceDriverProperties()
    properties = vk.VkPhysicalDeviceProperties2(pNext=driver)
    vk.lib.vkGetPhysicalDeviceProperties2(gpu.physical, vk.ffi.addressof(properties))
    version = gpu.properties.apiVersion
    memory = gpu.memory_properties
    return {
        "device": gpu.properties.deviceName,
        "version": [version >> 22, version >> 12 & 0x3FF, version & 0xFFF],
        "driver": vk.ffi.string(driver.driverName).decode(),
        "driver id": driver.driverID,
        "heaps": [memory.memoryHeaps[i].size for i in range(memory.memoryHeapCount)],
        "types": [
            f"{memory.memoryTypes[i].propertyFlags:x} of {memory.memoryTypes[i].heapIndex}"
            for i in range(memory.memoryTypeCount)
        ],
        "queue families": [[family.queueFlags, family.queueCount] for family in gpu.families],
        "extensions": sorted(gpu.extensions),
    }


if __name__ == "__main__":
    with Gpu() as _gpu:
        sys.stdout.write(json.dumps(about(_gpu)) + "\n")
