/* SPDX-License-Identifier: Apache-2.0
 * A Venus client on a Vulkan device, without its transport: executors are called with the arguments that decoding commands would give.
 * Lavapipe's only type of memory can be mapped: tests of memory that only the GPU sees hide that there. */
#ifndef VENUS_EXECUTOR_H
#define VENUS_EXECUTOR_H

#include <string.h>

#include "../unit/render_core/check.h"
#include "execute/venus/buffer.h"
#include "execute/venus/context.h"
#include "execute/venus/memory.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"

#define UNUSED __attribute__((unused))

enum { SKIPPED = 77, INSTANCE = 1, PHYSICAL = 2, DEVICE = 3, FIRST = 10, MIB = 1 << 20 };

static struct rc_log sink;
static struct rc_device *worker;

struct client {
	struct rc_vn_guest *guest;
	struct rc_vn_context *context;
	struct rc_vn_stream stream;
	struct rc_vn_device *device;
	uint64_t next_id;
	uint32_t type, mapped_type; /* the memory type that is used; one that can be mapped */
};

UNUSED static uint32_t find_type(struct rc_vn_guest *guest, bool mappable, uint32_t mapped_type) {
	if (mappable) {
		return mapped_type;
	}
	for (uint32_t i = 0; i < guest->memory.memoryTypeCount; i++) {
		if (guest->memory.memoryTypes[i].propertyFlags == VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) {
			return i;
		}
	}
	guest->memory.memoryTypes[mapped_type].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
	return mapped_type;
}

UNUSED static void connect(struct client *client, const struct rc_vn_limits *limits, bool mappable) {
	const struct rc_vn_guest_params params = {.log = &sink, .device = worker, .swapchain = true, .limits = limits};
	*client = (struct client){.next_id = FIRST};
	CHECK(rc_vn_guest_create(&params, &client->guest) == RC_OK);
	client->mapped_type = (uint32_t)__builtin_ctz(client->guest->importable_types);
	client->type = find_type(client->guest, mappable, client->mapped_type);
	CHECK(rc_vn_context_create(client->guest, 1, NULL, &client->context) == RC_OK);
	CHECK(rc_vn_stream_init(&client->stream, client->context, NULL));
	rc_vn_reader_enter(&client->context->objects, client->stream.reader);
	const VkInstanceCreateInfo instance_info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
	VkInstance instance = (VkInstance)(uintptr_t)INSTANCE;
	struct rc_vn_CreateInstance create_instance = {.pCreateInfo = &instance_info, .pInstance = &instance};
	rc_vn_execute_CreateInstance(&client->stream, &create_instance);
	uint32_t count = 1;
	VkPhysicalDevice physical = (VkPhysicalDevice)(uintptr_t)PHYSICAL;
	struct rc_vn_EnumeratePhysicalDevices enumerate = {
		.instance_object = rc_vn_object_find(&client->context->objects, INSTANCE),
		.pPhysicalDeviceCount = &count,
		.pPhysicalDevices = &physical,
	};
	rc_vn_execute_EnumeratePhysicalDevices(&client->stream, &enumerate);
	const float priority = 1.0f;
	const VkDeviceQueueCreateInfo queue = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
	VkPhysicalDeviceMaintenance4Features maintenance = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES, .maintenance4 = VK_TRUE};
	VkPhysicalDeviceBufferDeviceAddressFeatures addresses = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES,
		.pNext = &maintenance,
		.bufferDeviceAddress = VK_TRUE,
	};
	const VkDeviceCreateInfo device_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.pNext = &addresses,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &queue};
	VkDevice device = (VkDevice)(uintptr_t)DEVICE;
	struct rc_vn_CreateDevice create_device = {
		.physicalDevice = worker->physical,
		.physicalDevice_object = rc_vn_object_find(&client->context->objects, PHYSICAL),
		.pCreateInfo = &device_info,
		.pDevice = &device,
	};
	rc_vn_execute_CreateDevice(&client->stream, &create_device);
	CHECK(create_device.ret == VK_SUCCESS);
	client->device = (struct rc_vn_device *)rc_vn_object_find(&client->context->objects, DEVICE);
	CHECK(client->device && client->device->buffer_device_address);
}

/* Everything is given back: nothing is counted any more. */
UNUSED static void disconnect(struct client *client) {
	CHECK(!client->context->failed);
	rc_vn_reader_leave(&client->context->objects, client->stream.reader);
	rc_vn_stream_finish(&client->stream);
	rc_vn_context_destroy(client->context);
	CHECK(client->guest->usage.memory_bytes == 0 && client->guest->usage.visible_bytes == 0);
	CHECK(client->guest->usage.memories == 0 && client->guest->usage.shared_bytes == 0);
	rc_vn_guest_destroy(client->guest);
}

UNUSED static VkDevice host(const struct client *client) {
	return (VkDevice)(uintptr_t)client->device->base.handle;
}

/* vkAllocateMemory as clients send it: without asking for a reply. */
UNUSED static struct rc_vn_memory *allocate(struct client *client, VkDeviceSize size, const void *next) {
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = next,
		.allocationSize = size,
		.memoryTypeIndex = client->type,
	};
	VkDeviceMemory id = (VkDeviceMemory)(uintptr_t)client->next_id++;
	struct rc_vn_AllocateMemory args = {
		.device = host(client), .device_object = &client->device->base, .pAllocateInfo = &info, .pMemory = &id};
	rc_vn_execute_AllocateMemory(&client->stream, &args);
	struct rc_vn_object *object = rc_vn_object_find(&client->context->objects, (uint64_t)(uintptr_t)id);
	CHECK(object && object->type == VK_OBJECT_TYPE_DEVICE_MEMORY && object->poisoned == (args.ret != VK_SUCCESS));
	return (struct rc_vn_memory *)object;
}

