# SPDX-License-Identifier: Apache-2.0
"""Command buffers of every size, from many threads; pipelines and their caches; memory of odd sizes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome
from tests.support.guest_programs.venus.compute import LINEAR, SQUARES
from tests.support.guest_programs.venus.gpu import COPY, HOST, WHOLE, Buffer, Gpu, Handle, check
from tests.support.guest_programs.venus.graphics import VERTEX, Drawing, graphics_pipeline, make_target
from tests.support.guest_programs.venus.suite import Suite

COMPUTE = vk.VK_PIPELINE_BIND_POINT_COMPUTE
SQUARED = (np.arange(64, dtype=np.uint32) ** 2).tobytes()


def on_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(count - 1), each on a thread of its own; raise what one of them raised."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def first_bytes(gpu: Gpu, buffers: list[Buffer], size: int = 64) -> bytes:
    """The first bytes of all, as a copy by the device sees them; zeros behind those that are smaller."""
    with gpu.scope():
        back = gpu.buffer(size * len(buffers), COPY, data=bytes(size * len(buffers)))

        def record(commands: Handle) -> None:
            for i, buffer in enumerate(buffers):
                part = vk.VkBufferCopy(0, i * size, min(size, buffer.size))
                vk.vkCmdCopyBuffer(commands, buffer.handle, back.handle, 1, [part])
            gpu.barrier(commands)

        gpu.run(record)
        return back.read()


class Recording(Suite):
    """The cases; all on one device."""

    def megabytes_of_commands(self) -> Outcome:
        """A command buffer far past what fits a ring: 3 MB of updates, then 20000 small fills."""
        gpu = self.gpu
        chunk, count, fills = 60000, 50, 20000
        data = np.random.default_rng(2).integers(0, 256, chunk * count, np.uint8).tobytes()
        buffer = gpu.buffer(chunk * count, COPY)
        small = gpu.buffer(4 * fills, COPY)
        chunks = [vk.ffi.new("uint8_t[]", data[i * chunk : (i + 1) * chunk]) for i in range(count)]

        def record(commands: Handle) -> None:
            for i, each in enumerate(chunks):
                vk.vkCmdUpdateBuffer(commands, buffer.handle, i * chunk, chunk, each)
            fill, handle = vk.lib.vkCmdFillBuffer, small.handle
            for i in range(fills):
                fill(commands, handle, 4 * i, 4, i)
            gpu.barrier(commands)

        gpu.run(record)
        assert buffer.read() == data
        assert small.read() == np.arange(fills, dtype=np.uint32).tobytes()
        return Outcome({"bytes": chunk * count, "fills": fills})

    def recorded_again(self) -> Outcome:
        """Reset explicitly, by beginning anew, with the pool; freed and allocated; submitted several times."""
        gpu = self.gpu
        buffer = gpu.buffer(4096, COPY, data=bytes(4096))
        reset_bit = vk.VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT
        info = vk.VkCommandPoolCreateInfo(flags=reset_bit, queueFamilyIndex=gpu.family)
        pool = gpu.defer(vk.vkDestroyCommandPool, vk.vkCreateCommandPool(gpu.device, info, None))
        commands = gpu.command_buffer(pool=pool)
        place = 0

        def fill_next() -> None:
            nonlocal place
            with gpu.recording(commands):
                vk.vkCmdFillBuffer(commands, buffer.handle, 4 * place, 4, place + 1)
                gpu.barrier(commands)
            place += 1
            gpu.submit(commands)
            gpu.submit(commands)

        for turn in range(60):
            fill_next()
            if turn % 4 == 1:
                vk.vkResetCommandBuffer(commands, vk.VK_COMMAND_BUFFER_RESET_RELEASE_RESOURCES_BIT)
            elif turn % 4 == 2:
                vk.vkResetCommandPool(gpu.device, pool, 0)
            elif turn % 4 == 3:
                vk.vkFreeCommandBuffers(gpu.device, pool, 1, [commands])
                commands = gpu.command_buffer(pool=pool)
        vk.vkTrimCommandPool(gpu.device, pool, 0)
        fill_next()
        # Begun and reset without being ended; ended without anything in it.
        vk.vkBeginCommandBuffer(commands, vk.VkCommandBufferBeginInfo())
        vk.vkCmdFillBuffer(commands, buffer.handle, 0, WHOLE, 9)
        vk.vkResetCommandBuffer(commands, 0)
        with gpu.recording(commands):
            pass
        gpu.submit(commands)
        return Outcome(raw={"values": buffer.read()})

    def many_command_buffers_in_one_submission(self) -> Outcome:
        gpu = self.gpu
        buffer = gpu.buffer(4 * 200, COPY)
        recorded = []
        for i in range(200):
            with gpu.recording(flags=vk.VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT) as commands:
                vk.vkCmdFillBuffer(commands, buffer.handle, 4 * i, 4, i * i)
                gpu.barrier(commands)
            recorded.append(commands)
        infos = [
            vk.VkSubmitInfo(commandBufferCount=20, pCommandBuffers=recorded[i : i + 20]) for i in range(0, 200, 20)
        ]
        vk.vkQueueSubmit(gpu.queue, len(infos), infos, None)
        vk.vkQueueWaitIdle(gpu.queue)
        vk.vkFreeCommandBuffers(gpu.device, gpu.pool, 200, recorded)
        assert buffer.read() == (np.arange(200, dtype=np.uint32) ** 2).tobytes()
        return Outcome({"command buffers": 200})

    def threads_that_record(self) -> Outcome:
        """Each thread with a pool, buffers, descriptors and a pipeline of its own; one queue for all."""
        gpu = self.gpu
        lock = threading.Lock()
        found: dict[str, bytes] = {}

        def work(number: int) -> None:
            info = vk.VkCommandPoolCreateInfo(queueFamilyIndex=gpu.family)
            pool = vk.vkCreateCommandPool(gpu.device, info, None)
            with lock:  # the scope's list
                buffer = gpu.buffer(256, data=bytes(256))
                target, set_layout = gpu.storage_set(buffer)
                layout = gpu.pipeline_layout([set_layout], 12)
                fence = gpu.fence()
            pipeline = gpu.compute_pipeline(LINEAR, layout, (64, number))
            for turn in range(15):
                with gpu.recording(gpu.command_buffer(pool=pool)) as commands:
                    vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
                    vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [target], 0, None)
                    for step in range(30):
                        pushed = vk.ffi.new("uint32_t[3]", [3, number * turn + step, 0])
                        vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 12, pushed)
                        vk.vkCmdDispatch(commands, 1, 1, 1)
                        gpu.barrier(commands)
                with lock:
                    gpu.submit(commands, fence=fence)
                vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, WHOLE)
                vk.vkResetFences(gpu.device, 1, [fence])
                vk.vkResetCommandPool(gpu.device, pool, 0)
            found[f"thread{number}"] = buffer.read()
            vk.vkDestroyCommandPool(gpu.device, pool, None)

        on_threads(6, work)
        return Outcome(raw=found)

    def threads_that_make_pipelines(self) -> Outcome:
        """Compute and graphics pipelines at once on several threads, with and without a cache that they share."""
        gpu = self.gpu
        cache = vk.vkCreatePipelineCache(gpu.device, vk.VkPipelineCacheCreateInfo(), None)
        gpu.defer(vk.vkDestroyPipelineCache, cache)
        target = make_target(gpu, 16, 16)
        set_layout = gpu.set_layout([vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER])
        layout = gpu.pipeline_layout([set_layout], 4)
        pipelines: dict[int, Handle] = {}

        def work(number: int) -> None:
            for turn in range(4):
                own = SQUARES.replace("values[gl", f"values[{turn} * 0 + gl")
                pipelines[number] = gpu.compute_pipeline(own, layout, cache=cache if number % 2 else None)
                fragment = f"""
