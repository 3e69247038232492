/* SPDX-License-Identifier: Apache-2.0
 * Memory of Venus clients, and what is bound to it, on a Vulkan device: lavapipe will do. Executors are called with the arguments that decoding
 * commands would give. Lavapipe's only type of memory can be mapped: where a test is about memory that only the GPU sees, it hides that. */
#include <string.h>

#include "check.h"
#include "execute/venus/buffer.h"
#include "execute/venus/context.h"
#include "execute/venus/memory.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "util/clock.h"

enum { SKIPPED = 77, INSTANCE = 1, PHYSICAL = 2, DEVICE = 3, FIRST = 10, MIB = 1 << 20 };

static struct rc_log sink;
static struct rc_device *worker;

struct client {
	struct rc_vn_guest *guest;
	struct rc_vn_context *context;
	struct rc_vn_stream stream;
	struct rc_vn_device *device;
	uint64_t next_id;
	uint32_t type; /* the memory type that is used */
};

static void connect(struct client *client, const struct rc_vn_limits *limits, bool mappable) {
	const struct rc_vn_guest_params params = {.log = &sink, .device = worker, .swapchain = true, .limits = limits};
	*client = (struct client){.next_id = FIRST};
	CHECK(rc_vn_guest_create(&params, &client->guest) == RC_OK);
	client->type = (uint32_t)__builtin_ctz(client->guest->importable_types);
	if (!mappable) {
		/* as a GPU's own memory is shown */
		client->guest->memory.memoryTypes[client->type].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
	}
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
static void disconnect(struct client *client) {
	CHECK(!client->context->failed);
	rc_vn_reader_leave(&client->context->objects, client->stream.reader);
	rc_vn_stream_finish(&client->stream);
	rc_vn_context_destroy(client->context);
	CHECK(client->guest->usage.memory_bytes == 0 && client->guest->usage.visible_bytes == 0);
	CHECK(client->guest->usage.memories == 0 && client->guest->usage.shared_bytes == 0);
	rc_vn_guest_destroy(client->guest);
}

static VkDevice host(const struct client *client) {
	return (VkDevice)(uintptr_t)client->device->base.handle;
}

/* vkAllocateMemory as clients send it: without asking for a reply. */
static struct rc_vn_memory *allocate(struct client *client, VkDeviceSize size, const void *next) {
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

static void free_memory(struct client *client, struct rc_vn_memory *memory) {
	struct rc_vn_FreeMemory args = {
		.device = host(client), .device_object = &client->device->base, .memory_object = &memory->base};
	rc_vn_execute_FreeMemory(&client->stream, &args);
}

static struct rc_vn_buffer *create_buffer(struct client *client, VkDeviceSize size, const void *next) {
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

static VkResult bind(
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

static void destroy_buffer(struct client *client, struct rc_vn_buffer *buffer) {
	struct rc_vn_DestroyBuffer args = {
		.device = host(client), .device_object = &client->device->base, .buffer_object = &buffer->base};
	rc_vn_execute_DestroyBuffer(&client->stream, &args);
}

/* On the GPU: `value` into all of `to` (when `from` is NULL), or a copy. */
static void run(struct client *client, const struct rc_vn_buffer *from, const struct rc_vn_buffer *to, uint32_t value) {
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

static bool all_are(const void *data, size_t size, uint8_t value) {
	const uint8_t *bytes = data;
	return bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static struct rc_vn_blob *take_blob(struct client *client, const struct rc_vn_memory *memory, uint64_t size) {
	return rc_vn_memory_take_blob(client->context, memory->base.id, size);
}

static void mapped_memory_is_what_the_gpu_writes(void) {
	struct client client;
	connect(&client, NULL, true);
	struct rc_vn_memory *memory = allocate(&client, 5000, NULL); /* no multiple of pages */
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(!take_blob(&client, memory, 5001) && !rc_vn_memory_take_blob(client.context, 4711, 5000));
	CHECK(!rc_vn_memory_take_blob(client.context, buffer->base.id, 5000));
	struct rc_vn_blob *blob = take_blob(&client, memory, 5000);
	CHECK(blob && blob->mapped >= 5000 && all_are(blob->map, blob->mapped, 0));
	CHECK(!take_blob(&client, memory, 5000)); /* one resource for each memory */
	CHECK(bind(&client, buffer, memory, 512) == VK_SUCCESS);
	run(&client, NULL, buffer, 0xababababu);
	CHECK(all_are(blob->map, 512, 0) && all_are(blob->map + 512, 4096, 0xab));
	uint64_t offset;
	struct rc_vn_blob *seen = rc_vn_blob_slot_get(&buffer->memory, &offset);
	CHECK(seen == blob && offset == 512);
	rc_vn_blob_unref(seen);
	free_memory(&client, memory); /* while it is mapped */
	CHECK(all_are(blob->map + 512, 4096, 0xab));
	rc_vn_blob_unref(blob);
	destroy_buffer(&client, buffer);
	disconnect(&client);
}

static void freed_memory_is_used_again_when_nobody_holds_it(void) {
	struct client client;
	connect(&client, NULL, true);
	struct rc_vn_memory_stats stats;
	struct rc_vn_memory *memory = allocate(&client, 65536, NULL);
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(bind(&client, buffer, memory, 0) == VK_SUCCESS);
	struct rc_vn_blob *first = take_blob(&client, memory, 65536);
	free_memory(&client, memory);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 1 && stats.cached_bytes == 65536 && stats.own == 1);

	memory = allocate(&client, 65536, NULL);
	struct rc_vn_blob *second = take_blob(&client, memory, 65536);
	CHECK(second != first); /* the client may still know it as a resource, and the buffer is there */
	free_memory(&client, memory);
	rc_vn_blob_unref(second);

	rc_vn_blob_unref(first);
	memory = allocate(&client, 65536, NULL);
	CHECK(memory->blob.blob == second);
	free_memory(&client, memory);
	destroy_buffer(&client, buffer);
	memory = allocate(&client, 65000, NULL); /* of the same pages */
	struct rc_vn_memory *other = allocate(&client, 65536, NULL);
	CHECK((memory->blob.blob == first && other->blob.blob == second) ||
		  (memory->blob.blob == second && other->blob.blob == first));
	const VkMemoryAllocateFlagsInfo flags = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
	free_memory(&client, memory);
	CHECK(allocate(&client, 65536, &flags)->blob.blob != first);
	const uint64_t now_ns = rc_now_ns();
	rc_vn_memory_pool_tidy(client.device->memory_pool, now_ns);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 1); /* freed a moment ago */
	rc_vn_memory_pool_tidy(client.device->memory_pool, now_ns + 4000000000u);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 0 && stats.own == 2 && client.guest->usage.memories == 2);
	disconnect(&client); /* the client left two */
}

static void a_full_guest_is_refused_gently(void) {
	struct rc_vn_limits limits = rc_vn_limits_default(true);
	struct client client;
	CHECK(rc_vn_limits_set(&limits, "memory-bytes", 64 * MIB));
	connect(&client, &limits, true);
	struct rc_vn_memory *large = allocate(&client, 48 * MIB, NULL), *small = allocate(&client, 16 * MIB, NULL);
	CHECK(!large->base.poisoned && !small->base.poisoned && !client.device->lost);
	free_memory(&client, small); /* kept, and given up when memory is short */
	small = allocate(&client, 8 * MIB, NULL);
	CHECK(!small->base.poisoned && !client.device->lost);
	client.stream.replying = true; /* who asks learns it, and loses nothing */
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = 16 * MIB, .memoryTypeIndex = client.type};
	VkDeviceMemory id = (VkDeviceMemory)(uintptr_t)client.next_id++;
	struct rc_vn_AllocateMemory args = {
		.device = host(&client), .device_object = &client.device->base, .pAllocateInfo = &info, .pMemory = &id};
	rc_vn_execute_AllocateMemory(&client.stream, &args);
	CHECK(args.ret == VK_ERROR_OUT_OF_DEVICE_MEMORY && !id && !client.device->lost);
	client.stream.replying = false;

	allocate(&client, 8 * MIB - 4096, NULL);
	struct rc_vn_memory *feedback = allocate(&client, 8192, NULL);
	CHECK(feedback->base.poisoned && !feedback->base.handle && client.device->lost && client.guest->usage.refused >= 2);
	/* It can be mapped, so that its client finds an error there; it cannot be bound, and nothing falls over. */
	struct rc_vn_blob *blob = take_blob(&client, feedback, 8192);
	CHECK(blob && all_are(blob->map, 8192, 0) && client.guest->usage.shared_bytes == 8192);
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(bind(&client, buffer, feedback, 0) == VK_ERROR_OUT_OF_DEVICE_MEMORY && buffer->memory.blob == blob);
	rc_vn_blob_unref(blob);
	free_memory(&client, feedback);
	struct rc_vn_memory *more = allocate(&client, 8 * MIB, NULL);
	CHECK(more->base.poisoned && !take_blob(&client, more, 8 * MIB));
	disconnect(&client);
}

static void nonsense_is_refused(void) {
	struct client client;
	for (int what = 0; what < 6; what++) {
		connect(&client, NULL, what % 2 == 0);
		if (what < 3) {
			const VkDeviceSize sizes[] = {0, UINT64_MAX, client.guest->memory.memoryHeaps[0].size + 1};
			CHECK(allocate(&client, sizes[what], NULL)->base.poisoned);
		} else if (what == 3) {
			client.type = client.guest->memory.memoryTypeCount;
			CHECK(allocate(&client, 4096, NULL)->base.poisoned);
		} else {
			struct rc_vn_memory *memory = allocate(&client, 4096, NULL);
			struct rc_vn_buffer *buffer = create_buffer(&client, 1024, NULL);
			CHECK(!client.device->lost);
			CHECK(bind(&client, buffer, memory, what == 4 ? 4096 - 512 : UINT64_MAX - 511) < 0);
		}
		CHECK(client.device->lost);
		disconnect(&client);
	}
	connect(&client, NULL, true);
	CHECK(create_buffer(&client, 0, NULL)->base.poisoned && !client.device->lost);
	disconnect(&client);
}

static void small_allocations_are_ranges_of_zeros(void) {
	struct client client;
	enum { COUNT = 5, SIZE = 100000 };
	connect(&client, NULL, false);
	struct rc_vn_memory *memories[COUNT];
	struct rc_vn_buffer *buffers[COUNT];
	for (int i = 0; i < COUNT; i++) {
		memories[i] = allocate(&client, SIZE, NULL);
		buffers[i] = create_buffer(&client, SIZE, NULL);
		CHECK(memories[i]->block == memories[0]->block && memories[i]->base.handle == memories[0]->base.handle);
		CHECK(!take_blob(&client, memories[i], SIZE));
		CHECK(bind(&client, buffers[i], memories[i], 0) == VK_SUCCESS);
	}
	/* Something to look at them with, imported. */
	client.guest->memory.memoryTypes[client.type].propertyFlags |= VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
	struct rc_vn_memory *mapped = allocate(&client, SIZE, NULL);
	client.guest->memory.memoryTypes[client.type].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
	struct rc_vn_buffer *window = create_buffer(&client, SIZE, NULL);
	CHECK(mapped->blob.blob && bind(&client, window, mapped, 0) == VK_SUCCESS);
	const uint8_t *seen = mapped->blob.blob->map;
	for (uint32_t i = 0; i < COUNT; i++) {
		run(&client, NULL, window, 0x11111111u);
		run(&client, buffers[i], window, 0);
		CHECK(all_are(seen, SIZE, 0));
		run(&client, NULL, buffers[i], 0x01010101u * (i + 2));
	}
	for (uint32_t i = 0; i < COUNT; i++) { /* none is in another's */
		run(&client, buffers[i], window, 0);
		CHECK(all_are(seen, SIZE, (uint8_t)(i + 2)));
	}
	struct rc_vn_memory_stats stats;
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.blocks == 1 && stats.allocations == COUNT && stats.used_bytes == COUNT * SIZE && stats.own == 1);
	const VkBufferDeviceAddressInfo address = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = (VkBuffer)(uintptr_t)buffers[1]->base.handle};
	CHECK(client.device->vk.GetBufferDeviceAddress(host(&client), &address));
	free_memory(&client, memories[1]);
	destroy_buffer(&client, buffers[1]);
	struct rc_vn_memory *again = allocate(&client, SIZE, NULL);
	CHECK(again->block == memories[0]->block && again->offset == 131072);
	disconnect(&client);
}