UNUSED static void free_memory(struct client *client, struct rc_vn_memory *memory) {
	struct rc_vn_FreeMemory args = {
		.device = host(client), .device_object = &client->device->base, .memory_object = &memory->base};
	rc_vn_execute_FreeMemory(&client->stream, &args);
}

UNUSED static struct rc_vn_buffer *create_buffer(struct client *client, VkDeviceSize size, const void *next) {
	VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.pNext = next,
		.size = size,
		.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
				 VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
	};
	VkBuffer id = (VkBuffer)(uintptr_t)client->next_id++;
	struct rc_vn_CreateBuffer args = {
		.device = host(client), .device_object = &client->device->base, .pCreateInfo = &info, .pBuffer = &id};
	rc_vn_execute_CreateBuffer(&client->stream, &args);
	struct rc_vn_object *object = rc_vn_object_find(&client->context->objects, (uint64_t)(uintptr_t)id);
	CHECK(object && object->poisoned == (args.ret != VK_SUCCESS));
	return (struct rc_vn_buffer *)object;
}

UNUSED static VkResult bind(
	struct client *client, struct rc_vn_buffer *buffer, struct rc_vn_memory *memory, VkDeviceSize offset) {
	VkBindBufferMemoryInfo info = {
		.sType = VK_STRUCTURE_TYPE_BIND_BUFFER_MEMORY_INFO,
		.buffer = (VkBuffer)(uintptr_t)buffer,
		.memory = (VkDeviceMemory)(uintptr_t)memory,
		.memoryOffset = offset,
	};
	struct rc_vn_BindBufferMemory2 args = {
		.device = host(client), .device_object = &client->device->base, .bindInfoCount = 1, .pBindInfos = &info};
	rc_vn_execute_BindBufferMemory2(&client->stream, &args);
	return args.ret;
}

UNUSED static void destroy_buffer(struct client *client, struct rc_vn_buffer *buffer) {
	struct rc_vn_DestroyBuffer args = {
		.device = host(client), .device_object = &client->device->base, .buffer_object = &buffer->base};
	rc_vn_execute_DestroyBuffer(&client->stream, &args);
}

/* On the GPU: `value` into all of `to` (when `from` is NULL), or a copy. */
UNUSED static void run(
	struct client *client, const struct rc_vn_buffer *from, const struct rc_vn_buffer *to, uint32_t value) {
	const struct rc_vn_device_functions *vk = &client->device->vk;
	struct rc_vn_queue *queue = rc_container_of(client->device->queues.next, struct rc_vn_queue, link);
	const VkCommandPoolCreateInfo pool_info = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = queue->family};
	VkCommandPool pool;
	CHECK(vk->CreateCommandPool(host(client), &pool_info, NULL, &pool) == VK_SUCCESS);
	const VkCommandBufferAllocateInfo allocate_info = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = pool, .commandBufferCount = 1};
	VkCommandBuffer commands;
	CHECK(vk->AllocateCommandBuffers(host(client), &allocate_info, &commands) == VK_SUCCESS);
	const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
	CHECK(vk->BeginCommandBuffer(commands, &begin) == VK_SUCCESS);
	const VkBuffer target = (VkBuffer)(uintptr_t)to->base.handle;
	if (from) {
		const VkBufferCopy region = {.size = to->size};
		vk->CmdCopyBuffer(commands, (VkBuffer)(uintptr_t)from->base.handle, target, 1, &region);
	} else {
		vk->CmdFillBuffer(commands, target, 0, VK_WHOLE_SIZE, value);
	}
	CHECK(vk->EndCommandBuffer(commands) == VK_SUCCESS);
	const VkSubmitInfo batch = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
	CHECK(rc_vn_queue_submit(queue, 1, &batch, VK_NULL_HANDLE) == VK_SUCCESS);
	CHECK(vk->QueueWaitIdle(queue->queue) == VK_SUCCESS);
	vk->DestroyCommandPool(host(client), pool, NULL);
}

UNUSED static bool all_are(const void *data, size_t size, uint8_t value) {
	const uint8_t *bytes = data;
	return bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0;
}

UNUSED static struct rc_vn_blob *take_blob(struct client *client, const struct rc_vn_memory *memory, uint64_t size) {
	return rc_vn_memory_take_blob(client->context, memory->base.id, size);
}

/* A buffer in mapped memory, to look at others with. */
UNUSED static struct rc_vn_buffer *create_window(struct client *client, VkDeviceSize size) {
	const uint32_t type = client->type;
	VkMemoryPropertyFlags *shown = &client->guest->memory.memoryTypes[client->mapped_type].propertyFlags,
						  before = *shown;
	client->type = client->mapped_type;
	*shown |= VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
	struct rc_vn_memory *memory = allocate(client, size, NULL);
	client->type = type;
	*shown = before;
	struct rc_vn_buffer *window = create_buffer(client, size, NULL);
	CHECK(memory->blob.blob && bind(client, window, memory, 0) == VK_SUCCESS && window->memory.blob);
	return window;
}

#undef UNUSED
#endif
