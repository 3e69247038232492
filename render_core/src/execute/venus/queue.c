/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/queue.h"

#include <stdlib.h>

#include "execute/venus/feedback.h"
#include "util/clock.h"

/* How long a wait goes on before it looks whether the client is still there. */
#define SLICE_NS UINT64_C(20000000)

static struct rc_vn_queue *add_queue(struct rc_vn_device *device, const VkDeviceQueueCreateInfo *info, uint32_t index) {
	struct rc_vn_queue *queue = calloc(1, sizeof(*queue));
	if (!queue) {
		return NULL;
	}
	const VkDeviceQueueInfo2 which = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_INFO_2,
		.flags = info->flags,
		.queueFamilyIndex = info->queueFamilyIndex,
		.queueIndex = index,
	};
	device->vk.GetDeviceQueue2((VkDevice)(uintptr_t)device->base.handle, &which, &queue->queue);
	const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
	if (!queue->queue ||
		device->vk.CreateFence((VkDevice)(uintptr_t)device->base.handle, &fence, NULL, &queue->probe) != VK_SUCCESS) {
		free(queue);
		return NULL;
	}
	queue->device = device;
	queue->family = info->queueFamilyIndex;
	queue->index = index;
	queue->flags = info->flags;
	pthread_mutex_init(&queue->mutex, NULL);
	rc_list_append(&device->queues, &queue->link);
	return queue;
}

VkResult rc_vn_queues_create(struct rc_vn_device *device, const VkDeviceCreateInfo *info) {
	for (uint32_t i = 0; i < info->queueCreateInfoCount; i++) {
		for (uint32_t j = 0; j < info->pQueueCreateInfos[i].queueCount; j++) {
			if (!add_queue(device, &info->pQueueCreateInfos[i], j)) {
				rc_vn_queues_destroy(device);
				return VK_ERROR_OUT_OF_HOST_MEMORY;
			}
		}
	}
	return VK_SUCCESS;
}

void rc_vn_queues_destroy(struct rc_vn_device *device) {
	while (!rc_list_empty(&device->queues)) {
		struct rc_vn_queue *queue = rc_container_of(device->queues.next, struct rc_vn_queue, link);
		rc_list_remove(&queue->link);
		if (!device->abandoned) {
			device->vk.DestroyFence((VkDevice)(uintptr_t)device->base.handle, queue->probe, NULL);
		}
		pthread_mutex_destroy(&queue->mutex);
		struct rc_vn_object_table *table = &device->context->objects;
		/* In the table: freed when no other ring can be looking at it. */
		if (!queue->base.id || !rc_vn_object_remove(table, &queue->base)) {
			free(queue);
		}
	}
}

void rc_vn_device_mark_lost(struct rc_vn_device *device, const char *why) {
	if (!atomic_exchange(&device->lost, true)) {
		rc_vn_context_log(
			device->context, RC_LOG_ERROR, "VkDevice %llu is lost: %s", (unsigned long long)device->base.id, why);
	}
	rc_vn_feedback_end_all(device);
}

VkResult rc_vn_device_wait(
	struct rc_vn_device *device, uint64_t timeout_ns, VkResult (*wait)(void *data, uint64_t timeout_ns), void *data) {
	const uint64_t limit_ns = (uint64_t)device->context->guest->limits.wait_ms * 1000000u;
	const bool limited = timeout_ns > limit_ns;
	const uint64_t begin = rc_now_ns(), end_ns = limited ? limit_ns : timeout_ns;
	for (;;) {
		if (device->lost || device->base.ending) {
			return VK_ERROR_DEVICE_LOST;
		}
		uint64_t passed = rc_now_ns() - begin, left = passed < end_ns ? end_ns - passed : 0;
		VkResult ret = wait(data, left < SLICE_NS ? left : SLICE_NS);
		if (ret == VK_ERROR_DEVICE_LOST) {
			rc_vn_device_mark_lost(device, "the driver says so");
		}
		if (ret != VK_TIMEOUT) {
			return ret;
		}
		if (device->context->closing || device->context->failed) {
			return VK_TIMEOUT;
		}
		if (left == 0) {
			if (limited) {
				rc_vn_device_mark_lost(device, "a wait took longer than the limit (wait-ms)");
				return VK_ERROR_DEVICE_LOST;
			}
			return VK_TIMEOUT;
		}
	}
}

