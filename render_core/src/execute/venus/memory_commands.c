/* SPDX-License-Identifier: Apache-2.0
 * vkAllocateMemory and what else is asked of VkDeviceMemory. */
#include <stdlib.h>

#include "execute/venus/memory.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/required.h"

void rc_vn_execute_AllocateMemory(struct rc_vn_stream *stream, struct rc_vn_AllocateMemory *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!rc_vn_required(stream, args->pAllocateInfo, "pAllocateInfo") ||
		!rc_vn_required(stream, args->pMemory, "pMemory")) {
		return;
	}
	struct rc_vn_memory *memory = calloc(1, sizeof(*memory));
	if (!memory) {
		rc_vn_context_fail(stream->context, "out of memory");
		return;
	}
	args->ret = VK_ERROR_OUT_OF_DEVICE_MEMORY;
	if (!stream->decoder.poisoned && rc_vn_may_create(stream, VK_OBJECT_TYPE_DEVICE_MEMORY)) {
		args->ret = rc_vn_memory_allocate(device, args->pAllocateInfo, memory);
	}
	if (args->ret < 0 && stream->replying) {
		rc_vn_memory_free(device, memory);
		free(memory);
		*args->pMemory = VK_NULL_HANDLE; /* the client knows, and never uses the id */
		return;
	}
	struct rc_vn_memory kept = *memory;
	if (!rc_vn_add_typed_object(stream, &memory->base, VK_OBJECT_TYPE_DEVICE_MEMORY,
			(uint64_t)(uintptr_t)*args->pMemory, memory->base.handle, args->device_object, args->ret)) {
		rc_vn_memory_free(device, &kept);
		return;
	}
	if (args->ret < 0) {
		/* The client believes that it has the memory, and asks nothing that this could be the answer to. */
		rc_vn_device_mark_lost(device, "memory could not be allocated");
	}
}

void rc_vn_execute_FreeMemory(struct rc_vn_stream *stream, struct rc_vn_FreeMemory *args) {
	struct rc_vn_object *object = args->memory_object;
	if (object && rc_vn_object_remove(&stream->context->objects, object)) {
		rc_vn_memory_free(rc_vn_from(rc_vn_device, args->device_object), rc_vn_from(rc_vn_memory, object));
	}
}

/* Clients map the blob: there is nothing to do, and stock ones do not ask. All that they can map is coherent. */
void rc_vn_execute_UnmapMemory(struct rc_vn_stream *stream, struct rc_vn_UnmapMemory *args) {
	(void)stream;
	(void)args;
}

void rc_vn_execute_FlushMappedMemoryRanges(struct rc_vn_stream *stream, struct rc_vn_FlushMappedMemoryRanges *args) {
	(void)stream;
	args->ret = VK_SUCCESS;
}

void rc_vn_execute_InvalidateMappedMemoryRanges(
	struct rc_vn_stream *stream, struct rc_vn_InvalidateMappedMemoryRanges *args) {
	(void)stream;
	args->ret = VK_SUCCESS;
}

void rc_vn_execute_GetDeviceMemoryCommitment(
	struct rc_vn_stream *stream, struct rc_vn_GetDeviceMemoryCommitment *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!rc_vn_required(stream, args->memory_object, "memory") ||
		!rc_vn_required(stream, args->pCommittedMemoryInBytes, "pCommittedMemoryInBytes")) {
		return;
	}
	const struct rc_vn_memory *memory = rc_vn_from(rc_vn_memory, args->memory_object);
	const VkMemoryType *type = &stream->context->guest->host_memory.memoryTypes[memory->type_index];
	if (type->propertyFlags & VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT) {
		device->vk.GetDeviceMemoryCommitment(args->device, args->memory, args->pCommittedMemoryInBytes);
	} else {
		*args->pCommittedMemoryInBytes = memory->size;
	}
}

/* 0: no address that could be replayed; the feature is not offered. */
void rc_vn_execute_GetDeviceMemoryOpaqueCaptureAddress(
	struct rc_vn_stream *stream, struct rc_vn_GetDeviceMemoryOpaqueCaptureAddress *args) {
	(void)stream;
	args->ret = 0;
}

/* Blobs are shared with clients, and cannot be imported as memory: vtest carries no fds from them. */
void rc_vn_execute_GetMemoryResourcePropertiesMESA(
	struct rc_vn_stream *stream, struct rc_vn_GetMemoryResourcePropertiesMESA *args) {
	(void)stream;
	args->ret = VK_ERROR_INVALID_EXTERNAL_HANDLE;
}
