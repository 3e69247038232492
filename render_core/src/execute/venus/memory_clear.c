/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/memory_clear.h"

#include "execute/venus/queue.h"

/* Of one buffer that is filled: drivers have limits for these, 1 GiB is below all of them (VkPhysicalDeviceMaintenance4Properties). */
static const VkDeviceSize largest_part = 1u << 30;

static VkDevice host(const struct rc_vn_memory_clear *clear) {
	return (VkDevice)(uintptr_t)clear->device->base.handle;
}

void rc_vn_memory_clear_init(struct rc_vn_memory_clear *clear, struct rc_vn_device *device) {
	*clear = (struct rc_vn_memory_clear){.device = device};
	pthread_mutex_init(&clear->mutex, NULL);
}

void rc_vn_memory_clear_finish(struct rc_vn_memory_clear *clear) {
	const struct rc_vn_device_functions *vk = &clear->device->vk;
	vk->DestroyFence(host(clear), clear->fence, NULL);
	vk->DestroyCommandPool(host(clear), clear->pool, NULL);
	pthread_mutex_destroy(&clear->mutex);
}

static struct rc_vn_queue *find_queue(const struct rc_vn_device *device) {
	const VkQueueFlags fills = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
	for (struct rc_list *link = device->queues.next; link != &device->queues; link = link->next) {
		struct rc_vn_queue *queue = rc_container_of(link, struct rc_vn_queue, link);
		if (!(queue->flags & VK_DEVICE_QUEUE_CREATE_PROTECTED_BIT) &&
			(device->context->guest->queue_families[queue->family].queueFlags & fills)) {
			return queue;
		}
	}
	return NULL;
}

static VkResult prepare(struct rc_vn_memory_clear *clear) {
	const struct rc_vn_device_functions *vk = &clear->device->vk;
	VkResult ret = VK_SUCCESS;
	if (!clear->queue && !(clear->queue = find_queue(clear->device))) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	if (!clear->fence) {
		const VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
		ret = vk->CreateFence(host(clear), &info, NULL, &clear->fence);
	}
	if (ret == VK_SUCCESS && !clear->pool) {
		const VkCommandPoolCreateInfo info = {
			.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
			.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
			.queueFamilyIndex = clear->queue->family,
		};
		ret = vk->CreateCommandPool(host(clear), &info, NULL, &clear->pool);
	}
	if (ret == VK_SUCCESS && !clear->commands) {
		const VkCommandBufferAllocateInfo info = {
			.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
			.commandPool = clear->pool,
			.commandBufferCount = 1,
		};
		ret = vk->AllocateCommandBuffers(host(clear), &info, &clear->commands);
	}
	return ret;
}

static VkResult submit(struct rc_vn_memory_clear *clear) {
	struct rc_vn_device *device = clear->device;
	const VkSubmitInfo batch = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
		.commandBufferCount = 1,
		.pCommandBuffers = &clear->commands,
	};
	struct rc_vn_fence done = {.base.handle = (uint64_t)(uintptr_t)clear->fence};
	VkResult ret = rc_vn_queue_submit(clear->queue, 1, &batch, &done);
	if (ret != VK_SUCCESS) {
		return ret;
	}
	/* Also when the client is gone meanwhile: what was begun is over in a moment, or the device hangs. */
	const uint64_t timeout_ns = (uint64_t)device->context->guest->limits.gpu_timeout_ms * 1000000u;
	ret = device->vk.WaitForFences(host(clear), 1, &clear->fence, VK_TRUE, timeout_ns);
	if (ret == VK_SUCCESS) {
		rc_vn_fence_completed(&done);
		return device->vk.ResetFences(host(clear), 1, &clear->fence);
	}
	if (ret == VK_TIMEOUT) {
		/* It may still be at work: nothing that it uses can be given back. */
		device->abandoned = true;
		device->context->abandoned = true;
	}
	rc_vn_device_mark_lost(device, "new memory could not be cleared");
	return VK_ERROR_DEVICE_LOST;
}

static VkResult fill(struct rc_vn_memory_clear *clear, VkBuffer buffer) {
	const struct rc_vn_device_functions *vk = &clear->device->vk;
	const VkCommandBufferBeginInfo begin = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
		.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
	};
	/* Seen by all that comes later: the host waits for the fence before the memory is used, and the fence makes it available. */
	VkResult ret = vk->BeginCommandBuffer(clear->commands, &begin);
	if (ret == VK_SUCCESS) {
		vk->CmdFillBuffer(clear->commands, buffer, 0, VK_WHOLE_SIZE, 0);
		ret = vk->EndCommandBuffer(clear->commands);
	}
	return ret == VK_SUCCESS ? submit(clear) : ret;
}

static VkResult fill_part(struct rc_vn_memory_clear *clear, VkDeviceMemory memory, uint32_t type_index,
	VkDeviceSize offset, VkDeviceSize size) {
	const struct rc_vn_device_functions *vk = &clear->device->vk;
	const VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.size = size,
		.usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT,
	};
	VkBuffer buffer;
	VkResult ret = vk->CreateBuffer(host(clear), &info, NULL, &buffer);
	if (ret != VK_SUCCESS) {
		return ret;
	}
	VkMemoryRequirements requirements;
	vk->GetBufferMemoryRequirements(host(clear), buffer, &requirements);
	if (!(requirements.memoryTypeBits & (1u << type_index))) {
		ret = VK_ERROR_FEATURE_NOT_PRESENT;
	} else if (requirements.size > size) {
		ret = VK_ERROR_OUT_OF_DEVICE_MEMORY; /* rounded up beyond the end of the memory: sizes are multiples of 4096 */
	} else {
		ret = vk->BindBufferMemory(host(clear), buffer, memory, offset);
		ret = ret == VK_SUCCESS ? fill(clear, buffer) : ret;
	}
	if (!clear->device->abandoned) {
		vk->DestroyBuffer(host(clear), buffer, NULL);
	}
	return ret;
}

VkResult rc_vn_memory_clear_fill(
	struct rc_vn_memory_clear *clear, VkDeviceMemory memory, uint32_t type_index, VkDeviceSize size) {
	pthread_mutex_lock(&clear->mutex);
	VkResult ret = prepare(clear);
	for (VkDeviceSize offset = 0; ret == VK_SUCCESS && offset < size; offset += largest_part) {
		const VkDeviceSize part = size - offset < largest_part ? size - offset : largest_part;
		ret = fill_part(clear, memory, type_index, offset, part);
	}
	pthread_mutex_unlock(&clear->mutex);
	return ret;
}