static VkResult probe_status(struct rc_vn_queue *queue) {
	return queue->device->vk.GetFenceStatus((VkDevice)(uintptr_t)queue->device->base.handle, queue->probe);
}

/* With the mutex held and no probe pending. */
static VkResult place_probe(struct rc_vn_queue *queue) {
	struct rc_vn_device *device = queue->device;
	VkResult ret = device->vk.ResetFences((VkDevice)(uintptr_t)device->base.handle, 1, &queue->probe);
	ret = ret ? ret : device->vk.QueueSubmit(queue->queue, 0, NULL, queue->probe);
	if (ret == VK_SUCCESS) {
		queue->probe_since_ns = rc_now_ns();
		queue->submits_since_probe = 0;
	}
	return ret;
}

/* With the mutex held. True: the probe is not pending any more. */
static bool check_probe(struct rc_vn_queue *queue) {
	struct rc_vn_device *device = queue->device;
	VkResult ret = probe_status(queue);
	if (ret == VK_SUCCESS) {
		queue->probe_since_ns = 0;
		return true;
	}
	if (ret < 0) {
		rc_vn_device_mark_lost(device, "the driver says so");
		queue->probe_since_ns = 0;
		return true;
	}
	uint64_t timeout_ns = (uint64_t)device->context->guest->limits.gpu_timeout_ms * 1000000u;
	if (rc_now_ns() - queue->probe_since_ns > timeout_ns) {
		device->abandoned = true;
		device->context->abandoned = true;
		rc_vn_device_mark_lost(device, "a queue made no progress within the limit (gpu-timeout-ms)");
	}
	return false;
}

void rc_vn_queue_watch(struct rc_vn_queue *queue) {
	if (queue->device->lost || pthread_mutex_trylock(&queue->mutex) != 0) {
		return; /* who holds it is submitting: next time */
	}
	if (queue->probe_since_ns) {
		check_probe(queue);
	} else if (queue->submits_since_probe && place_probe(queue) < 0) {
		rc_vn_device_mark_lost(queue->device, "the driver refuses a submission");
	}
	pthread_mutex_unlock(&queue->mutex);
}

/* Keep at most about limits.queued_submits submissions in flight: with the mutex held. */
static bool make_room(struct rc_vn_queue *queue) {
	struct rc_vn_device *device = queue->device;
	const uint32_t limit = device->context->guest->limits.queued_submits;
	if (queue->submits_since_probe < limit) {
		return true;
	}
	const VkDevice handle = (VkDevice)(uintptr_t)device->base.handle;
	while (queue->probe_since_ns) {
		if (device->lost || device->base.ending || device->context->closing || device->context->failed) {
			return false;
		}
		device->vk.WaitForFences(handle, 1, &queue->probe, VK_TRUE, SLICE_NS);
		check_probe(queue);
	}
	return place_probe(queue) == VK_SUCCESS;
}

static VkFence fence_handle(const struct rc_vn_fence *fence) {
	return fence ? (VkFence)(uintptr_t)fence->base.handle : VK_NULL_HANDLE;
}

/* With the mutex held. */
static void note_submission(struct rc_vn_queue *queue, struct rc_vn_fence *fence) {
	queue->submits_since_probe++;
	queue->submitted++;
	if (fence) {
		fence->submission = queue->submitted;
		fence->queue = queue;
	}
}

void rc_vn_fence_completed(struct rc_vn_fence *fence) {
	struct rc_vn_queue *queue = fence->queue;
	if (!queue) {
		return;
	}
	uint64_t known = queue->completed, done = fence->submission;
	while (known < done && !atomic_compare_exchange_weak(&queue->completed, &known, done)) {
	}
}