layout(location = 0) in vec4 color;
layout(location = 0) out vec4 result;
void main() {{ result = color * {number}.0 + {turn}.0; }}
"""
                graphics_pipeline(gpu, Drawing(VERTEX, fragment), layout, target, cache if number % 2 else None)

        on_threads(4, work)
        buffer = gpu.buffer(256, data=bytes(256))
        made, _ = gpu.storage_set(buffer)

        def record(commands: Handle) -> None:
            vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [made], 0, None)
            for number in sorted(pipelines):
                vk.vkCmdBindPipeline(commands, COMPUTE, pipelines[number])
                vk.vkCmdDispatch(commands, 1, 1, 1)
            gpu.barrier(commands)

        gpu.run(record)
        assert buffer.read() == SQUARED
        return Outcome({"threads": len(pipelines)})

    def pipeline_caches(self) -> Outcome:
        """What a cache gives can be given to a new one; caches merge; nonsense is ignored or refused."""
        gpu = self.gpu

        def new_cache(data: bytes = b"") -> Handle:
            info = vk.VkPipelineCacheCreateInfo(initialDataSize=len(data), pInitialData=vk.ffi.from_buffer(data))
            made = vk.vkCreatePipelineCache(gpu.device, info, None)
            return gpu.defer(vk.vkDestroyPipelineCache, made)

        def content(cache: Handle) -> bytes:
            size = vk.ffi.new("size_t*")
            check(vk.lib.vkGetPipelineCacheData(gpu.device, cache, size, vk.ffi.NULL))
            data = vk.ffi.new("uint8_t[]", max(1, size[0]))
            check(vk.lib.vkGetPipelineCacheData(gpu.device, cache, size, data))
            return bytes(vk.ffi.buffer(data, size[0]))

        set_layout = gpu.set_layout([vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER])
        layout = gpu.pipeline_layout([set_layout])
        first = new_cache()
        gpu.compute_pipeline(SQUARES, layout, cache=first)
        data = content(first)
        assert len(data) >= 32 and int.from_bytes(data[:4], "little") >= 32
        second = new_cache(data)
        gpu.compute_pipeline(SQUARES, layout, cache=second)
        others = [new_cache(data)]
        for nonsense in (bytes(100), data[:40] + b"nonsense"):
            with contextlib.suppress(vk.VkError):  # NVIDIA's driver refuses what others ignore
                others.append(new_cache(nonsense))
        vk.vkMergePipelineCaches(gpu.device, second, len(others), others)
        merged = content(second)
        pipeline = gpu.compute_pipeline(SQUARES, layout, cache=new_cache(merged))
        buffer = gpu.buffer(256, data=bytes(256))
        made, _ = gpu.storage_set(buffer)

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
            vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [made], 0, None)
            vk.vkCmdDispatch(commands, 1, 1, 1)
            gpu.barrier(commands)

        gpu.run(record)
        assert buffer.read() == SQUARED
        return Outcome({"has data": len(data) >= 32, "merged has data": len(merged) >= 32})

    def memory_of_odd_sizes(self) -> Outcome:
        """Allocations that are no multiple of a page, mapped in parts, bound at offsets."""
        gpu = self.gpu
        seen = []
        for size in (1, 3, 4095, 4097, 65537, 1_000_003):
            with gpu.scope():
                info = vk.VkBufferCreateInfo(size=max(4, size - size % 4), usage=COPY)
                buffer = gpu.defer(vk.vkDestroyBuffer, vk.vkCreateBuffer(gpu.device, info, None))
                needs = vk.vkGetBufferMemoryRequirements(gpu.device, buffer)
                index = gpu.memory_type(needs.memoryTypeBits, HOST)
                total = needs.size + 2 * needs.alignment + 1
                memory = gpu.allocate(total, index)
                vk.vkBindBufferMemory(gpu.device, buffer, memory, needs.alignment)
                gpu.run(lambda commands, buffer=buffer: self._fill(commands, buffer))  # type: ignore[misc]
                mapped = vk.vkMapMemory(gpu.device, memory, 0, total, 0)
                values = bytes(mapped[needs.alignment : needs.alignment + max(4, size - size % 4)])
                vk.vkUnmapMemory(gpu.device, memory)
                part = vk.vkMapMemory(gpu.device, memory, needs.alignment + 1, 2, 0)
                seen.append([values == b"\x44\x33\x22\x11" * (len(values) // 4), bytes(part).hex()])
                small = vk.VkMemoryAllocateInfo(allocationSize=size, memoryTypeIndex=index)
                vk.vkFreeMemory(gpu.device, vk.vkAllocateMemory(gpu.device, small, None), None)  # never used
        return Outcome({"seen": seen})  # type: ignore[dict-item]

    def _fill(self, commands: Handle, buffer: Handle) -> None:
        vk.vkCmdFillBuffer(commands, buffer, 0, WHOLE, 0x11223344)
        self.gpu.barrier(commands)

    def many_allocations(self) -> Outcome:
        """Hundreds of small buffers at once, all written, freed, and again."""
        gpu = self.gpu
        chance = np.random.default_rng(6)
        sums = []
        for properties in (HOST, HOST, vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT):
            with gpu.scope():
                buffers = [gpu.buffer(int(size), COPY, properties) for size in chance.integers(4, 90000, 150)]
                self._fill_all(buffers)
                sums.append(sum(first_bytes(gpu, buffers)))
        return Outcome({"sums": list(sums)})

    def _fill_all(self, buffers: list[Buffer]) -> None:
        def record(commands: Handle) -> None:
            for buffer in buffers:
                vk.vkCmdFillBuffer(commands, buffer.handle, 0, WHOLE, 255)

        self.gpu.run(record)

    def objects_in_great_number(self) -> Outcome:
        """Tens of thousands of objects made and destroyed; thousands alive at once."""
        gpu = self.gpu
        info = vk.VkSemaphoreCreateInfo()
        for _ in range(5):
            alive = [vk.vkCreateSemaphore(gpu.device, info, None) for _ in range(3000)]
            for each in reversed(alive):
                vk.vkDestroySemaphore(gpu.device, each, None)
        buffer_info = vk.VkBufferCreateInfo(size=4096, usage=COPY)
        alive = [vk.vkCreateBuffer(gpu.device, buffer_info, None) for _ in range(2000)]
        sizes = {vk.vkGetBufferMemoryRequirements(gpu.device, each).size for each in alive[::100]}
        for each in alive:
            vk.vkDestroyBuffer(gpu.device, each, None)
        return Outcome({"sizes": sorted(sizes)})


if __name__ == "__main__":
    Recording.main()
