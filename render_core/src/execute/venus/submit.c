/* SPDX-License-Identifier: Apache-2.0
 * vkQueueSubmit and vkQueueSubmit2: a client's batches made ready for the host. The decoder left objects where the host wants handles
 * (render_core/protocol/executor.toml): semaphores with an imported signalled payload (vkImportSemaphoreResourceMESA) are taken out of a batch, and
 * one that names command buffers that could not be recorded, or poisoned objects, loses the device. */
#include "execute/venus/feedback.h"
#include "execute/venus/queue.h"
#include "execute/venus/stream.h"

static struct rc_vn_object *as_object(const void *handle) {
	return (struct rc_vn_object *)(uintptr_t)handle;
}

/* True: the host waits for it. An imported payload is consumed here. */
static bool wait_is_real(struct rc_vn_object *object, bool *whole) {
	if (!object || object->poisoned) {
		*whole &= !object;
		return false;
	}
	return !atomic_exchange(&rc_vn_from(rc_vn_semaphore, object)->signalled, false);
}

static bool signal_is_real(const struct rc_vn_object *object, bool *whole) {
	*whole &= !object || !object->poisoned;
	return object && !object->poisoned;
}

static bool commands_are_real(const struct rc_vn_object *object, bool *whole) {
	const struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, object);
	const bool real = object && !object->poisoned && !commands->unusable && !commands->begun &&
					  commands->level == VK_COMMAND_BUFFER_LEVEL_PRIMARY;
	*whole &= !object || real;
	return real;
}

/* The chain's struct of a type, and the place that points at it. */
static VkBaseOutStructure **find_link(const void *info, VkStructureType type) {
	VkBaseOutStructure **link = &((VkBaseOutStructure *)(uintptr_t)info)->pNext;
	while (*link && (*link)->sType != type) {
		link = &(*link)->pNext;
	}
	return link;
}

/* One physical device: masks and indices say nothing, and would have to be thinned out like the rest. */
static void unlink_device_group(const void *info) {
	VkBaseOutStructure **link = find_link(info, VK_STRUCTURE_TYPE_DEVICE_GROUP_SUBMIT_INFO);
	if (*link) {
		*link = (*link)->pNext;
	}
}

static VkTimelineSemaphoreSubmitInfo *find_timeline(const void *info) {
	return (VkTimelineSemaphoreSubmitInfo *)*find_link(info, VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO);
}

/* What the decoder allocated is ours to write. */
#define WRITABLE(pointer, type) ((type *)(uintptr_t)(pointer))

/* False: what it names could not be made or recorded. */
static bool resolve_batch(VkSubmitInfo *batch) {
	bool whole = true;
	VkTimelineSemaphoreSubmitInfo *timeline = find_timeline(batch);
	uint64_t *values = timeline ? WRITABLE(timeline->pWaitSemaphoreValues, uint64_t) : NULL;
	uint32_t value_count = values ? timeline->waitSemaphoreValueCount : 0, count = 0;
	VkSemaphore *waits = WRITABLE(batch->pWaitSemaphores, VkSemaphore);
	VkPipelineStageFlags *stages = WRITABLE(batch->pWaitDstStageMask, VkPipelineStageFlags);
	for (uint32_t i = 0; waits && stages && i < batch->waitSemaphoreCount; i++) {
		struct rc_vn_object *object = as_object(waits[i]);
		if (wait_is_real(object, &whole)) {
			waits[count] = (VkSemaphore)(uintptr_t)object->handle;
			stages[count] = stages[i];
			if (i < value_count) {
				values[count] = values[i];
			}
			count++;
		}
	}
	batch->waitSemaphoreCount = count;
	if (timeline) { /* a value each, or none: drivers do not look at this count */
		timeline->waitSemaphoreValueCount = value_count < count ? 0 : count;
		timeline->pWaitSemaphoreValues = value_count < count ? NULL : values;
	}
	VkCommandBuffer *commands = WRITABLE(batch->pCommandBuffers, VkCommandBuffer);
	count = 0;
	for (uint32_t i = 0; commands && i < batch->commandBufferCount; i++) {
		struct rc_vn_object *object = as_object(commands[i]);
		if (commands_are_real(object, &whole)) {
			commands[count++] = (VkCommandBuffer)(uintptr_t)object->handle;
		}
	}
	batch->commandBufferCount = count;
	values = timeline ? WRITABLE(timeline->pSignalSemaphoreValues, uint64_t) : NULL;
	value_count = values ? timeline->signalSemaphoreValueCount : 0;
	VkSemaphore *signals = WRITABLE(batch->pSignalSemaphores, VkSemaphore);
	count = 0;
	for (uint32_t i = 0; signals && i < batch->signalSemaphoreCount; i++) {
		struct rc_vn_object *object = as_object(signals[i]);
		if (signal_is_real(object, &whole)) {
			signals[count] = (VkSemaphore)(uintptr_t)object->handle;
			if (i < value_count) {
				values[count] = values[i];
			}
			count++;
		}
	}
	batch->signalSemaphoreCount = count;
	if (timeline) {
		timeline->signalSemaphoreValueCount = value_count < count ? 0 : count;
		timeline->pSignalSemaphoreValues = value_count < count ? NULL : values;
	}
	unlink_device_group(batch);
	return whole;
}

