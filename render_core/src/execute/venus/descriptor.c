/* SPDX-License-Identifier: Apache-2.0
 * Descriptor pools and their sets. */
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
	args->ret = stream->decoder.poisoned ? VK_ERROR_INITIALIZATION_FAILED : VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!stream->decoder.poisoned && count && rc_vn_may_create(stream, VK_OBJECT_TYPE_DESCRIPTOR_SET)) {
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

void rc_vn_execute_UpdateDescriptorSets(struct rc_vn_stream *stream, struct rc_vn_UpdateDescriptorSets *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (stream->decoder.poisoned) {
		/* Sets that lack what was to be written must not be used by the GPU, and there is nobody to tell. */
		rc_vn_device_mark_lost(device, "descriptors of objects that could not be created");
		return;
	}
	if (rc_vn_device_at_rest(device)) {
		device->vk.UpdateDescriptorSets(args->device, args->descriptorWriteCount, args->pDescriptorWrites,
			args->descriptorCopyCount, args->pDescriptorCopies);
	}
}