static bool is_fence_feedback(const struct rc_vn_object *object) {
	const struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, object);
	return object && !object->poisoned && !commands->unusable && !commands->begun && commands->work == 1 &&
		   commands->feedback == RC_VN_FEEDBACK_FENCE;
}

bool rc_vn_queue_submit_here(
	struct rc_vn_queue *queue, struct rc_vn_object *const *commands, uint32_t count, struct rc_vn_fence *fence) {
	for (uint32_t i = 0; i < count; i++) {
		if (!is_fence_feedback(commands[i])) {
			return false;
		}
	}
	pthread_mutex_lock(&queue->mutex);
	const bool idle = queue->submitted == queue->completed && !queue->device->lost;
	pthread_mutex_unlock(&queue->mutex);
	if (!idle) {
		return false;
	}
	/* The fence first: who sees the feedback may ask for it. */
	if (fence) {
		fence->signalled = true;
	}
	for (uint32_t i = 0; i < count; i++) {
		rc_vn_feedback_fill(rc_vn_from(rc_vn_command_buffer, commands[i]));
	}
	return true;
}

VkResult rc_vn_queue_submit(
	struct rc_vn_queue *queue, uint32_t count, const VkSubmitInfo *batches, struct rc_vn_fence *fence) {
	pthread_mutex_lock(&queue->mutex);
	VkResult ret = VK_ERROR_DEVICE_LOST;
	if (!queue->device->lost && make_room(queue)) {
		ret = queue->device->vk.QueueSubmit(queue->queue, count, batches, fence_handle(fence));
		note_submission(queue, fence);
	}
	pthread_mutex_unlock(&queue->mutex);
	return ret;
}

VkResult rc_vn_queue_submit2(
	struct rc_vn_queue *queue, uint32_t count, const VkSubmitInfo2 *batches, struct rc_vn_fence *fence) {
	pthread_mutex_lock(&queue->mutex);
	VkResult ret = VK_ERROR_DEVICE_LOST;
	if (!queue->device->lost && make_room(queue)) {
		ret = queue->device->vk.QueueSubmit2(queue->queue, count, batches, fence_handle(fence));
		note_submission(queue, fence);
	}
	pthread_mutex_unlock(&queue->mutex);
	return ret;
}

/* With the mutex held and a probe pending. The watchdog cannot look meanwhile: this does. */
static VkResult wait_probe(struct rc_vn_queue *queue, uint64_t timeout_ns) {
	struct rc_vn_device *device = queue->device;
	const uint64_t begin = rc_now_ns();
	for (;;) {
		const uint64_t passed = rc_now_ns() - begin, left = passed < timeout_ns ? timeout_ns - passed : 0;
		VkResult ret = device->vk.WaitForFences(
			(VkDevice)(uintptr_t)device->base.handle, 1, &queue->probe, VK_TRUE, left < SLICE_NS ? left : SLICE_NS);
		if (ret != VK_TIMEOUT) {
			queue->probe_since_ns = 0;
			return ret;
		}
		if (check_probe(queue)) {
			return device->lost ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
		}
		if (device->abandoned) {
			return VK_ERROR_DEVICE_LOST;
		}
		if (left == 0) {
			return VK_TIMEOUT;
		}
	}
}

VkResult rc_vn_queue_wait_idle(struct rc_vn_queue *queue, uint64_t timeout_ns) {
	if (queue->device->abandoned) {
		return VK_ERROR_DEVICE_LOST;
	}
	pthread_mutex_lock(&queue->mutex);
	VkResult ret = VK_SUCCESS;
	if (queue->probe_since_ns && queue->submits_since_probe) {
		ret = wait_probe(queue, timeout_ns); /* it is in front of something */
	}
	if (ret == VK_SUCCESS && !queue->probe_since_ns) {
		ret = place_probe(queue);
	}
	if (ret == VK_SUCCESS) {
		ret = wait_probe(queue, timeout_ns);
	}
	pthread_mutex_unlock(&queue->mutex);
	return ret;
}
