# SPDX-License-Identifier: Apache-2.0
"""Fences, semaphores, events and queries: what waits for what, and what is counted."""

from __future__ import annotations

import threading

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome
from tests.support.guest_programs.venus.gpu import FOREVER_NS, STORAGE, Buffer, Handle, check
from tests.support.guest_programs.venus.graphics import SOURCE, Drawing, graphics_pipeline, make_target, set_view
from tests.support.guest_programs.venus.suite import Suite

ALL = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT
DEVICE_LOCAL = vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
# Long enough to be seen unfinished: each invocation works for itself.
SLOW = """
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Data { uint values[]; };
layout(push_constant) uniform Push { uint turns; };
void main() {
	uint x = gl_GlobalInvocationID.x + 1;
	for (uint i = 0; i < turns; i++) x = x * 1664525u + 1013904223u;
	values[gl_GlobalInvocationID.x] += x;
}
"""


def slow_result(count: int, turns: int) -> np.ndarray:
    x = np.arange(1, count + 1, dtype=np.uint32)
    for _ in range(turns):
        x = x * np.uint32(1664525) + np.uint32(1013904223)
    return x


class Sync(Suite):
    """The cases; all on one device with two queues, if it has them."""

    queues = 2

    def _slow(self, buffer: Buffer, turns: int, groups: int) -> Handle:
        """Record SLOW over `groups` * 64 values of a buffer."""
        gpu = self.gpu
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout], 4)
        pipeline = gpu.compute_pipeline(SLOW, layout)
        point = vk.VK_PIPELINE_BIND_POINT_COMPUTE
        with gpu.recording(flags=vk.VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT) as commands:
            vk.vkCmdBindPipeline(commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
            pushed = vk.ffi.new("uint32_t[1]", [turns])
            vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, pushed)
            vk.vkCmdDispatch(commands, groups, 1, 1)
            gpu.barrier(commands)
        return commands

    def _timeline(self, value: int) -> Handle:
        chain = vk.VkSemaphoreTypeCreateInfo(semaphoreType=vk.VK_SEMAPHORE_TYPE_TIMELINE, initialValue=value)
        made = vk.vkCreateSemaphore(self.gpu.device, vk.VkSemaphoreCreateInfo(pNext=chain), None)
        return self.gpu.defer(vk.vkDestroySemaphore, made)

    def _counter(self, semaphore: Handle) -> int:
        value = vk.ffi.new("uint64_t*")
        check(vk.lib.vkGetSemaphoreCounterValue(self.gpu.device, semaphore, value))
        return int(value[0])

    def _wait(self, semaphores: list[Handle], values: list[int], timeout_ns: int = FOREVER_NS, flags: int = 0) -> bool:
        """Wait for timelines; False: time is over."""
        info = vk.VkSemaphoreWaitInfo(
            flags=flags, semaphoreCount=len(semaphores), pSemaphores=semaphores, pValues=values
        )
        try:
            vk.vkWaitSemaphores(self.gpu.device, info, timeout_ns)
        except vk.VkTimeout:
            return False
        return True

    def _submit_timeline(
        self, commands: list[Handle], wait: tuple[Handle, int] | None, signal: tuple[Handle, int] | None
    ) -> None:
        chain = vk.VkTimelineSemaphoreSubmitInfo(
            waitSemaphoreValueCount=1 if wait else 0,
            pWaitSemaphoreValues=[wait[1]] if wait else None,
            signalSemaphoreValueCount=1 if signal else 0,
            pSignalSemaphoreValues=[signal[1]] if signal else None,
        )
        info = vk.VkSubmitInfo(
            pNext=chain,
            waitSemaphoreCount=1 if wait else 0,
            pWaitSemaphores=[wait[0]] if wait else None,
            pWaitDstStageMask=[ALL] if wait else None,
            commandBufferCount=len(commands),
            pCommandBuffers=commands,
            signalSemaphoreCount=1 if signal else 0,
            pSignalSemaphores=[signal[0]] if signal else None,
        )
        vk.vkQueueSubmit(self.gpu.queue, 1, [info], None)

    def fences_polled(self) -> Outcome:
        """Waits of no time, again and again, until the work is done."""
        gpu = self.gpu
        buffer = gpu.buffer(64 * 64 * 4, data=bytes(64 * 64 * 4))
        commands, fence = self._slow(buffer, 5000, 64), gpu.fence()
        rounds = 5
        for _ in range(rounds):
            gpu.submit(commands, fence=fence)
            while True:
                try:
                    vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, 0)
                    break
                except vk.VkTimeout:
                    continue
            vk.vkGetFenceStatus(gpu.device, fence)
            vk.vkResetFences(gpu.device, 1, [fence])
            try:
                vk.vkGetFenceStatus(gpu.device, fence)
                raise AssertionError("the fence is signalled after its reset")
            except vk.VkNotReady:
                pass
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(4096, 5000) * np.uint32(rounds)).all()
        return Outcome({"rounds": rounds})

    def many_fences(self) -> Outcome:
        """Waiting for any and for all of many; a fence made signalled."""
        gpu = self.gpu
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        commands = self._slow(buffer, 10, 1)
        fences = [gpu.fence() for _ in range(40)]
        for fence in fences:
            gpu.submit(commands, fence=fence)
        vk.vkWaitForFences(gpu.device, 40, fences, vk.VK_FALSE, FOREVER_NS)
        vk.vkWaitForFences(gpu.device, 40, fences, vk.VK_TRUE, FOREVER_NS)
        signalled = vk.vkCreateFence(gpu.device, vk.VkFenceCreateInfo(flags=vk.VK_FENCE_CREATE_SIGNALED_BIT), None)
        gpu.defer(vk.vkDestroyFence, signalled)
        vk.vkWaitForFences(gpu.device, 1, [signalled], vk.VK_TRUE, 0)
        vk.vkResetFences(gpu.device, 1, [signalled])
        timed_out = False
        try:
            vk.vkWaitForFences(gpu.device, 1, [signalled], vk.VK_TRUE, 30_000_000)
        except vk.VkTimeout:
            timed_out = True
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 10) * np.uint32(40)).all()
        return Outcome({"timed out": timed_out})

    def empty_submissions(self) -> Outcome:
        gpu = self.gpu
        fence = gpu.fence()
        for _ in range(200):
            gpu.submit(fence=fence)
            vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)
            vk.vkResetFences(gpu.device, 1, [fence])
        vk.vkQueueSubmit(gpu.queue, 0, None, fence)
        vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)
        vk.vkQueueWaitIdle(gpu.queue)
        return Outcome()

    def binary_semaphores(self) -> Outcome:
        """A chain of submissions, each waiting for the one before; between two queues where there are two."""
        gpu = self.gpu
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        commands = self._slow(buffer, 100, 1)
        queues = [vk.vkGetDeviceQueue(gpu.device, gpu.family, i) for i in range(gpu.queue_count)]
        links = [vk.vkCreateSemaphore(gpu.device, vk.VkSemaphoreCreateInfo(), None) for _ in range(20)]
        for link in links:
            gpu.defer(vk.vkDestroySemaphore, link)
        for i in range(20):
            waits = links[i - 1 : i] if i else []
            info = vk.VkSubmitInfo(
                waitSemaphoreCount=len(waits),
                pWaitSemaphores=waits,
                pWaitDstStageMask=[ALL] * len(waits),
                commandBufferCount=1,
                pCommandBuffers=[commands],
                signalSemaphoreCount=1,
                pSignalSemaphores=[links[i]],
            )
            vk.vkQueueSubmit(queues[i % len(queues)], 1, [info], None)
        vk.vkDeviceWaitIdle(gpu.device)
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 100) * np.uint32(20)).all()
        return Outcome({"queues": gpu.queue_count})

    def timeline_semaphores(self) -> Outcome:
        gpu = self.gpu
        gpu.need(timelineSemaphore=gpu.features_12["timelineSemaphore"])
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        commands = self._slow(buffer, 100, 1)
        first, second = self._timeline(5), self._timeline(0)
        seen: list[int | bool] = [self._counter(first), self._counter(second)]
        for i in range(1, 11):
            self._submit_timeline([commands], (second, i - 1) if i > 1 else None, (second, i))
        assert self._wait([second], [10])
        seen.append(self._counter(second))
        vk.vkSignalSemaphore(gpu.device, vk.VkSemaphoreSignalInfo(semaphore=first, value=77))
        seen += [self._counter(first), self._wait([first, second], [77, 10], 0)]
        seen += [self._wait([first], [78], 20_000_000), self._wait([first, second], [78, 3], 0, 1)]  # any
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 100) * np.uint32(10)).all()
        return Outcome({"seen": list(seen)})

    def wait_before_signal(self) -> Outcome:
        """Work is submitted whose wait the host fulfils later, from another thread; the host waits meanwhile."""
        gpu = self.gpu
        gpu.need(timelineSemaphore=gpu.features_12["timelineSemaphore"])
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        commands = self._slow(buffer, 100, 1)
        gate, done = self._timeline(0), self._timeline(0)
        self._submit_timeline([commands], (gate, 3), (done, 1))
        early = self._wait([done], [1], 50_000_000)
        before = any(buffer.read())

        def open_gate() -> None:
            for value in (1, 3):
                vk.vkSignalSemaphore(gpu.device, vk.VkSemaphoreSignalInfo(semaphore=gate, value=value))

        thread = threading.Timer(0.1, open_gate)
        thread.start()
        assert self._wait([done], [1])
        thread.join()
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 100)).all()
        return Outcome({"early": early, "before": before})

    def submit2_with_timelines(self) -> Outcome:
        gpu = self.gpu
        gpu.need(**gpu.features_13, timelineSemaphore=gpu.features_12["timelineSemaphore"])
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        commands, line = self._slow(buffer, 100, 1), self._timeline(0)
        infos = []
        for i in range(5):
            infos.append(
                vk.VkSubmitInfo2(
                    waitSemaphoreInfoCount=1,
                    pWaitSemaphoreInfos=[
                        vk.VkSemaphoreSubmitInfo(
                            semaphore=line, value=i, stageMask=vk.VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT
                        )
                    ],
                    commandBufferInfoCount=1,
                    pCommandBufferInfos=[vk.VkCommandBufferSubmitInfo(commandBuffer=commands)],
                    signalSemaphoreInfoCount=1,
                    pSignalSemaphoreInfos=[
                        vk.VkSemaphoreSubmitInfo(
                            semaphore=line, value=i + 1, stageMask=vk.VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT
                        )
                    ],
                )
            )
        fence = gpu.fence()
        vk.vkQueueSubmit2(gpu.queue, 5, infos, fence)
        vk.vkWaitForFences(gpu.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)
        assert self._wait([line], [5])
        assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 100) * np.uint32(5)).all()
        return Outcome({"counter": self._counter(line)})

    def events(self) -> Outcome:
        """Set and reset by host and device; a wait inside a command buffer."""
        gpu = self.gpu
        event = gpu.defer(vk.vkDestroyEvent, vk.vkCreateEvent(gpu.device, vk.VkEventCreateInfo(), None))
        seen = [vk.lib.vkGetEventStatus(gpu.device, event)]
        for change in (vk.vkSetEvent, vk.vkResetEvent):
            change(gpu.device, event)
            seen.append(vk.lib.vkGetEventStatus(gpu.device, event))
        buffer = gpu.buffer(16)

        def set_and_wait(commands: Handle) -> None:
            vk.vkCmdFillBuffer(commands, buffer.handle, 0, 16, 1)
            vk.vkCmdSetEvent(commands, event, vk.VK_PIPELINE_STAGE_TRANSFER_BIT)
            barrier = vk.VkMemoryBarrier(
                srcAccessMask=vk.VK_ACCESS_TRANSFER_WRITE_BIT, dstAccessMask=vk.VK_ACCESS_TRANSFER_WRITE_BIT
            )
            stage = vk.VK_PIPELINE_STAGE_TRANSFER_BIT
            vk.vkCmdWaitEvents(commands, 1, [event], stage, stage, 1, [barrier], 0, None, 0, None)
            vk.vkCmdFillBuffer(commands, buffer.handle, 4, 8, 2)
            gpu.barrier(commands)

        gpu.run(set_and_wait)
        seen.append(vk.lib.vkGetEventStatus(gpu.device, event))
        gpu.run(lambda commands: vk.vkCmdResetEvent(commands, event, ALL))
        seen.append(vk.lib.vkGetEventStatus(gpu.device, event))
        return Outcome({"seen": [int(each) for each in seen]}, {"buffer": buffer.read()})

    def occlusion_queries(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, 100, 100)
        vertex = """
layout(push_constant) uniform Push { float size; };
void main() {
	vec2 place = vec2(gl_VertexIndex & 1, gl_VertexIndex >> 1);
	gl_Position = vec4(place * size * 2.0 - 1.0, 0.0, 1.0);
}
"""
        fragment = "layout(location = 0) out vec4 result; void main() { result = vec4(1.0); }"
        layout = gpu.pipeline_layout([], 4)
        strip = vk.VK_PRIMITIVE_TOPOLOGY_TRIANGLE_STRIP
        pipeline = graphics_pipeline(gpu, Drawing(vertex, fragment, strip, False), layout, target)
        pool = self._query_pool(vk.VK_QUERY_TYPE_OCCLUSION, 4)
        copied = gpu.buffer(4 * 16, STORAGE)

        def record(commands: Handle) -> None:
            vk.vkCmdResetQueryPool(commands, pool, 0, 4)
            target.begin(commands)
            set_view(commands, 100, 100)
            vk.vkCmdBindPipeline(commands, vk.VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline)
            for i, size in enumerate((0.0, 0.1, 0.5, 1.0)):
                pushed = vk.ffi.new("float[1]", [size])
                vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, pushed)
                vk.vkCmdBeginQuery(commands, pool, i, vk.VK_QUERY_CONTROL_PRECISE_BIT)
                vk.vkCmdDraw(commands, 4, 1, 0, 0)
                vk.vkCmdEndQuery(commands, pool, i)
            vk.vkCmdEndRenderPass(commands)
            flags = vk.VK_QUERY_RESULT_64_BIT | vk.VK_QUERY_RESULT_WAIT_BIT | vk.VK_QUERY_RESULT_WITH_AVAILABILITY_BIT
            vk.vkCmdCopyQueryPoolResults(commands, pool, 0, 4, copied.handle, 0, 16, flags)
            gpu.barrier(commands)

        gpu.run(record)
        found = self._query_results(pool, 4, 1)
        assert found == [0, 100, 2500, 10000]
        return Outcome(
            {"samples": list(found)}, {"copied": copied.read(), "pixels": gpu.read_image(target.images[0], SOURCE)}
        )

    def _query_pool(self, kind: int, count: int, statistics: int = 0) -> Handle:
        info = vk.VkQueryPoolCreateInfo(queryType=kind, queryCount=count, pipelineStatistics=statistics)
        return self.gpu.defer(vk.vkDestroyQueryPool, vk.vkCreateQueryPool(self.gpu.device, info, None))

    def _query_results(
        self, pool: Handle, count: int, values: int, flags: int = vk.VK_QUERY_RESULT_WAIT_BIT
    ) -> list[int]:
        data = vk.ffi.new("uint64_t[]", count * values)
        size, flags = 8 * count * values, flags | vk.VK_QUERY_RESULT_64_BIT
        check(vk.lib.vkGetQueryPoolResults(self.gpu.device, pool, 0, count, size, data, 8 * values, flags))
        return [int(each) for each in data]

    def pipeline_statistics(self) -> Outcome:
        gpu = self.gpu
        gpu.need(pipelineStatisticsQuery=bool(gpu.features.pipelineStatisticsQuery))
        buffer = gpu.buffer(64 * 64 * 4, data=bytes(64 * 64 * 4))
        inside = self._slow(buffer, 1, 64)
        del inside  # only what it made is of use: a pipeline in the driver's cache
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout], 4)
        pipeline = gpu.compute_pipeline(SLOW, layout)
        bit = vk.VK_QUERY_PIPELINE_STATISTIC_COMPUTE_SHADER_INVOCATIONS_BIT
        pool = self._query_pool(vk.VK_QUERY_TYPE_PIPELINE_STATISTICS, 1, bit)
        point = vk.VK_PIPELINE_BIND_POINT_COMPUTE

        def record(commands: Handle) -> None:
            vk.vkCmdResetQueryPool(commands, pool, 0, 1)
            vk.vkCmdBeginQuery(commands, pool, 0, 0)
            vk.vkCmdBindPipeline(commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
            pushed = vk.ffi.new("uint32_t[1]", [3])
            vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, pushed)
            vk.vkCmdDispatch(commands, 64, 1, 1)
            vk.vkCmdEndQuery(commands, pool, 0)

        gpu.run(record)
        return Outcome({"invocations": list(self._query_results(pool, 1, 1))})

    def timestamps(self) -> Outcome:
        """Times grow; a reset by the host makes them unavailable."""
        gpu = self.gpu
        pool = self._query_pool(vk.VK_QUERY_TYPE_TIMESTAMP, 3)
        buffer = gpu.buffer(64 * 4, data=bytes(256))
        inside = self._slow(buffer, 1000, 1)
        stage = vk.VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT

        def first(commands: Handle) -> None:
            vk.vkCmdResetQueryPool(commands, pool, 0, 3)
            vk.vkCmdWriteTimestamp(commands, stage, pool, 0)

        gpu.run(first)
        gpu.submit(inside)
        gpu.run(lambda commands: vk.vkCmdWriteTimestamp(commands, stage, pool, 1))
        gpu.run(lambda commands: vk.vkCmdWriteTimestamp(commands, stage, pool, 2))
        times = self._query_results(pool, 3, 1)
        assert times == sorted(times) and times[0] > 0
        unavailable = None
        if gpu.features_12["hostQueryReset"]:
            vk.vkResetQueryPool(gpu.device, pool, 0, 3)
            flags = vk.VK_QUERY_RESULT_WITH_AVAILABILITY_BIT
            data = vk.ffi.new("uint64_t[]", 6)
            size = vk.ffi.sizeof(data)
            flags |= vk.VK_QUERY_RESULT_64_BIT
            result = vk.lib.vkGetQueryPoolResults(gpu.device, pool, 0, 3, size, data, 16, flags)
            unavailable = [int(result), *(int(data[i]) for i in (1, 3, 5))]
        return Outcome({"grow": True, "after reset": unavailable})  # type: ignore[dict-item]

    def two_queues(self) -> Outcome:
        """Each queue counts for itself, from a thread of its own."""
        gpu = self.gpu
        queues = [vk.vkGetDeviceQueue(gpu.device, gpu.family, i) for i in range(gpu.queue_count)]
        buffers = [gpu.buffer(64 * 4, data=bytes(256)) for _ in queues]
        recorded = [self._slow(buffer, 100, 1) for buffer in buffers]
        fences = [gpu.fence() for _ in queues]

        def work(i: int) -> None:
            for _ in range(30):
                gpu.submit(recorded[i], fence=fences[i], queue=queues[i])
                vk.vkWaitForFences(gpu.device, 1, [fences[i]], vk.VK_TRUE, FOREVER_NS)
                vk.vkResetFences(gpu.device, 1, [fences[i]])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(queues))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for buffer in buffers:
            assert (np.frombuffer(buffer.read(), np.uint32) == slow_result(64, 100) * np.uint32(30)).all()
        return Outcome({"queues": len(queues)})


if __name__ == "__main__":
    Sync.main()
