/* SPDX-License-Identifier: Apache-2.0
 * Descriptor pools and their sets. */
#include "execute/venus/chain.h"
#include "execute/venus/command.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/teardown.h"

void rc_vn_execute_DestroyDescriptorPool(struct rc_vn_stream *stream, struct rc_vn_DestroyDescriptorPool *args) {
	struct rc_vn_object *pool = args->descriptorPool_object;
	if (!pool) {
		return;
	}
	rc_vn_pool_remove_children(stream->context, pool);
	const VkDescriptorPool handle = (VkDescriptorPool)(uintptr_t)pool->handle;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (rc_vn_object_remove(&stream->context->objects, pool) && handle && rc_vn_device_at_rest(device)) {
		device->vk.DestroyDescriptorPool(args->device, handle, NULL);
	}
}

void rc_vn_execute_ResetDescriptorPool(struct rc_vn_stream *stream, struct rc_vn_ResetDescriptorPool *args) {
	struct rc_vn_object *pool = args->descriptorPool_object;
	args->ret = VK_ERROR_INITIALIZATION_FAILED;
	if (!pool) {
		return;
	}
	rc_vn_pool_remove_children(stream->context, pool);
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!pool->poisoned && rc_vn_device_at_rest(device)) {
		args->ret = device->vk.ResetDescriptorPool(args->device, args->descriptorPool, args->flags);
	}
}

void rc_vn_execute_AllocateDescriptorSets(struct rc_vn_stream *stream, struct rc_vn_AllocateDescriptorSets *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	VkDescriptorSetAllocateInfo info = *args->pAllocateInfo;
	struct rc_vn_object *pool = (struct rc_vn_object *)(uintptr_t)info.descriptorPool;
	const uint32_t count = args->pDescriptorSets ? info.descriptorSetCount : 0;
	VkDescriptorSet *handles = rc_vn_scratch_alloc(&stream->scratch, count * sizeof(*handles));
	if (!pool || !handles || (count && !info.pSetLayouts)) {
		rc_vn_stream_fail(stream, "VkDescriptorSetAllocateInfo", "lacks a pool or layouts");
		return;
	}
	const VkDescriptorSetVariableDescriptorCountAllocateInfo *variable =
		rc_vn_chain_find(&info, VK_STRUCTURE_TYPE_DESCRIPTOR_SET_VARIABLE_DESCRIPTOR_COUNT_ALLOCATE_INFO);
	if (variable && variable->descriptorSetCount && variable->descriptorSetCount != info.descriptorSetCount) {
		rc_vn_stream_fail(stream, "VkDescriptorSetVariableDescriptorCountAllocateInfo.descriptorSetCount",
			"is %u, not %u", variable->descriptorSetCount, info.descriptorSetCount);
		return;
	}
	args->ret = stream->decoder.poisoned ? VK_ERROR_INITIALIZATION_FAILED : VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!stream->decoder.poisoned && count && rc_vn_may_create_all(stream, VK_OBJECT_TYPE_DESCRIPTOR_SET, count)) {
		info.descriptorPool = (VkDescriptorPool)(uintptr_t)pool->handle;
		args->ret = device->vk.AllocateDescriptorSets(args->device, &info, handles);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (args->ret < 0 && stream->replying) {
			args->pDescriptorSets[i] = VK_NULL_HANDLE; /* the client knows, and never uses the id */
		} else if (!rc_vn_add_object(stream, VK_OBJECT_TYPE_DESCRIPTOR_SET,
					   (uint64_t)(uintptr_t)args->pDescriptorSets[i], (uint64_t)(uintptr_t)handles[i], pool,
					   args->ret)) {
			return; /* the host's go with their pool */
		}
	}
}

