# SPDX-License-Identifier: Apache-2.0
"""What a program finds when its device is lost. Each case has a device of its own, and none may end the process."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator

import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome, Value, run
from tests.support.guest_programs.venus.compute import SQUARES
from tests.support.guest_programs.venus.gpu import COPY, FOREVER_NS, Buffer, Gpu, Handle
from tests.support.guest_programs.venus.shaders import compile_glsl

ALL = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT
# llvmpipe ends each loop after 65535 turns: three of them, one in another, take days.
ENDLESS = """
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) volatile buffer Data { uint stop; uint count; };
void main() {
	for (uint i = 0; stop == 0 && i < 65000; i++)
		for (uint j = 0; stop == 0 && j < 65000; j++)
			for (uint k = 0; stop == 0 && k < 65000; k++) count++;
}
"""

COUNT = """
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer Data { uint count; };
void main() { count++; }
"""


def ending(call: Callable[[], object]) -> str:
    """How a call ends: the error's name, or "success"."""
    try:
        call()
    except (vk.VkError, vk.VkException) as error:
        return type(error).__name__
    return "success"


def timeline(gpu: Gpu, value: int = 0) -> Handle:
    chain = vk.VkSemaphoreTypeCreateInfo(semaphoreType=vk.VK_SEMAPHORE_TYPE_TIMELINE, initialValue=value)
    made = vk.vkCreateSemaphore(gpu.device, vk.VkSemaphoreCreateInfo(pNext=chain), None)
    return gpu.defer(vk.vkDestroySemaphore, made)


def query_pool(gpu: Gpu, count: int) -> Handle:
    info = vk.VkQueryPoolCreateInfo(queryType=vk.VK_QUERY_TYPE_TIMESTAMP, queryCount=count)
    return gpu.defer(vk.vkDestroyQueryPool, vk.vkCreateQueryPool(gpu.device, info, None))


def results(gpu: Gpu, pool: Handle, count: int, flags: int) -> Callable[[], None]:
    data = vk.ffi.new("uint64_t[]", 2 * count)

    def get() -> None:
        ret = vk.lib.vkGetQueryPoolResults(gpu.device, pool, 0, count, 16 * count, data, 16, flags)
        if ret != vk.VK_SUCCESS:
            raise vk.exception_codes[ret]

    return get


