# SPDX-License-Identifier: Apache-2.0
"""Instances and devices that come and go, also several at once."""

from __future__ import annotations

import sys
import threading

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome, run
from tests.support.guest_programs.venus.compute import SQUARES
from tests.support.guest_programs.venus.gpu import COPY, HOST, WHOLE, Buffer, Gpu, Handle
from tests.support.guest_programs.venus.recording import first_bytes

SQUARED = (np.arange(64, dtype=np.uint32) ** 2).tobytes()


def works(gpu: Gpu) -> bool:
    """Compute something on a device."""
    with gpu.scope():
        buffer = gpu.buffer(256, data=bytes(256))
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(SQUARES, layout)
        point = vk.VK_PIPELINE_BIND_POINT_COMPUTE

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
            vk.vkCmdDispatch(commands, 1, 1, 1)
            gpu.barrier(commands)

        gpu.run(record)
        return buffer.read() == SQUARED


def instances_one_after_another() -> Outcome:
    seen = []
    for _ in range(4):
        with Gpu() as gpu:
            seen.append(works(gpu))
    return Outcome({"works": list(seen)})


def instances_at_once() -> Outcome:
    """Their lives overlap; the last made is not the first destroyed."""
    gpus = [Gpu() for _ in range(3)]
    seen = [works(gpu) for gpu in gpus]
    gpus[1].close()
    seen += [works(gpus[0]), works(gpus[2])]
    gpus[0].close()
    seen.append(works(gpus[2]))
    gpus[2].close()
    return Outcome({"works": list(seen)})


def instances_on_threads() -> Outcome:
    """Each thread with its own.

    The loader unloads a driver with its last instance, and Mesa 25.0's Venus driver leaves a destructor with each
    thread that has used it: a thread that outlives the last instance crashes. So one more instance stays.
    """
    with Gpu():
        return _instances_on_threads()


def _instances_on_threads() -> Outcome:
    seen: list[bool] = []

    def work() -> None:
        with Gpu() as gpu:
            seen.append(works(gpu))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome({"works": list(seen)})


def instances_without_devices() -> Outcome:
    """Of every version that a program may ask for, destroyed at once."""
    counts = []
    for version in (vk.VK_MAKE_VERSION(1, 0, 0), vk.VK_MAKE_VERSION(1, 1, 0), vk.VK_MAKE_VERSION(1, 3, 0)):
        app = vk.VkApplicationInfo(pApplicationName="guest", apiVersion=version)
        instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=app), None)
        counts.append(len(vk.vkEnumeratePhysicalDevices(instance)))
        vk.vkDestroyInstance(instance, None)
    return Outcome({"devices": list(counts)})


def devices_of_one_instance() -> Outcome:
    """Made and destroyed in turn, then several at once."""
    with Gpu() as gpu:
        for _ in range(20):
            vk.vkDestroyDevice(gpu._create_device(1), None)
        others = [gpu._create_device(1) for _ in range(4)]
        seen = [works(gpu)]
        for other in others:
            vk.vkDestroyDevice(other, None)
        seen.append(works(gpu))
    return Outcome({"works": list(seen)})


def memory_of_a_new_device() -> Outcome:
    """What one client has written into its memory, the next one must not find in its own."""
    seen: list[bool] = []
    for fill in (255, 0):
        with Gpu() as gpu:
            for properties in (HOST, vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT):
                buffers = [gpu.buffer(size, COPY, properties) for size in (4096, 70_000, 3_000_000) for _ in range(20)]
                if fill:
                    gpu.run(lambda commands, given=buffers: fill_all(commands, given))  # type: ignore[misc]
                else:
                    seen.append(not any(first_bytes(gpu, buffers)))
    return Outcome({"_zero": list(seen)})  # the driver itself does not promise it


def fill_all(commands: Handle, buffers: list[Buffer]) -> None:
    for buffer in buffers:
        vk.vkCmdFillBuffer(commands, buffer.handle, 0, WHOLE, 2**32 - 1)


CASES = {
    each.__name__: each
    for each in (
        instances_one_after_another,
        instances_at_once,
        instances_on_threads,
        instances_without_devices,
        devices_of_one_instance,
        memory_of_a_new_device,
    )
}

if __name__ == "__main__":
    sys.exit(run(CASES))