void rc_vn_execute_FreeDescriptorSets(struct rc_vn_stream *stream, struct rc_vn_FreeDescriptorSets *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	args->ret = VK_SUCCESS;
	for (uint32_t i = 0; i < args->descriptorSetCount; i++) {
		struct rc_vn_object *object = args->pDescriptorSets_objects ? args->pDescriptorSets_objects[i] : NULL;
		if (!object) {
			continue;
		}
		if (object->parent != args->descriptorPool_object) {
			rc_vn_stream_fail(stream, "pDescriptorSets", "[%u] is of another pool", i);
			return;
		}
		const VkDescriptorSet handle = (VkDescriptorSet)(uintptr_t)object->handle;
		if (rc_vn_object_remove(&stream->context->objects, object) && handle && rc_vn_device_at_rest(device)) {
			device->vk.FreeDescriptorSets(args->device, args->descriptorPool, 1, &handle);
		}
	}
}

/* What its type says is there. */
static bool is_complete(const VkWriteDescriptorSet *write) {
	switch (write->descriptorType) {
	case VK_DESCRIPTOR_TYPE_SAMPLER:
	case VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER:
	case VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE:
	case VK_DESCRIPTOR_TYPE_STORAGE_IMAGE:
	case VK_DESCRIPTOR_TYPE_INPUT_ATTACHMENT:
		return write->pImageInfo;
	case VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER:
	case VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER:
		return write->pTexelBufferView;
	case VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER:
	case VK_DESCRIPTOR_TYPE_STORAGE_BUFFER:
	case VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC:
	case VK_DESCRIPTOR_TYPE_STORAGE_BUFFER_DYNAMIC:
		return write->pBufferInfo;
	case VK_DESCRIPTOR_TYPE_INLINE_UNIFORM_BLOCK: {
		const VkWriteDescriptorSetInlineUniformBlock *block =
			rc_vn_chain_find(write, VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET_INLINE_UNIFORM_BLOCK);
		return block && block->pData && block->dataSize == write->descriptorCount;
	}
	default:
		return false;
	}
}

static bool are_complete(struct rc_vn_stream *stream, const VkWriteDescriptorSet *writes, uint32_t count) {
	for (uint32_t i = 0; i < count; i++) {
		if (writes[i].descriptorCount && !is_complete(&writes[i])) {
			rc_vn_stream_fail(
				stream, "pDescriptorWrites", "[%u] has nothing of its type (%d)", i, writes[i].descriptorType);
			return false;
		}
	}
	return true;
}

void rc_vn_execute_CmdPushDescriptorSetKHR(struct rc_vn_stream *stream, struct rc_vn_CmdPushDescriptorSetKHR *args) {
	const struct rc_vn_device_functions *vk = &rc_vn_from(rc_vn_device, args->commandBuffer_object->device)->vk;
	if (!vk->CmdPushDescriptorSetKHR || args->set >= stream->context->guest->properties.limits.maxBoundDescriptorSets) {
		rc_vn_stream_fail(stream, "set", "%u: there is no such set, or its extension was not enabled", args->set);
		return;
	}
	if (are_complete(stream, args->pDescriptorWrites, args->descriptorWriteCount) &&
		rc_vn_command_buffer_record(stream, args->commandBuffer_object)) {
		vk->CmdPushDescriptorSetKHR(args->commandBuffer, args->pipelineBindPoint, args->layout, args->set,
			args->descriptorWriteCount, args->pDescriptorWrites);
	}
}

void rc_vn_execute_UpdateDescriptorSets(struct rc_vn_stream *stream, struct rc_vn_UpdateDescriptorSets *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (stream->decoder.poisoned) {
		/* Sets that lack what was to be written must not be used by the GPU, and there is nobody to tell. */
		rc_vn_device_mark_lost(device, "descriptors of objects that could not be created");
		return;
	}
	for (uint32_t i = 0; i < args->descriptorWriteCount; i++) {
		if (!args->pDescriptorWrites[i].dstSet) {
			rc_vn_stream_fail(stream, "VkWriteDescriptorSet.dstSet", "the handle is 0");
			return;
		}
	}
	if (are_complete(stream, args->pDescriptorWrites, args->descriptorWriteCount) && rc_vn_device_at_rest(device)) {
		device->vk.UpdateDescriptorSets(args->device, args->descriptorWriteCount, args->pDescriptorWrites,
			args->descriptorCopyCount, args->pDescriptorCopies);
	}
}