class Hang:
    """A submission that never ends (until `release`), with a fence, a timeline and queries behind it."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.buffer: Buffer = gpu.buffer(4096, data=bytes(8))
        self.fence, self.timeline, self.pool = gpu.fence(), timeline(gpu), query_pool(gpu, 2)
        target, set_layout = gpu.storage_set(self.buffer)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(ENDLESS, layout)
        point = vk.VK_PIPELINE_BIND_POINT_COMPUTE
        with gpu.recording() as self.commands:
            vk.vkCmdResetQueryPool(self.commands, self.pool, 0, 2)
            vk.vkCmdBindPipeline(self.commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(self.commands, point, layout, 0, 1, [target], 0, None)
            vk.vkCmdDispatch(self.commands, 1, 1, 1)
            for i in range(2):
                vk.vkCmdWriteTimestamp(self.commands, vk.VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, self.pool, i)

    def submit(self) -> None:
        chain = vk.VkTimelineSemaphoreSubmitInfo(signalSemaphoreValueCount=1, pSignalSemaphoreValues=[1])
        info = vk.VkSubmitInfo(
            pNext=chain,
            commandBufferCount=1,
            pCommandBuffers=[self.commands],
            signalSemaphoreCount=1,
            pSignalSemaphores=[self.timeline],
        )
        vk.vkQueueSubmit(self.gpu.queue, 1, [info], self.fence)

    def wait_fence(self) -> None:
        vk.vkWaitForFences(self.gpu.device, 1, [self.fence], vk.VK_TRUE, FOREVER_NS)

    def wait_timeline(self) -> None:
        info = vk.VkSemaphoreWaitInfo(semaphoreCount=1, pSemaphores=[self.timeline], pValues=[1])
        vk.vkWaitSemaphores(self.gpu.device, info, FOREVER_NS)

    def wait_queries(self) -> None:
        results(self.gpu, self.pool, 2, vk.VK_QUERY_RESULT_64_BIT | vk.VK_QUERY_RESULT_WAIT_BIT)()


def submit_and_wait(gpu: Gpu, commands: Handle) -> Callable[[], None]:
    def call() -> None:
        gpu.submit(commands)

    return call


def make_some(gpu: Gpu) -> None:
    _, set_layout = gpu.storage_set(gpu.buffer(5000))
    gpu.compute_pipeline(SQUARES, gpu.pipeline_layout([set_layout]))
    gpu.image(64, 64, vk.VK_IMAGE_USAGE_SAMPLED_BIT)


def at_once(calls: dict[str, Callable[[], object]]) -> dict[str, Value]:
    """All calls, each on a thread of its own."""
    found: dict[str, Value] = {}

    def one(name: str) -> None:
        found[name] = ending(calls[name])

    threads = [threading.Thread(target=one, args=(name,)) for name in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextlib.contextmanager
def doomed() -> Iterator[Gpu]:
    """A device that is destroyed with all that was made of it, lost or not."""
    gpu = Gpu()
    yield gpu
    with contextlib.suppress(vk.VkErrorDeviceLost, vk.VkErrorOutOfHostMemory):
        gpu.close()
    for end in reversed(gpu._ends):
        end()


def every_wait() -> Outcome:
    """Waits of every kind that have begun when the device is lost."""
    with doomed() as gpu:
        hang = Hang(gpu)
        hang.submit()
        calls = {
            "fence": hang.wait_fence,
            "timeline": hang.wait_timeline,
            "queries": hang.wait_queries,
            "queue": lambda: vk.vkQueueWaitIdle(gpu.queue),
        }
        return Outcome(at_once(calls))


def afterwards() -> Outcome:
    """Everything that a program may try once it knows."""
    with doomed() as gpu:
        hang, again = Hang(gpu), Hang(gpu)
        hang.submit()
        found: dict[str, Value] = {"fence": ending(hang.wait_fence)}
        found["submit"] = ending(submit_and_wait(gpu, again.commands))
        again_found = at_once({"fence": again.submit})
        found |= {f"again {name}": each for name, each in again_found.items()}
        found["again fence"] = ending(again.wait_fence)
        found["again timeline"] = ending(again.wait_timeline)
        found["again queries"] = ending(again.wait_queries)
        found["queue"] = ending(lambda: vk.vkQueueWaitIdle(gpu.queue))
        found["device"] = ending(lambda: vk.vkDeviceWaitIdle(gpu.device))
        found["reset"] = ending(lambda: vk.vkResetFences(gpu.device, 1, [hang.fence]))
        found["record"] = ending(lambda: gpu.run(gpu.barrier))
        found["create"] = ending(lambda: make_some(gpu))
        return Outcome(found)


def hang() -> Outcome:
    """Wait for what never ends, and say so on stdout: for whoever looks at others, or kills this."""
    with doomed() as gpu:
        hanging = Hang(gpu)
        hanging.submit()
        while hanging.buffer.read(8)[4:] == bytes(4):
            pass
        sys.stdout.write("HANGS\n")
        sys.stdout.flush()
        return Outcome({"fence": ending(hanging.wait_fence)})


def too_much_memory() -> Outcome:
    """Nobody is told before it is waited for."""
    with doomed() as gpu:

        def fill() -> None:
            for _ in range(40):
                gpu.buffer(4 << 20, COPY, vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)
            gpu.run(gpu.barrier)

        return Outcome({"ending": ending(fill)})


def too_many_objects() -> Outcome:
    """Of a kind whose creation has no answer; the last is used."""
    with doomed() as gpu:

        def make() -> None:
            info = vk.VkBufferCreateInfo(size=256, usage=COPY)
            made = [gpu.defer(vk.vkDestroyBuffer, vk.vkCreateBuffer(gpu.device, info, None)) for _ in range(700)]
            fill(gpu, made[-1])

        return Outcome({"ending": ending(make)})


def fill(gpu: Gpu, buffer: Handle) -> None:
    gpu.run(lambda commands: vk.vkCmdFillBuffer(commands, buffer, 0, 256, 1))


def too_long_recording() -> Outcome:
    with doomed() as gpu:
        target = gpu.buffer(4096, COPY)

        def record(commands: Handle) -> None:
            for i in range(40_000):
                vk.lib.vkCmdFillBuffer(commands, target.handle, 0, 4096, i)

        return Outcome({"ending": ending(lambda: gpu.run(record))})


def many_submissions() -> Outcome:
    """More than may be in flight by far, without a wait; none is lost."""
    with Gpu() as gpu:
        count = 20_000
        buffer = gpu.buffer(256, data=bytes(256))
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(COUNT, layout)
        point = vk.VK_PIPELINE_BIND_POINT_COMPUTE
        with gpu.recording(flags=vk.VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT) as commands:
            vk.vkCmdBindPipeline(commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
            vk.vkCmdDispatch(commands, 1, 1, 1)
            gpu.barrier(commands)
        info = vk.VkSubmitInfo(commandBufferCount=1, pCommandBuffers=[commands])
        for _ in range(count):
            vk.vkQueueSubmit(gpu.queue, 1, [info], None)
        vk.vkQueueWaitIdle(gpu.queue)
        return Outcome({"missing": count - int.from_bytes(buffer.read(4), "little")})


def poisoned_pipeline(gpu: Gpu) -> Handle:
    """One whose shader has no such entry point."""
    code = compile_glsl("comp", "layout(local_size_x = 1) in; void main() {}")
    module = vk.vkCreateShaderModule(gpu.device, vk.VkShaderModuleCreateInfo(codeSize=len(code), pCode=code), None)
    gpu.defer(vk.vkDestroyShaderModule, module)
    stage = vk.VkPipelineShaderStageCreateInfo(
        stage=vk.VK_SHADER_STAGE_COMPUTE_BIT, module=module, pName="nothing of this name"
    )
    info = vk.VkComputePipelineCreateInfo(stage=stage, layout=gpu.pipeline_layout(), basePipelineIndex=-1)
    made = vk.vkCreateComputePipelines(gpu.device, None, 1, [info], None)
    return gpu.defer(vk.vkDestroyPipeline, made[0])


def failed_pipeline() -> Outcome:
    """Its creation has an answer only where the client's driver wants one."""
    with doomed() as gpu:

        def use() -> None:
            pipeline = poisoned_pipeline(gpu)

            def record(commands: Handle) -> None:
                vk.vkCmdBindPipeline(commands, vk.VK_PIPELINE_BIND_POINT_COMPUTE, pipeline)
                vk.vkCmdDispatch(commands, 1, 1, 1)

            gpu.run(record)

        return Outcome({"ending": ending(use)})


