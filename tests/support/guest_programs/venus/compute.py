# SPDX-License-Identifier: Apache-2.0
"""Compute with known results: what is dispatched, with which descriptors, constants and addresses."""

from __future__ import annotations

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome
from tests.support.guest_programs.venus.gpu import DEVICE_ADDRESS_USAGE, HOST, STORAGE, WHOLE, Handle
from tests.support.guest_programs.venus.suite import Suite

COMPUTE = vk.VK_PIPELINE_BIND_POINT_COMPUTE
STORAGE_TYPE = vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER
SQUARES = """
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Data { uint values[]; };
void main() { values[gl_GlobalInvocationID.x] = gl_GlobalInvocationID.x * gl_GlobalInvocationID.x; }
"""
# values[i] = values[i] * factor + addend, both pushed; the local size is a constant of the pipeline.
LINEAR = """
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint bias = 0;
layout(set = 0, binding = 0) buffer Data { uint values[]; };
layout(push_constant) uniform Push { uint factor; uint addend; uint first; };
void main() { uint i = first + gl_GlobalInvocationID.x; values[i] = values[i] * factor + addend + bias; }
"""
ADD = """
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer A { uint a[]; };
layout(set = 0, binding = 1) buffer B { uint b[]; };
layout(set = 0, binding = 2) buffer C { uint c[]; };
void main() { uint i = gl_GlobalInvocationID.x; c[i] = a[i] + b[i]; }
"""
REDUCE = """
layout(local_size_x = 256) in;
layout(set = 0, binding = 0) buffer Data { uint values[]; };
layout(set = 0, binding = 1) buffer Sum { uint total; uint groups; };
shared uint part[256];
void main() {
	uint i = gl_LocalInvocationID.x;
	part[i] = values[gl_GlobalInvocationID.x];
	for (uint step = 128; step > 0; step >>= 1) {
		barrier();
		if (i < step) part[i] += part[i + step];
	}
	barrier();
	if (i == 0) { atomicAdd(total, part[0]); atomicAdd(groups, 1); }
}
"""
ADDRESS = """
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430) buffer Block { uint values[]; };
layout(push_constant) uniform Push { uint64_t source; uint64_t target; };
void main() {
	uint i = gl_GlobalInvocationID.x;
	Block(target).values[i] = Block(source).values[i] ^ 0x5a5a5a5a;
}
"""
FLOATS = """
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Data { float values[]; };
void main() {
	uint i = gl_GlobalInvocationID.x;
	float x = float(i) / 64.0;
	values[i] = sin(x) * exp(-x * 0.1) + sqrt(x) - pow(x, 0.25);
}
"""


def words(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, count, np.uint32)