static void large_allocations_are_their_own(void) {
	struct client client;
	connect(&client, NULL, false);
	const VkDeviceSize size = rc_vn_memory_blocks_limit(&client.device->memory_pool->blocks, client.type) + 4095;
	struct rc_vn_memory *memory = allocate(&client, size, NULL);
	CHECK(!memory->base.poisoned && !memory->block && memory->offset == 0 && memory->size == size);
	void *data;
	CHECK(client.device->vk.MapMemory(
			  host(&client), (VkDeviceMemory)(uintptr_t)memory->base.handle, 0, VK_WHOLE_SIZE, 0, &data) == VK_SUCCESS);
	CHECK(all_are(data, size, 0)); /* lavapipe's would not be: it comes from malloc() */
	client.device->vk.UnmapMemory(host(&client), (VkDeviceMemory)(uintptr_t)memory->base.handle);
	CHECK(client.guest->usage.memory_bytes >= size && client.guest->usage.visible_bytes == 0);
	free_memory(&client, memory);
	CHECK(client.guest->usage.memory_bytes == 0);
	disconnect(&client);
}

static VkMemoryRequirements requirements(struct client *client, const struct rc_vn_buffer *buffer) {
	const VkBufferMemoryRequirementsInfo2 info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_REQUIREMENTS_INFO_2,
		.buffer = (VkBuffer)(uintptr_t)buffer->base.handle,
	};
	VkMemoryRequirements2 answer = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
	struct rc_vn_GetBufferMemoryRequirements2 args = {
		.device = host(client), .device_object = &client->device->base, .pInfo = &info, .pMemoryRequirements = &answer};
	rc_vn_execute_GetBufferMemoryRequirements2(&client->stream, &args);
	return answer.memoryRequirements;
}