def poisoned_everywhere() -> Outcome:
    """Objects over the limit, of many types, in what names them: each on a device of its own."""
    found: dict[str, Value] = {}
    for name, use in USES.items():
        with doomed() as gpu:
            found[name] = ending(functools.partial(use, gpu))
    return Outcome(found)


def many(gpu: Gpu, create: Callable[[], Handle], destroy: Callable[..., None]) -> Handle:
    """The last of more than there may be."""
    return [gpu.defer(destroy, create()) for _ in range(700)][-1]


def use_query_pool(gpu: Gpu) -> None:
    info = vk.VkQueryPoolCreateInfo(queryType=vk.VK_QUERY_TYPE_TIMESTAMP, queryCount=1)
    pool = many(gpu, lambda: vk.vkCreateQueryPool(gpu.device, info, None), vk.vkDestroyQueryPool)

    def record(commands: Handle) -> None:
        vk.vkCmdResetQueryPool(commands, pool, 0, 1)
        vk.vkCmdWriteTimestamp(commands, vk.VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, 0)

    with gpu.recording() as commands:
        record(commands)
    fence = gpu.fence()
    gpu.submit(commands, fence=fence)
    results(gpu, pool, 1, vk.VK_QUERY_RESULT_64_BIT | vk.VK_QUERY_RESULT_WAIT_BIT)()
    vk.vkResetQueryPool(gpu.device, pool, 0, 1)
    vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)


