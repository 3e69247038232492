/* SPDX-License-Identifier: Apache-2.0
 * Fences and semaphores. Waits are cut into slices and limited; exportable kinds do not exist (nothing can be exported over a socket). */
#include <stdlib.h>

#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/teardown.h"

static VkDevice handle_of(const struct rc_vn_device *device) {
	return (VkDevice)(uintptr_t)device->base.handle;
}

/* ---- fences ---- */

void rc_vn_execute_CreateFence(struct rc_vn_stream *stream, struct rc_vn_CreateFence *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_fence *object = calloc(1, sizeof(*object));
	if (!object) {
		rc_vn_context_fail(stream->context, "out of memory");
		return;
	}
	VkFence fence = VK_NULL_HANDLE;
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (rc_vn_may_create(stream, VK_OBJECT_TYPE_FENCE)) {
		VkFenceCreateInfo info = *args->pCreateInfo;
		info.pNext = NULL; /* VkExportFenceCreateInfo */
		args->ret = device->vk.CreateFence(args->device, &info, NULL, &fence);
	}
	if (!rc_vn_add_typed_object(stream, &object->base, VK_OBJECT_TYPE_FENCE, (uint64_t)(uintptr_t)*args->pFence,
			(uint64_t)(uintptr_t)fence, args->device_object, args->ret) &&
		fence) {
		device->vk.DestroyFence(args->device, fence, NULL);
	}
}

/* Put the handles of those fences in front that `wanted` wants, in place; how many. Poisoned ones are nobody's. */
static uint32_t pick_fences(
	const VkFence *fences, struct rc_vn_object *const *objects, uint32_t count, bool (*wanted)(struct rc_vn_fence *)) {
	VkFence *out = (VkFence *)(uintptr_t)fences;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (objects[i] && !objects[i]->poisoned && wanted(rc_vn_from(rc_vn_fence, objects[i]))) {
			out[kept++] = (VkFence)(uintptr_t)objects[i]->handle;
		}
	}
	return kept;
}

static bool is_the_hosts(struct rc_vn_fence *fence) {
	return !fence->signalled;
}

/* The host's is not signalled when ours is. */
static bool needs_reset(struct rc_vn_fence *fence) {
	return !atomic_exchange(&fence->signalled, false);
}

void rc_vn_execute_ResetFences(struct rc_vn_stream *stream, struct rc_vn_ResetFences *args) {
	(void)stream;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	uint32_t count = pick_fences(args->pFences, args->pFences_objects, args->fenceCount, needs_reset);
	args->ret = VK_SUCCESS;
	if (count && rc_vn_device_at_rest(device)) {
		args->ret = device->vk.ResetFences(args->device, count, args->pFences);
	}
}

struct fence_wait {
	struct rc_vn_device *device;
	const struct rc_vn_WaitForFences *args;
	uint32_t count;
};

static VkResult wait_fences(void *data, uint64_t timeout_ns) {
	const struct fence_wait *wait = data;
	return wait->device->vk.WaitForFences(
		handle_of(wait->device), wait->count, wait->args->pFences, wait->args->waitAll, timeout_ns);
}