static void requirements_follow_from_the_create_info(void) {
	struct client client;
	connect(&client, NULL, true);
	/* as the client's own swapchains ask for it; nothing is exported */
	VkExternalMemoryBufferCreateInfo external = {
		.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
		.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT,
	};
	VkMemoryRequirements plain = requirements(&client, create_buffer(&client, 5000, NULL));
	VkMemoryRequirements shared = requirements(&client, create_buffer(&client, 5000, &external));
	CHECK(plain.size >= 5000 && memcmp(&plain, &shared, sizeof(plain)) == 0);
	const uint32_t families[2] = {0, 0};
	VkBufferCreateInfo buffer = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.pNext = &external,
		.size = 5000,
		.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
				 VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
		.queueFamilyIndexCount = 12345, /* left there by an application: it means nothing */
	};
	const VkDeviceBufferMemoryRequirements info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_BUFFER_MEMORY_REQUIREMENTS, .pCreateInfo = &buffer};
	VkMemoryRequirements2 answer = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
	struct rc_vn_GetDeviceBufferMemoryRequirements args = {
		.device = host(&client), .device_object = &client.device->base, .pInfo = &info, .pMemoryRequirements = &answer};
	rc_vn_execute_GetDeviceBufferMemoryRequirements(&client.stream, &args);
	CHECK(memcmp(&plain, &answer.memoryRequirements, sizeof(plain)) == 0);

	struct rc_vn_buffer_request request;
	CHECK(!rc_vn_buffer_request_make(client.device, &buffer, &request) && !buffer.pNext);
	CHECK(request.info.pNext == &request.external && !request.external.pNext);
	CHECK(request.external.handleTypes == VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT);
	CHECK(!rc_vn_buffer_request_make(client.device, &buffer, &request) && request.info.queueFamilyIndexCount == 0);
	buffer.sharingMode = VK_SHARING_MODE_CONCURRENT; /* now it means something */
	CHECK(rc_vn_buffer_request_make(client.device, &buffer, &request));
	buffer.queueFamilyIndexCount = 2;
	buffer.pQueueFamilyIndices = families;
	CHECK(!rc_vn_buffer_request_make(client.device, &buffer, &request) && request.info.queueFamilyIndexCount == 2);
	const uint32_t strange[2] = {0, client.guest->queue_family_count};
	buffer.pQueueFamilyIndices = strange;
	CHECK(rc_vn_buffer_request_make(client.device, &buffer, &request));
	disconnect(&client);
}

