/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/buffer.h"

#include <stdlib.h>

#include "execute/venus/chain.h"
#include "execute/venus/memory.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/required.h"
#include "execute/venus/teardown.h"

bool rc_vn_sharing_is_valid(
	const struct rc_vn_guest *guest, VkSharingMode mode, uint32_t count, const uint32_t *families) {
	if (mode != VK_SHARING_MODE_CONCURRENT) {
		return mode == VK_SHARING_MODE_EXCLUSIVE;
	}
	bool valid = families && count >= 1;
	for (uint32_t i = 0; valid && i < count; i++) {
		valid = families[i] < guest->queue_family_count;
	}
	return valid;
}

/* The driver takes imported memory for buffers like this one. */
static bool is_importable(const struct rc_vn_device *device, const VkBufferCreateInfo *info) {
	const struct rc_vn_guest *guest = device->context->guest;
	const VkPhysicalDeviceExternalBufferInfo query = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
		.flags = info->flags,
		.usage = info->usage,
		.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
	};
	VkExternalBufferProperties answer = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
	guest->vk.GetPhysicalDeviceExternalBufferProperties(guest->physical, &query, &answer);
	const VkExternalMemoryFeatureFlags features = answer.externalMemoryProperties.externalMemoryFeatures;
	return (features & VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT) &&
		   !(features & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT);
}

const char *rc_vn_buffer_request_make(
	const struct rc_vn_device *device, const VkBufferCreateInfo *asked, struct rc_vn_buffer_request *request) {
	const VkBufferCreateFlags closed = VK_BUFFER_CREATE_SPARSE_BINDING_BIT | VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT |
									   VK_BUFFER_CREATE_SPARSE_ALIASED_BIT | VK_BUFFER_CREATE_PROTECTED_BIT |
									   VK_BUFFER_CREATE_DEVICE_ADDRESS_CAPTURE_REPLAY_BIT;
	if (asked->flags & closed) {
		return "VkBufferCreateInfo.flags"; /* of features that are not offered */
	}
	if (!asked->size) {
		return "VkBufferCreateInfo.size";
	}
	if (!rc_vn_sharing_is_valid(
			device->context->guest, asked->sharingMode, asked->queueFamilyIndexCount, asked->pQueueFamilyIndices)) {
		return "VkBufferCreateInfo.pQueueFamilyIndices";
	}
	/* The kind of handle that the client's memory would have, if there were handles. */
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_BUFFER_OPAQUE_CAPTURE_ADDRESS_CREATE_INFO);
	request->info = *asked;
	if (asked->sharingMode == VK_SHARING_MODE_EXCLUSIVE) {
		request->info.queueFamilyIndexCount = 0; /* what an application left there */
		request->info.pQueueFamilyIndices = NULL;
	}
	if (device->memory_pool->importable_buffers && is_importable(device, asked)) {
		request->external = (VkExternalMemoryBufferCreateInfo){
			.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
			.pNext = asked->pNext,
			.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
		};
		request->info.pNext = &request->external;
	}
	return NULL;
}

static VkResult create(struct rc_vn_stream *stream, struct rc_vn_CreateBuffer *args, VkBuffer *out) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_buffer_request request;
	if (stream->decoder.poisoned) {
		return VK_ERROR_INITIALIZATION_FAILED;
	}
	if (!rc_vn_may_create(stream, VK_OBJECT_TYPE_BUFFER)) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	const char *wrong = rc_vn_buffer_request_make(device, args->pCreateInfo, &request);
	if (wrong) {
		rc_vn_context_log(
			stream->context, RC_LOG_WARN, "vkCreateBuffer (%d): %s has no valid value", RC_VN_CreateBuffer, wrong);
		return VK_ERROR_INITIALIZATION_FAILED;
	}
	return device->vk.CreateBuffer(args->device, &request.info, NULL, out);
}

void rc_vn_execute_CreateBuffer(struct rc_vn_stream *stream, struct rc_vn_CreateBuffer *args) {
	if (!rc_vn_required(stream, args->pCreateInfo, "pCreateInfo") ||
		!rc_vn_required(stream, args->pBuffer, "pBuffer")) {
		return;
	}
	VkBuffer handle = VK_NULL_HANDLE;
	args->ret = create(stream, args, &handle);
	if (args->ret < 0 && stream->replying) {
		*args->pBuffer = VK_NULL_HANDLE; /* the client knows, and never uses the id */
		return;
	}
	struct rc_vn_buffer *buffer = calloc(1, sizeof(*buffer));
	bool added = false;
	if (!buffer) {
		rc_vn_context_fail(stream->context, "out of memory");
	} else {
		buffer->size = args->pCreateInfo->size;
		added = rc_vn_add_typed_object(stream, &buffer->base, VK_OBJECT_TYPE_BUFFER,
			(uint64_t)(uintptr_t)*args->pBuffer, (uint64_t)(uintptr_t)handle, args->device_object, args->ret);
	}
	if (!added && handle) {
		rc_vn_from(rc_vn_device, args->device_object)->vk.DestroyBuffer(args->device, handle, NULL);
	}
}

void rc_vn_buffer_release(struct rc_vn_buffer *buffer) {
	rc_vn_blob_unref(rc_vn_blob_slot_swap(&buffer->memory, NULL, 0));
}

void rc_vn_execute_DestroyBuffer(struct rc_vn_stream *stream, struct rc_vn_DestroyBuffer *args) {
	struct rc_vn_object *object = args->buffer_object;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!object || !rc_vn_object_remove(&stream->context->objects, object) || !rc_vn_device_at_rest(device)) {
		return;
	}
	if (object->handle) {
		device->vk.DestroyBuffer(args->device, (VkBuffer)(uintptr_t)object->handle, NULL);
	}
	rc_vn_buffer_release(rc_vn_from(rc_vn_buffer, object));
}