static uint32_t resolve_semaphores(const VkSemaphoreSubmitInfo *infos, uint32_t count, bool wait, bool *whole) {
	VkSemaphoreSubmitInfo *out = WRITABLE(infos, VkSemaphoreSubmitInfo);
	uint32_t kept = 0;
	for (uint32_t i = 0; out && i < count; i++) {
		struct rc_vn_object *object = as_object(out[i].semaphore);
		if (wait ? wait_is_real(object, whole) : signal_is_real(object, whole)) {
			out[kept] = out[i];
			out[kept].semaphore = (VkSemaphore)(uintptr_t)object->handle;
			out[kept++].deviceIndex = 0;
		}
	}
	return kept;
}

static bool resolve_batch2(VkSubmitInfo2 *batch) {
	bool whole = true;
	batch->waitSemaphoreInfoCount =
		resolve_semaphores(batch->pWaitSemaphoreInfos, batch->waitSemaphoreInfoCount, true, &whole);
	batch->signalSemaphoreInfoCount =
		resolve_semaphores(batch->pSignalSemaphoreInfos, batch->signalSemaphoreInfoCount, false, &whole);
	VkCommandBufferSubmitInfo *commands = WRITABLE(batch->pCommandBufferInfos, VkCommandBufferSubmitInfo);
	uint32_t kept = 0;
	for (uint32_t i = 0; commands && i < batch->commandBufferInfoCount; i++) {
		struct rc_vn_object *object = as_object(commands[i].commandBuffer);
		if (commands_are_real(object, &whole)) {
			commands[kept] = commands[i];
			commands[kept].deviceMask = 0;
			commands[kept++].commandBuffer = (VkCommandBuffer)(uintptr_t)object->handle;
		}
	}
	batch->commandBufferInfoCount = kept;
	return whole;
}

/* Not done in part: results would be missing, and nobody would be told. */
static VkResult refuse(struct rc_vn_device *device) {
	rc_vn_device_mark_lost(device, "a submission names what could not be created or recorded");
	return VK_ERROR_DEVICE_LOST;
}

/* A submission that never reaches the GPU still has an answer for those who poll. */
static void end_feedback(struct rc_vn_object *object) {
	if (object) {
		struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, object);
		pthread_mutex_lock(&commands->device->feedback_mutex);
		rc_vn_feedback_end(commands);
		pthread_mutex_unlock(&commands->device->feedback_mutex);
	}
}

static void finish(struct rc_vn_device *device, VkResult ret) {
	if (ret < 0 && !device->lost) {
		/* The client cannot be told: it would wait for the fence for ever. */
		rc_vn_device_mark_lost(device, ret == VK_ERROR_DEVICE_LOST ? "the driver says so" : "a submission failed");
	}
}

static struct rc_vn_fence *fence_of(struct rc_vn_object *object) {
	return object && !object->poisoned ? rc_vn_from(rc_vn_fence, object) : NULL;
}