static struct rc_vn_object *create_image(struct client *client, VkImageCreateInfo info) {
	VkImage id = (VkImage)(uintptr_t)client->next_id++;
	struct rc_vn_CreateImage args = {
		.device = host(client), .device_object = &client->device->base, .pCreateInfo = &info, .pImage = &id};
	rc_vn_execute_CreateImage(&client->stream, &args);
	struct rc_vn_object *object = rc_vn_object_find(&client->context->objects, (uint64_t)(uintptr_t)id);
	CHECK(object && object->poisoned == (args.ret != VK_SUCCESS));
	return object;
}

static VkResult bind_image(
	struct client *client, const struct rc_vn_object *image, struct rc_vn_memory *memory, VkDeviceSize offset) {
	VkBindImageMemoryDeviceGroupInfo group = {.sType = VK_STRUCTURE_TYPE_BIND_IMAGE_MEMORY_DEVICE_GROUP_INFO};
	VkBindImageMemoryInfo info = {
		.sType = VK_STRUCTURE_TYPE_BIND_IMAGE_MEMORY_INFO,
		.pNext = &group,
		.image = (VkImage)(uintptr_t)image->handle,
		.memory = (VkDeviceMemory)(uintptr_t)memory,
		.memoryOffset = offset,
	};
	struct rc_vn_BindImageMemory2 args = {
		.device = host(client), .device_object = &client->device->base, .bindInfoCount = 1, .pBindInfos = &info};
	rc_vn_execute_BindImageMemory2(&client->stream, &args);
	return args.ret;
}