def use_event(gpu: Gpu) -> None:
    event = many(gpu, lambda: vk.vkCreateEvent(gpu.device, vk.VkEventCreateInfo(), None), vk.vkDestroyEvent)
    vk.vkSetEvent(gpu.device, event)
    gpu.run(lambda commands: vk.vkCmdResetEvent(commands, event, ALL))


def use_semaphore(gpu: Gpu) -> None:
    info = vk.VkSemaphoreCreateInfo()
    semaphore = many(gpu, lambda: vk.vkCreateSemaphore(gpu.device, info, None), vk.vkDestroySemaphore)
    batch = vk.VkSubmitInfo(signalSemaphoreCount=1, pSignalSemaphores=[semaphore])
    vk.vkQueueSubmit(gpu.queue, 1, [batch], None)
    vk.vkQueueWaitIdle(gpu.queue)


def use_timeline(gpu: Gpu) -> None:
    semaphore = [timeline(gpu) for _ in range(700)][-1]
    chain = vk.VkTimelineSemaphoreSubmitInfo(signalSemaphoreValueCount=1, pSignalSemaphoreValues=[5])
    batch = vk.VkSubmitInfo(pNext=chain, signalSemaphoreCount=1, pSignalSemaphores=[semaphore])
    vk.vkQueueSubmit(gpu.queue, 1, [batch], None)
    info = vk.VkSemaphoreWaitInfo(semaphoreCount=1, pSemaphores=[semaphore], pValues=[5])
    vk.vkWaitSemaphores(gpu.device, info, FOREVER_NS)
    vk.vkQueueWaitIdle(gpu.queue)


def use_fence(gpu: Gpu) -> None:
    fence = [gpu.fence() for _ in range(700)][-1]
    with gpu.recording() as commands:
        gpu.barrier(commands)
    gpu.submit(commands, fence=fence)
    vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)
    vk.vkResetFences(gpu.device, 1, [fence])


def use_command_buffer(gpu: Gpu) -> None:
    commands = [gpu.command_buffer() for _ in range(700)][-1]
    with gpu.recording(commands):
        gpu.barrier(commands)
    gpu.submit(commands)


def use_command_pool(gpu: Gpu) -> None:
    info = vk.VkCommandPoolCreateInfo(queueFamilyIndex=gpu.family)
    pool = many(gpu, lambda: vk.vkCreateCommandPool(gpu.device, info, None), vk.vkDestroyCommandPool)
    commands = gpu.command_buffer(pool=pool)
    with gpu.recording(commands):
        gpu.barrier(commands)
    gpu.submit(commands)
    vk.vkResetCommandPool(gpu.device, pool, 0)


def use_set_layout(gpu: Gpu) -> None:
    layout = [gpu.set_layout([vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER]) for _ in range(700)][-1]
    made = gpu.descriptor_sets(gpu.descriptor_pool(1, [vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER]), [layout])[0]
    write = gpu.storage_write(made, 0, gpu.buffer(256))
    vk.vkUpdateDescriptorSets(gpu.device, 1, [write], 0, None)
    gpu.compute_pipeline(SQUARES, gpu.pipeline_layout([layout]))
    gpu.run(gpu.barrier)


def use_image(gpu: Gpu) -> None:
    usage = vk.VK_IMAGE_USAGE_TRANSFER_DST_BIT | vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT | vk.VK_IMAGE_USAGE_SAMPLED_BIT
    image = [gpu.image(8, 8, usage) for _ in range(700)][-1]
    gpu.run(
        lambda commands: gpu.to_layout(
            commands, image, vk.VK_IMAGE_LAYOUT_UNDEFINED, vk.VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL
        )
    )


USES: dict[str, Callable[[Gpu], None]] = {
    each.__name__.removeprefix("use_"): each
    for each in (
        use_query_pool,
        use_event,
        use_semaphore,
        use_timeline,
        use_fence,
        use_command_buffer,
        use_command_pool,
        use_set_layout,
        use_image,
    )
}

CASES = {
    each.__name__: each
    for each in (
        every_wait,
        afterwards,
        hang,
        too_much_memory,
        too_many_objects,
        too_long_recording,
        many_submissions,
        failed_pipeline,
        poisoned_everywhere,
    )
}

if __name__ == "__main__":
    sys.exit(run(CASES))