/* Nothing, or one command buffer without semaphores. */
static bool is_alone(uint32_t count, const VkSubmitInfo2 *batch) {
	return count == 0 || (count == 1 && batch->waitSemaphoreInfoCount == 0 && batch->signalSemaphoreInfoCount == 0 &&
							 batch->commandBufferInfoCount == 1 && batch->pCommandBufferInfos);
}

void rc_vn_execute_QueueSubmit(struct rc_vn_stream *stream, struct rc_vn_QueueSubmit *args) {
	struct rc_vn_queue *queue = rc_vn_from(rc_vn_queue, args->queue_object);
	if (!queue || queue->base.poisoned) {
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	VkSubmitInfo *batches = WRITABLE(args->pSubmits, VkSubmitInfo);
	if (!batches && args->submitCount) {
		rc_vn_stream_fail(stream, "pSubmits", "is NULL with a submitCount of %u", args->submitCount);
		return;
	}
	if (queue->device->lost) {
		for (uint32_t i = 0; i < args->submitCount; i++) {
			for (uint32_t j = 0; batches[i].pCommandBuffers && j < batches[i].commandBufferCount; j++) {
				end_feedback(as_object(batches[i].pCommandBuffers[j]));
			}
		}
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	struct rc_vn_fence *fence = fence_of(args->fence_object);
	if (args->submitCount == 0 ||
		(args->submitCount == 1 && batches->waitSemaphoreCount == 0 && batches->signalSemaphoreCount == 0)) {
		const bool none = args->submitCount == 0 || !batches->pCommandBuffers;
		if (rc_vn_queue_submit_here(queue, none ? NULL : (struct rc_vn_object *const *)batches->pCommandBuffers,
				none ? 0 : batches->commandBufferCount, fence)) {
			args->ret = VK_SUCCESS;
			return;
		}
	}
	bool whole = true;
	for (uint32_t i = 0; i < args->submitCount; i++) {
		whole &= resolve_batch(&batches[i]);
	}
	args->ret = whole ? rc_vn_queue_submit(queue, args->submitCount, batches, fence) : refuse(queue->device);
	finish(queue->device, args->ret);
}

void rc_vn_execute_QueueSubmit2(struct rc_vn_stream *stream, struct rc_vn_QueueSubmit2 *args) {
	struct rc_vn_queue *queue = rc_vn_from(rc_vn_queue, args->queue_object);
	if (!queue || queue->base.poisoned) {
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	VkSubmitInfo2 *batches = WRITABLE(args->pSubmits, VkSubmitInfo2);
	if (!batches && args->submitCount) {
		rc_vn_stream_fail(stream, "pSubmits", "is NULL with a submitCount of %u", args->submitCount);
		return;
	}
	if (!queue->device->vk.QueueSubmit2) {
		rc_vn_stream_fail(stream, "queue", "the device has no such function: its extension was not enabled");
		return;
	}
	if (queue->device->lost) {
		for (uint32_t i = 0; i < args->submitCount; i++) {
			for (uint32_t j = 0; batches[i].pCommandBufferInfos && j < batches[i].commandBufferInfoCount; j++) {
				end_feedback(as_object(batches[i].pCommandBufferInfos[j].commandBuffer));
			}
		}
		args->ret = VK_ERROR_DEVICE_LOST;
		return;
	}
	struct rc_vn_fence *fence = fence_of(args->fence_object);
	if (is_alone(args->submitCount, batches)) {
		struct rc_vn_object *commands =
			args->submitCount ? as_object(batches->pCommandBufferInfos->commandBuffer) : NULL;
		if (rc_vn_queue_submit_here(queue, &commands, args->submitCount, fence)) {
			args->ret = VK_SUCCESS;
			return;
		}
	}
	bool whole = true;
	for (uint32_t i = 0; i < args->submitCount; i++) {
		whole &= resolve_batch2(&batches[i]);
	}
	args->ret = whole ? rc_vn_queue_submit2(queue, args->submitCount, batches, fence) : refuse(queue->device);
	finish(queue->device, args->ret);
}

void rc_vn_execute_QueueBindSparse(struct rc_vn_stream *stream, struct rc_vn_QueueBindSparse *args) {
	(void)args;
	rc_vn_stream_fail(stream, "queue", "no queue can bind sparse memory (VK_QUEUE_SPARSE_BINDING_BIT is not offered)");
}

static VkResult wait_idle(void *data, uint64_t timeout_ns) {
	return rc_vn_queue_wait_idle(data, timeout_ns);
}

void rc_vn_execute_QueueWaitIdle(struct rc_vn_stream *stream, struct rc_vn_QueueWaitIdle *args) {
	(void)stream;
	struct rc_vn_queue *queue = rc_vn_from(rc_vn_queue, args->queue_object);
	args->ret = queue ? rc_vn_device_wait(queue->device, UINT64_MAX, wait_idle, queue) : VK_ERROR_DEVICE_LOST;
}

void rc_vn_execute_DeviceWaitIdle(struct rc_vn_stream *stream, struct rc_vn_DeviceWaitIdle *args) {
	(void)stream;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	args->ret = device ? VK_SUCCESS : VK_ERROR_DEVICE_LOST;
	for (struct rc_list *link = device ? device->queues.next : NULL; link && link != &device->queues;
		 link = link->next) {
		struct rc_vn_queue *queue = rc_container_of(link, struct rc_vn_queue, link);
		VkResult ret = rc_vn_device_wait(device, UINT64_MAX, wait_idle, queue);
		args->ret = args->ret ? args->ret : ret;
	}
}

static struct rc_vn_queue *find_queue(struct rc_vn_device *device, const VkDeviceQueueInfo2 *info) {
	for (struct rc_list *link = device->queues.next; link != &device->queues; link = link->next) {
		struct rc_vn_queue *queue = rc_container_of(link, struct rc_vn_queue, link);
		if (queue->family == info->queueFamilyIndex && queue->index == info->queueIndex &&
			queue->flags == info->flags) {
			return queue;
		}
	}
	return NULL;
}

static void get_queue(
	struct rc_vn_stream *stream, struct rc_vn_object *device, const VkDeviceQueueInfo2 *info, VkQueue *out) {
	struct rc_vn_queue *queue = find_queue(rc_vn_from(rc_vn_device, device), info);
	if (!queue) {
		rc_vn_stream_fail(stream, "queueIndex", "the device was created without queue %u of family %u",
			info->queueIndex, info->queueFamilyIndex);
		return;
	}
	if (atomic_exchange(&queue->named, true)) {
		rc_vn_stream_fail(
			stream, "pQueue", "queue %u of family %u has an id already", info->queueIndex, info->queueFamilyIndex);
		return;
	}
	/* Not by rc_vn_add_typed_object(): that frees what cannot be added, and this one is the device's. */
	queue->base.type = VK_OBJECT_TYPE_QUEUE;
	queue->base.handle = (uint64_t)(uintptr_t)queue->queue;
	queue->base.device = queue->base.parent = device;
	queue->base.id = (uint64_t)(uintptr_t)*out;
	if (!rc_vn_object_add(&stream->context->objects, &queue->base)) {
		queue->base.id = 0;
		rc_vn_stream_fail(stream, "pQueue", "id is 0 or in use");
	}
}

void rc_vn_execute_GetDeviceQueue2(struct rc_vn_stream *stream, struct rc_vn_GetDeviceQueue2 *args) {
	if (args->device_object && !args->device_object->poisoned && args->pQueueInfo && args->pQueue) {
		get_queue(stream, args->device_object, args->pQueueInfo, args->pQueue);
	}
}

void rc_vn_execute_GetDeviceQueue(struct rc_vn_stream *stream, struct rc_vn_GetDeviceQueue *args) {
	const VkDeviceQueueInfo2 info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_INFO_2,
		.queueFamilyIndex = args->queueFamilyIndex,
		.queueIndex = args->queueIndex,
	};
	if (args->device_object && !args->device_object->poisoned && args->pQueue) {
		get_queue(stream, args->device_object, &info, args->pQueue);
	}
}