void rc_vn_execute_WaitForFences(struct rc_vn_stream *stream, struct rc_vn_WaitForFences *args) {
	(void)stream;
	struct fence_wait wait = {.device = rc_vn_from(rc_vn_device, args->device_object), .args = args};
	uint32_t usable = 0;
	for (uint32_t i = 0; i < args->fenceCount; i++) {
		usable += args->pFences_objects[i] && !args->pFences_objects[i]->poisoned;
	}
	if (!usable || wait.device->lost) {
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	wait.count = pick_fences(args->pFences, args->pFences_objects, args->fenceCount, is_the_hosts);
	if (wait.count == 0 || (!args->waitAll && wait.count < usable)) {
		args->ret = VK_SUCCESS;
		return;
	}
	args->ret = rc_vn_device_wait(wait.device, args->timeout, wait_fences, &wait);
	for (uint32_t i = 0; args->ret == VK_SUCCESS && (args->waitAll || wait.count == 1) && i < args->fenceCount; i++) {
		struct rc_vn_object *object = args->pFences_objects[i];
		if (object && !object->poisoned && is_the_hosts(rc_vn_from(rc_vn_fence, object))) {
			rc_vn_fence_completed(rc_vn_from(rc_vn_fence, object));
		}
	}
}

void rc_vn_execute_GetFenceStatus(struct rc_vn_stream *stream, struct rc_vn_GetFenceStatus *args) {
	(void)stream;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (device->lost || !args->fence) {
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	struct rc_vn_fence *fence = rc_vn_from(rc_vn_fence, args->fence_object);
	args->ret = fence->signalled ? VK_SUCCESS : device->vk.GetFenceStatus(args->device, args->fence);
	if (args->ret == VK_SUCCESS && !fence->signalled) {
		rc_vn_fence_completed(fence);
	}
}

/* "As if exported as a sync file": the payload is gone. */
void rc_vn_execute_ResetFenceResourceMESA(struct rc_vn_stream *stream, struct rc_vn_ResetFenceResourceMESA *args) {
	(void)stream;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (args->fence && needs_reset(rc_vn_from(rc_vn_fence, args->fence_object)) && rc_vn_device_at_rest(device)) {
		device->vk.ResetFences(args->device, 1, &args->fence);
	}
}

/* ---- semaphores ---- */

void rc_vn_execute_CreateSemaphore(struct rc_vn_stream *stream, struct rc_vn_CreateSemaphore *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_semaphore *object = calloc(1, sizeof(*object));
	if (!object) {
		rc_vn_context_fail(stream->context, "out of memory");
		return;
	}
	VkSemaphore semaphore = VK_NULL_HANDLE;
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (rc_vn_may_create(stream, VK_OBJECT_TYPE_SEMAPHORE)) {
		VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
		VkSemaphoreTypeCreateInfo type; /* all but VkExportSemaphoreCreateInfo */
		for (const VkBaseInStructure *next = args->pCreateInfo->pNext; next; next = next->pNext) {
			if (next->sType == VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO) {
				type = *(const VkSemaphoreTypeCreateInfo *)next;
				type.pNext = NULL;
				info.pNext = &type;
				object->timeline = type.semaphoreType == VK_SEMAPHORE_TYPE_TIMELINE;
			}
		}
		args->ret = device->vk.CreateSemaphore(args->device, &info, NULL, &semaphore);
	}
	if (!rc_vn_add_typed_object(stream, &object->base, VK_OBJECT_TYPE_SEMAPHORE, (uint64_t)(uintptr_t)*args->pSemaphore,
			(uint64_t)(uintptr_t)semaphore, args->device_object, args->ret) &&
		semaphore) {
		device->vk.DestroySemaphore(args->device, semaphore, NULL);
	}
}

struct semaphore_wait {
	struct rc_vn_device *device;
	const VkSemaphoreWaitInfo *info;
};

static VkResult wait_semaphores(void *data, uint64_t timeout_ns) {
	const struct semaphore_wait *wait = data;
	return wait->device->vk.WaitSemaphores(handle_of(wait->device), wait->info, timeout_ns);
}

void rc_vn_execute_WaitSemaphores(struct rc_vn_stream *stream, struct rc_vn_WaitSemaphores *args) {
	struct semaphore_wait wait = {.device = rc_vn_from(rc_vn_device, args->device_object), .info = args->pWaitInfo};
	if (!wait.device->vk.WaitSemaphores) {
		rc_vn_stream_fail(stream, "device", "the device has no such function: its extension was not enabled");
		return;
	}
	args->ret = rc_vn_device_wait(wait.device, args->timeout, wait_semaphores, &wait);
}

void rc_vn_execute_ImportSemaphoreResourceMESA(
	struct rc_vn_stream *stream, struct rc_vn_ImportSemaphoreResourceMESA *args) {
	const VkImportSemaphoreResourceInfoMESA *info = args->pImportSemaphoreResourceInfo;
	struct rc_vn_object *object = info ? (struct rc_vn_object *)(uintptr_t)info->semaphore : NULL;
	if (!object || info->resourceId) {
		rc_vn_stream_fail(stream, "VkImportSemaphoreResourceInfoMESA.resourceId",
			"%u: only an already signalled payload (0) can be imported", info ? info->resourceId : 0);
		return;
	}
	if (!object->poisoned) {
		/* The next wait consumes it, without the host: its own payload is the permanent one, and stays. */
		atomic_store(&rc_vn_from(rc_vn_semaphore, object)->signalled, true);
	}
}

void rc_vn_execute_WaitSemaphoreResourceMESA(
	struct rc_vn_stream *stream, struct rc_vn_WaitSemaphoreResourceMESA *args) {
	(void)stream;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_semaphore *semaphore = rc_vn_from(rc_vn_semaphore, args->semaphore_object);
	if (!semaphore || semaphore->base.poisoned || atomic_exchange(&semaphore->signalled, false) ||
		rc_list_empty(&device->queues)) {
		return;
	}
	const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
	const VkSubmitInfo batch = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
		.waitSemaphoreCount = 1,
		.pWaitSemaphores = &args->semaphore,
		.pWaitDstStageMask = &stage,
	};
	struct rc_vn_queue *queue = rc_container_of(device->queues.next, struct rc_vn_queue, link);
	if (rc_vn_queue_submit(queue, 1, &batch, NULL) < 0) {
		rc_vn_device_mark_lost(device, "a submission failed");
	}
}

/* Drivers have no counter of a binary one, and no function that would say so. */
void rc_vn_execute_GetSemaphoreCounterValue(struct rc_vn_stream *stream, struct rc_vn_GetSemaphoreCounterValue *args) {
	const struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!rc_vn_from(rc_vn_semaphore, args->semaphore_object)->timeline || !device->vk.GetSemaphoreCounterValue) {
		rc_vn_stream_fail(stream, "semaphore", "it is no timeline");
		return;
	}
	args->ret = device->vk.GetSemaphoreCounterValue(args->device, args->semaphore, args->pValue);
}
