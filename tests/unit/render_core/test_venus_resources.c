/* SPDX-License-Identifier: Apache-2.0
 * Buffers and images of Venus clients on a Vulkan device: lavapipe will do. */
#include "../../support/venus_executor.h"

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

static VkMemoryRequirements2 image_requirements(
	struct client *client, const struct rc_vn_object *image, VkMemoryDedicatedRequirements *wish) {
	const VkImageMemoryRequirementsInfo2 info = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2, .image = (VkImage)(uintptr_t)image->handle};
	*wish = (VkMemoryDedicatedRequirements){.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS};
	VkMemoryRequirements2 answer = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2, .pNext = wish};
	struct rc_vn_GetImageMemoryRequirements2 args = {
		.device = host(client), .device_object = &client->device->base, .pInfo = &info, .pMemoryRequirements = &answer};
	rc_vn_execute_GetImageMemoryRequirements2(&client->stream, &args);
	return answer;
}

static void images_live_beside_buffers(void) {
	struct client client;
	connect(&client, NULL, false);
	struct rc_vn_memory *before = allocate(&client, 1000, NULL);
	/* the second is what NVIDIA's driver would like to have memory of its own for */
	for (uint32_t size = 64; size <= 2048; size *= 32) {
		VkImageCreateInfo info = good_image;
		info.extent = (VkExtent3D){size, size, 1};
		info.usage |= VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT;
		struct rc_vn_object *image = create_image(&client, info);
		VkMemoryDedicatedRequirements wish;
		const VkMemoryRequirements2 needs = image_requirements(&client, image, &wish);
		const VkMemoryDedicatedAllocateInfo dedicated = {
			.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO, .image = (VkImage)(uintptr_t)image};
		struct rc_vn_memory *memory = allocate(&client, needs.memoryRequirements.size, &dedicated);
		CHECK(!memory->base.poisoned);
		const bool own = wish.prefersDedicatedAllocation || needs.memoryRequirements.size > 32 * MIB;
		CHECK(own ? !memory->block : memory->block != NULL);
		CHECK(own || memory->block != before->block || memory->offset >= 4096);
		CHECK(bind_image(&client, image, memory, 0) == VK_SUCCESS && !client.device->lost);
		struct rc_vn_DestroyImage destroy = {
			.device = host(&client), .device_object = &client.device->base, .image_object = image};
		rc_vn_execute_DestroyImage(&client.stream, &destroy);
	}
	CHECK(bind_image(&client, create_image(&client, good_image), before, 0) < 0 && client.device->lost); /* too small */
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
	requirements_follow_from_the_create_info();
	images_live_beside_buffers();
	images_that_cannot_be_are_refused();
	rc_device_destroy(worker);
	return 0;
}