static const VkImageCreateInfo good_image = {
	.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
	.imageType = VK_IMAGE_TYPE_2D,
	.format = VK_FORMAT_R8G8B8A8_UNORM,
	.extent = {64, 48, 1},
	.mipLevels = 7,
	.arrayLayers = 2,
	.samples = VK_SAMPLE_COUNT_1_BIT,
	.usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT,
};

static void images_live_beside_buffers(void) {
	struct client client;
	connect(&client, NULL, false);
	struct rc_vn_object *image = create_image(&client, good_image);
	const VkImageMemoryRequirementsInfo2 info = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2, .image = (VkImage)(uintptr_t)image->handle};
	VkMemoryRequirements2 answer = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
	struct rc_vn_GetImageMemoryRequirements2 args = {
		.device = host(&client), .device_object = &client.device->base, .pInfo = &info, .pMemoryRequirements = &answer};
	rc_vn_execute_GetImageMemoryRequirements2(&client.stream, &args);
	struct rc_vn_memory *before = allocate(&client, 1000, NULL);
	const VkMemoryDedicatedAllocateInfo dedicated = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO, .image = (VkImage)(uintptr_t)image};
	/* lavapipe wants no memory of its own for it: then it is a range */
	struct rc_vn_memory *memory = allocate(&client, answer.memoryRequirements.size, &dedicated);
	CHECK(memory->block && memory->block == before->block && memory->offset >= 4096);
	CHECK(bind_image(&client, image, memory, 0) == VK_SUCCESS && !client.device->lost);
	struct rc_vn_DestroyImage destroy = {
		.device = host(&client), .device_object = &client.device->base, .image_object = image};
	rc_vn_execute_DestroyImage(&client.stream, &destroy);
	image = create_image(&client, good_image);
	CHECK(bind_image(&client, image, before, 0) < 0 && client.device->lost); /* too small */
	disconnect(&client);
}

static void images_that_cannot_be_are_refused(void) {
	struct client client;
	connect(&client, NULL, true);
	VkImageCreateInfo infos[16];
	size_t count = 0;
	const VkExtent3D extents[] = {{0, 48, 1}, {64, 0, 1}, {64, 48, 0}, {64, 48, 2}, {1u << 31, 1, 1}};
	for (size_t i = 0; i < sizeof(extents) / sizeof(extents[0]); i++) {
		infos[count] = good_image;
		infos[count++].extent = extents[i];
	}
#define WITH(member, value)                                                                                            \
	infos[count] = good_image;                                                                                         \
	infos[count++].member = value
	WITH(mipLevels, 0);
	WITH(mipLevels, 8);
	WITH(arrayLayers, 0);
	WITH(arrayLayers, UINT32_MAX);
	WITH(samples, 0);
	WITH(samples, 3);
	WITH(imageType, 3);
	WITH(tiling, VK_IMAGE_TILING_DRM_FORMAT_MODIFIER_EXT);
	WITH(flags, VK_IMAGE_CREATE_SPARSE_BINDING_BIT);
	WITH(sharingMode, VK_SHARING_MODE_CONCURRENT);
#undef WITH
	for (size_t i = 0; i < count; i++) {
		CHECK(create_image(&client, infos[i])->poisoned);
	}
	CHECK(!client.device->lost); /* nothing was done with them */
	disconnect(&client);
}

int main(void) {
	rc_log_init(&sink, getenv("TEST_LOG") ? 2 : -1, RC_LOG_DEBUG);
	if (rc_device_create(&sink, "auto", &worker) != RC_OK) {
		return SKIPPED;
	}
	mapped_memory_is_what_the_gpu_writes();
	freed_memory_is_used_again_when_nobody_holds_it();
	a_full_guest_is_refused_gently();
	nonsense_is_refused();
	small_allocations_are_ranges_of_zeros();
	large_allocations_are_their_own();
	requirements_follow_from_the_create_info();
	images_live_beside_buffers();
	images_that_cannot_be_are_refused();
	rc_device_destroy(worker);
	return 0;
}