/* ---- binding ---- */

static VkResult bind_host(struct rc_vn_device *device, const struct rc_vn_buffer *buffer,
	const struct rc_vn_memory *memory, const VkBindBufferMemoryInfo *asked) {
	const VkDevice host = (VkDevice)(uintptr_t)device->base.handle;
	VkBindBufferMemoryInfo info = *asked;
	info.buffer = (VkBuffer)(uintptr_t)buffer->base.handle;
	info.memory = (VkDeviceMemory)(uintptr_t)memory->base.handle;
	VkMemoryRequirements requirements;
	device->vk.GetBufferMemoryRequirements(host, info.buffer, &requirements);
	if (!rc_vn_memory_place(device, memory, asked->memoryOffset, &requirements, &info.memoryOffset)) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	VkResult ret = device->vk.BindBufferMemory2(host, 1, &info);
	if (ret < 0) {
		rc_vn_device_mark_lost(device, "the driver refuses to bind a buffer");
	}
	return ret;
}

static VkResult bind(struct rc_vn_device *device, struct rc_vn_buffer *buffer, struct rc_vn_memory *memory,
	const VkBindBufferMemoryInfo *asked) {
	/* Also when the buffer or the memory is poisoned: the client's driver polls for fences' states there. */
	uint64_t offset;
	struct rc_vn_blob *blob = rc_vn_blob_slot_get(&memory->blob, &offset);
	rc_vn_blob_unref(rc_vn_blob_slot_swap(&buffer->memory, blob, asked->memoryOffset));
	if (buffer->base.poisoned) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	/* A group of one device is the same as none. */
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_BIND_BUFFER_MEMORY_DEVICE_GROUP_INFO);
	return bind_host(device, buffer, memory, asked);
}

void rc_vn_execute_BindBufferMemory2(struct rc_vn_stream *stream, struct rc_vn_BindBufferMemory2 *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (args->bindInfoCount && !rc_vn_required(stream, args->pBindInfos, "pBindInfos")) {
		return;
	}
	for (uint32_t i = 0; i < args->bindInfoCount; i++) {
		struct rc_vn_buffer *buffer = (struct rc_vn_buffer *)(uintptr_t)args->pBindInfos[i].buffer;
		struct rc_vn_memory *memory = (struct rc_vn_memory *)(uintptr_t)args->pBindInfos[i].memory;
		if (!rc_vn_required(stream, buffer, "VkBindBufferMemoryInfo.buffer") ||
			!rc_vn_required(stream, memory, "VkBindBufferMemoryInfo.memory")) {
			return;
		}
		VkResult ret = bind(device, buffer, memory, &args->pBindInfos[i]);
		args->ret = ret < 0 ? ret : args->ret;
	}
}

void rc_vn_execute_BindBufferMemory(struct rc_vn_stream *stream, struct rc_vn_BindBufferMemory *args) {
	if (!rc_vn_required(stream, args->buffer_object, "buffer") ||
		!rc_vn_required(stream, args->memory_object, "memory")) {
		return;
	}
	const VkBindBufferMemoryInfo info = {
		.sType = VK_STRUCTURE_TYPE_BIND_BUFFER_MEMORY_INFO,
		.memoryOffset = args->memoryOffset,
	};
	args->ret = bind(rc_vn_from(rc_vn_device, args->device_object), rc_vn_from(rc_vn_buffer, args->buffer_object),
		rc_vn_from(rc_vn_memory, args->memory_object), &info);
}

/* ---- requirements ---- */

void rc_vn_execute_GetBufferMemoryRequirements2(
	struct rc_vn_stream *stream, struct rc_vn_GetBufferMemoryRequirements2 *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (rc_vn_required(stream, args->pInfo, "pInfo") &&
		rc_vn_required(stream, args->pMemoryRequirements, "pMemoryRequirements")) {
		device->vk.GetBufferMemoryRequirements2(args->device, args->pInfo, args->pMemoryRequirements);
		rc_vn_memory_pool_note(device->memory_pool, &args->pMemoryRequirements->memoryRequirements);
	}
}

/* Of a buffer that is not created: the same answer as if it were. */
void rc_vn_execute_GetDeviceBufferMemoryRequirements(
	struct rc_vn_stream *stream, struct rc_vn_GetDeviceBufferMemoryRequirements *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_buffer_request request;
	if (!rc_vn_required(stream, args->pInfo, "pInfo") ||
		!rc_vn_required(stream, args->pInfo->pCreateInfo, "VkDeviceBufferMemoryRequirements.pCreateInfo") ||
		!rc_vn_required(stream, args->pMemoryRequirements, "pMemoryRequirements")) {
		return;
	}
	if (!device->vk.GetDeviceBufferMemoryRequirements) {
		rc_vn_stream_fail(stream, "device", "has no such function: VK_KHR_maintenance4 was not enabled");
		return;
	}
	const char *wrong = rc_vn_buffer_request_make(device, args->pInfo->pCreateInfo, &request);
	if (wrong) {
		rc_vn_context_log(stream->context, RC_LOG_WARN,
			"vkGetDeviceBufferMemoryRequirements (%d): %s has no valid value", RC_VN_GetDeviceBufferMemoryRequirements,
			wrong);
		return; /* zeros: no memory type will do */
	}
	VkDeviceBufferMemoryRequirements info = *args->pInfo;
	info.pCreateInfo = &request.info;
	device->vk.GetDeviceBufferMemoryRequirements(args->device, &info, args->pMemoryRequirements);
	rc_vn_memory_pool_note(device->memory_pool, &args->pMemoryRequirements->memoryRequirements);
}
