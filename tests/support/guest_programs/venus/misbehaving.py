# SPDX-License-Identifier: Apache-2.0
"""Guests that do not end as they should; each says READY when it is at it. Arguments: DIRECTORY leak | hog | work."""

from __future__ import annotations

import os
import sys
import time

import vulkan as vk

from tests.support.guest_programs.venus.gpu import COPY, HOST, Gpu
from tests.support.guest_programs.venus.lifetimes import works
from tests.support.guest_programs.venus.sync import SLOW

WORK_SECONDS = 60.0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def leak() -> int:
    """End without destroying anything."""
    gpu = Gpu()
    for _ in range(50):
        gpu.buffer(100_000, COPY)
        gpu.buffer(100_000, COPY, vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)
    gpu.image(300, 200, vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT | vk.VK_IMAGE_USAGE_SAMPLED_BIT, levels=4)
    fence = gpu.fence()
    with gpu.recording() as commands:
        gpu.barrier(commands)
    for _ in range(10):
        gpu.submit(commands)
    gpu.submit(commands, fence=fence)
    say("READY")
    os._exit(0)


def hog() -> int:
    """Allocate more than any guest may; says how that ended: the error's name, or "nothing"."""
    gpu = Gpu()
    count = gpu.memory_properties.memoryHeapCount
    size = max(gpu.memory_properties.memoryHeaps[i].size for i in range(count)) // 4
    index = gpu.memory_type(2**32 - 1, HOST)
    outcome = "nothing"
    try:
        info = vk.VkMemoryAllocateInfo(allocationSize=size, memoryTypeIndex=index)
        for _ in range(12):
            vk.vkAllocateMemory(gpu.device, info, None)
        for _ in range(20):
            with gpu.recording() as commands:
                gpu.barrier(commands)
            gpu.submit(commands)
            time.sleep(0.05)
    except vk.VkError as error:
        outcome = type(error).__name__
    say(f"READY {outcome}")
    os._exit(0)


def work() -> int:
    """Keep the GPU busy from two submissions on, until killed or for a minute."""
    gpu = Gpu()
    assert works(gpu)
    count = 64 * 1024
    buffer = gpu.buffer(count * 4, data=bytes(count * 4))
    target, set_layout = gpu.storage_set(buffer)
    layout = gpu.pipeline_layout([set_layout], 4)
    pipeline = gpu.compute_pipeline(SLOW, layout)
    point = vk.VK_PIPELINE_BIND_POINT_COMPUTE
    with gpu.recording(flags=vk.VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT) as commands:
        vk.vkCmdBindPipeline(commands, point, pipeline)
        vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
        vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, vk.ffi.new("uint32_t[1]", [20000]))
        vk.vkCmdDispatch(commands, count // 64, 1, 1)
        gpu.barrier(commands)
    fences = [gpu.fence(), gpu.fence()]
    for fence in fences:
        gpu.submit(commands, fence=fence)
    say("READY")
    end_s = time.monotonic() + WORK_SECONDS
    turn = 0
    while time.monotonic() < end_s:
        vk.vkWaitForFences(gpu.device, 1, [fences[turn % 2]], vk.VK_TRUE, 2**64 - 1)
        vk.vkResetFences(gpu.device, 1, [fences[turn % 2]])
        gpu.submit(commands, fence=fences[turn % 2])
        turn += 1
    return 0


if __name__ == "__main__":
    sys.exit({"leak": leak, "hog": hog, "work": work}[sys.argv[2]]())
