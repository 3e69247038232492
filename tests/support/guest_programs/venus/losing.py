# SPDX-License-Identifier: Apache-2.0
"""What a program finds when its device is lost. Each case has a device of its own, and none may end the process."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome, Value, run
from tests.support.guest_programs.venus.compute import SQUARES
from tests.support.guest_programs.venus.gpu import FOREVER_NS, Buffer, Gpu, Handle

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
    with contextlib.suppress(vk.VkErrorDeviceLost):
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


CASES = {each.__name__: each for each in (every_wait, afterwards)}

if __name__ == "__main__":
    sys.exit(run(CASES))