class Compute(Suite):
    """The cases; all on one device."""

    def _dispatch(self, pipeline: Handle, layout: Handle, sets: list[Handle], groups: int) -> None:
        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
            if sets:
                vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, len(sets), sets, 0, None)
            vk.vkCmdDispatch(commands, groups, 1, 1)
            self.gpu.barrier(commands)

        self.gpu.run(record)

    def storage_buffer(self) -> Outcome:
        gpu = self.gpu
        buffer = gpu.buffer(64 * 64 * 4)
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout])
        self._dispatch(gpu.compute_pipeline(SQUARES, layout), layout, [target], 64)
        assert buffer.read() == (np.arange(4096, dtype=np.uint32) ** 2).tobytes()
        return Outcome(raw={"squares": buffer.read()})

    def push_and_specialization_constants(self) -> Outcome:
        gpu = self.gpu
        start = words(1024, 1)
        buffer = gpu.buffer(start.nbytes, data=start.tobytes())
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout], 12)
        pipelines = [gpu.compute_pipeline(LINEAR, layout, (size, bias)) for size, bias in ((32, 5), (128, 7))]
        expected = start.copy()

        def record(commands: Handle) -> None:
            vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [target], 0, None)
            for turn in range(20):
                size, bias = ((32, 5), (128, 7))[turn % 2]
                factor, addend, first = 3 + turn, 1000 * turn, 128 * (turn % 5)
                vk.vkCmdBindPipeline(commands, COMPUTE, pipelines[turn % 2])
                pushed = vk.ffi.new("uint32_t[3]", [factor, addend, first])
                vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 12, pushed)
                vk.vkCmdDispatch(commands, 2, 1, 1)
                gpu.barrier(commands)
                part = slice(first, first + 2 * size)
                expected[part] = expected[part] * np.uint32(factor) + np.uint32(addend + bias)

        gpu.run(record)
        assert buffer.read() == expected.tobytes()
        return Outcome(raw={"values": buffer.read()})

    def several_sets_and_dispatches(self) -> Outcome:
        """Sums of sums, each dispatch reading what the last one wrote."""
        gpu = self.gpu
        layout_types = [STORAGE_TYPE] * 3
        set_layout = gpu.set_layout(layout_types)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(ADD, layout)
        data = [words(640, seed) for seed in range(4)]
        buffers = [gpu.buffer(640 * 4, data=part.tobytes()) for part in data]
        chains = [(0, 1, 2), (2, 1, 3), (3, 3, 0)]
        sets = gpu.descriptor_sets(gpu.descriptor_pool(3, layout_types), [set_layout] * 3)
        for target, chain in zip(sets, chains, strict=True):
            writes = [gpu.storage_write(target, i, buffers[index]) for i, index in enumerate(chain)]
            vk.vkUpdateDescriptorSets(gpu.device, 3, writes, 0, None)

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
            for target in sets:
                vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [target], 0, None)
                vk.vkCmdDispatch(commands, 10, 1, 1)
                gpu.barrier(commands)

        gpu.run(record)
        for a, b, c in chains:
            data[c] = data[a] + data[b]
        assert [buffer.read() for buffer in buffers] == [part.tobytes() for part in data]
        return Outcome(raw={f"buffer{i}": buffer.read() for i, buffer in enumerate(buffers)})

    def shared_memory_and_atomics(self) -> Outcome:
        gpu = self.gpu
        data = words(256 * 100, 9) >> 8
        source, total = gpu.buffer(data.nbytes, data=data.tobytes()), gpu.buffer(8, data=bytes(8))
        target, set_layout = gpu.storage_set(source, total)
        layout = gpu.pipeline_layout([set_layout])
        self._dispatch(gpu.compute_pipeline(REDUCE, layout), layout, [target], 100)
        found = np.frombuffer(total.read(), np.uint32)
        assert found[0] == data.sum(dtype=np.uint32) and found[1] == 100
        return Outcome({"total": int(found[0])})

    def floating_point(self) -> Outcome:
        """The compiler and the processor are the same on both sides: so must be the last bit."""
        gpu = self.gpu
        buffer = gpu.buffer(4096 * 4)
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout])
        self._dispatch(gpu.compute_pipeline(FLOATS, layout), layout, [target], 64)
        x = np.arange(4096) / 64
        np.testing.assert_allclose(
            np.frombuffer(buffer.read(), np.float32),
            np.sin(x) * np.exp(-x * 0.1) + np.sqrt(x) - x**0.25,
            atol=1e-3,
        )
        return Outcome(raw={"values": buffer.read()})

    def descriptor_pools_freed_and_reset(self) -> Outcome:
        """Sets come and go many times."""
        gpu = self.gpu
        types = [STORAGE_TYPE]
        set_layout = gpu.set_layout(types)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(SQUARES, layout)
        free_bit = vk.VK_DESCRIPTOR_POOL_CREATE_FREE_DESCRIPTOR_SET_BIT
        freed, reset = gpu.descriptor_pool(8, types, free_bit), gpu.descriptor_pool(8, types)
        buffers = [gpu.buffer(64 * 4, data=bytes(256)) for _ in range(8)]
        for turn in range(12):
            pool = (freed, reset)[turn % 2]
            sets = gpu.descriptor_sets(pool, [set_layout] * 8)
            writes = [gpu.storage_write(each, 0, buffer) for each, buffer in zip(sets, buffers, strict=True)]
            vk.vkUpdateDescriptorSets(gpu.device, 8, writes, 0, None)
            self._dispatch(pipeline, layout, [sets[turn % 8]], 1)
            if pool is freed:
                vk.vkFreeDescriptorSets(gpu.device, pool, 8, sets)
            else:
                vk.vkResetDescriptorPool(gpu.device, pool, 0)
        squares = (np.arange(64, dtype=np.uint32) ** 2).tobytes()
        written = [buffer.read() == squares for buffer in buffers]
        return Outcome({"written": list(written)})

    def descriptor_updates_by_the_thousand(self) -> Outcome:
        """One call that writes 1500 sets (past what fits a ring), one that copies them."""
        gpu = self.gpu
        count, types = 1500, [STORAGE_TYPE]
        set_layout = gpu.set_layout(types)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(SQUARES, layout)
        buffers = [gpu.buffer(256, data=bytes(256)) for _ in range(4)]
        pool = gpu.descriptor_pool(2 * count, types)
        sets = gpu.descriptor_sets(pool, [set_layout] * (2 * count))
        writes = [gpu.storage_write(each, 0, buffers[i % 4]) for i, each in enumerate(sets[:count])]
        vk.vkUpdateDescriptorSets(gpu.device, count, writes, 0, None)
        copies = [
            vk.VkCopyDescriptorSet(
                srcSet=sets[i], srcBinding=0, dstSet=sets[count + i], dstBinding=0, descriptorCount=1
            )
            for i in range(count)
        ]
        vk.vkUpdateDescriptorSets(gpu.device, 0, None, count, copies)
        self._dispatch(pipeline, layout, [sets[count + 1498]], 1)  # buffer 2
        return Outcome({"written": [any(buffer.read()) for buffer in buffers]})

    def update_template(self) -> Outcome:
        """A template is expanded by the client."""
        gpu = self.gpu
        types = [STORAGE_TYPE] * 3
        set_layout = gpu.set_layout(types)
        layout = gpu.pipeline_layout([set_layout])
        data = [words(64, seed) for seed in range(2)]
        buffers = [gpu.buffer(256, data=part.tobytes()) for part in data] + [gpu.buffer(256)]
        target = gpu.descriptor_sets(gpu.descriptor_pool(1, types), [set_layout])[0]
        size = vk.ffi.sizeof("VkDescriptorBufferInfo")
        entries = [
            vk.VkDescriptorUpdateTemplateEntry(0, 0, 3, STORAGE_TYPE, 0, size)  # overflows into bindings 1 and 2
        ]
        info = vk.VkDescriptorUpdateTemplateCreateInfo(
            descriptorUpdateEntryCount=1,
            pDescriptorUpdateEntries=entries,
            templateType=vk.VK_DESCRIPTOR_UPDATE_TEMPLATE_TYPE_DESCRIPTOR_SET,
            descriptorSetLayout=set_layout,
        )
        template = vk.vkCreateDescriptorUpdateTemplate(gpu.device, info, None)
        gpu.defer(vk.vkDestroyDescriptorUpdateTemplate, template)
        infos = vk.ffi.new("VkDescriptorBufferInfo[]", [(buffer.handle, 0, WHOLE) for buffer in buffers])
        vk.lib.vkUpdateDescriptorSetWithTemplate(gpu.device, target, template, infos)
        self._dispatch(gpu.compute_pipeline(ADD, layout), layout, [target], 1)
        assert buffers[2].read() == (data[0] + data[1]).tobytes()
        return Outcome(raw={"sum": buffers[2].read()})

    def push_descriptors(self) -> Outcome:
        gpu = self.gpu
        push = gpu.proc("vkCmdPushDescriptorSetKHR", "VK_KHR_push_descriptor")
        flags = vk.VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR
        layout = gpu.pipeline_layout([gpu.set_layout([STORAGE_TYPE] * 3, flags)])
        data = [words(64, seed) for seed in range(3)]
        buffers = [gpu.buffer(256, data=part.tobytes()) for part in data]

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, gpu.compute_pipeline(ADD, layout))
            for chain in ((0, 1, 2), (1, 2, 0)):
                writes = [gpu.storage_write(None, i, buffers[index]) for i, index in enumerate(chain)]
                push(commands, COMPUTE, layout, 0, 3, writes)
                vk.vkCmdDispatch(commands, 1, 1, 1)
                gpu.barrier(commands)

        gpu.run(record)
        data[2] = data[0] + data[1]
        data[0] = data[1] + data[2]
        assert [buffer.read() for buffer in buffers] == [part.tobytes() for part in data]
        return Outcome(raw={"first": buffers[0].read()})

    def buffer_device_address(self) -> Outcome:
        gpu = self.gpu
        gpu.need(bufferDeviceAddress=gpu.features_12["bufferDeviceAddress"], shaderInt64=bool(gpu.features.shaderInt64))
        usage = STORAGE | DEVICE_ADDRESS_USAGE
        data = words(256, 4)
        source, target = gpu.buffer(1024, usage, data=data.tobytes()), gpu.buffer(1024, usage)
        addresses = []
        for buffer in (source, target):
            info = vk.VkBufferDeviceAddressInfo(buffer=buffer.handle)
            addresses.append(vk.lib.vkGetBufferDeviceAddress(gpu.device, vk.ffi.addressof(info)))
        assert all(addresses)
        layout = gpu.pipeline_layout([], 16)
        pipeline = gpu.compute_pipeline(ADDRESS, layout)

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
            pushed = vk.ffi.new("uint64_t[2]", addresses)
            vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 16, pushed)
            vk.vkCmdDispatch(commands, 4, 1, 1)
            gpu.barrier(commands)

        gpu.run(record)
        assert target.read() == (data ^ 0x5A5A5A5A).tobytes()
        return Outcome(raw={"values": target.read()})

    def indirect_dispatch(self) -> Outcome:
        gpu = self.gpu
        buffer = gpu.buffer(64 * 64 * 4, data=bytes(64 * 64 * 4))
        groups = np.array([7, 1, 1], np.uint32)
        usage = STORAGE | vk.VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT
        arguments = gpu.buffer(12, usage, HOST, groups.tobytes())
        target, set_layout = gpu.storage_set(buffer)
        layout = gpu.pipeline_layout([set_layout])
        pipeline = gpu.compute_pipeline(SQUARES, layout)

        def record(commands: Handle) -> None:
            vk.vkCmdBindPipeline(commands, COMPUTE, pipeline)
            vk.vkCmdBindDescriptorSets(commands, COMPUTE, layout, 0, 1, [target], 0, None)
            vk.vkCmdDispatchIndirect(commands, arguments.handle, 0)
            gpu.barrier(commands)

        gpu.run(record)
        return Outcome({"nonzero": int(np.count_nonzero(np.frombuffer(buffer.read(), np.uint32)))})

    def fills_copies_and_updates(self) -> Outcome:
        """Transfers through device-local memory, of odd offsets and sizes."""
        gpu = self.gpu
        size = 1 << 20
        local = gpu.buffer(size, properties=vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)
        data = words(size // 4, 12).tobytes()
        source, back = gpu.buffer(size, data=data), gpu.buffer(size)
        update = bytes(range(256)) * 16
        inline = vk.ffi.new("uint8_t[]", update)

        def record(commands: Handle) -> None:
            whole = [vk.VkBufferCopy(0, 0, size)]
            vk.vkCmdCopyBuffer(commands, source.handle, local.handle, 1, whole)
            gpu.barrier(commands)
            vk.vkCmdFillBuffer(commands, local.handle, 1000, 2000, 0xDEADBEEF)
            vk.vkCmdUpdateBuffer(commands, local.handle, 8192, len(update), inline)
            gpu.barrier(commands)
            parts = [vk.VkBufferCopy(3, 500001, 77777), vk.VkBufferCopy(1, 700003, 1)]
            vk.vkCmdCopyBuffer(commands, source.handle, local.handle, 2, parts)
            vk.vkCmdFillBuffer(commands, local.handle, size - 16, WHOLE, 7)
            gpu.barrier(commands)
            vk.vkCmdCopyBuffer(commands, local.handle, back.handle, 1, whole)
            gpu.barrier(commands)

        gpu.run(record)
        expected = bytearray(data)
        expected[1000:3000] = np.full(500, 0xDEADBEEF, np.uint32).tobytes()
        expected[8192 : 8192 + len(update)] = update
        expected[500001 : 500001 + 77777] = data[3 : 3 + 77777]
        expected[700003] = data[1]
        expected[-16:] = np.full(4, 7, np.uint32).tobytes()
        assert back.read() == bytes(expected)
        return Outcome({"bytes": size})


if __name__ == "__main__":
    Compute.main()
