/* SPDX-License-Identifier: Apache-2.0
 * What Venus clients are shown of the device, and what becomes of the device they ask for. Needs a Vulkan device: lavapipe will do. */
#include <string.h>

#include "check.h"
#include "execute/venus/context.h"
#include "execute/venus/device_request.h"
#include "execute/venus/extension_filter.h"
#include "execute/venus/object.h"

enum { SKIPPED = 77, INSTANCE = 1, PHYSICAL = 2, DEVICE = 3 };

static struct rc_log sink;
static struct rc_device *worker;

/* A client that says what it means: executors are called with the arguments that decoding its commands would give. */
struct client {
	struct rc_vn_guest *guest;
	struct rc_vn_context *context;
	struct rc_vn_stream stream;
	struct rc_vn_object *instance, *physical;
};

static struct rc_vn_guest *make_guest(bool swapchain, const struct rc_vn_limits *limits) {
	const struct rc_vn_guest_params params = {.log = &sink, .device = worker, .swapchain = swapchain, .limits = limits};
	struct rc_vn_guest *guest;
	CHECK(rc_vn_guest_create(&params, &guest) == RC_OK);
	return guest;
}

static void connect(struct client *client, struct rc_vn_guest *guest) {
	*client = (struct client){.guest = guest};
	CHECK(rc_vn_context_create(guest, 1, NULL, &client->context) == RC_OK);
	CHECK(rc_vn_stream_init(&client->stream, client->context, NULL));
	const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
	VkInstance instance = (VkInstance)(uintptr_t)INSTANCE;
	struct rc_vn_CreateInstance create = {.pCreateInfo = &info, .pInstance = &instance};
	rc_vn_execute_CreateInstance(&client->stream, &create);
	CHECK(create.ret == VK_SUCCESS);
	client->instance = rc_vn_object_find(&client->context->objects, INSTANCE);
	CHECK(client->instance && client->instance->handle == (uint64_t)(uintptr_t)worker->instance);
}

static void enumerate(struct client *client) {
	uint32_t count = 1;
	VkPhysicalDevice physical = (VkPhysicalDevice)(uintptr_t)PHYSICAL;
	struct rc_vn_EnumeratePhysicalDevices args = {
		.instance_object = client->instance, .pPhysicalDeviceCount = &count, .pPhysicalDevices = &physical};
	rc_vn_execute_EnumeratePhysicalDevices(&client->stream, &args);
	CHECK(args.ret == VK_SUCCESS && count == 1 && physical == (VkPhysicalDevice)(uintptr_t)PHYSICAL);
	client->physical = rc_vn_object_find(&client->context->objects, PHYSICAL);
	CHECK(client->physical && client->physical->handle == (uint64_t)(uintptr_t)worker->physical);
}

static void disconnect(struct client *client) {
	CHECK(!client->context->failed);
	rc_vn_stream_finish(&client->stream);
	rc_vn_context_destroy(client->context);
}

static void capset_says_what_the_decoder_knows(void) {
	struct rc_vn_guest *guest = make_guest(true, NULL);
	uint32_t words[40];
	rc_vn_guest_capset(guest, words);
	CHECK(words[0] == 1 && words[1] == rc_vn_registry_version && words[2] == 1 && words[3] == 2 && words[4] == 1);
	CHECK(words[5] & 1);
	for (uint32_t i = 0; i < rc_vn_extension_count; i++) {
		const uint32_t number = rc_vn_extensions[i].number;
		CHECK(((words[5 + number / 32] >> number % 32) & 1) == rc_vn_extensions[i].in_registry);
	}
	CHECK(words[37] == 1 && words[38] == 1 && words[39] == 0);
	CHECK(guest->api_version >= VK_API_VERSION_1_3);
	rc_vn_guest_destroy(guest);
}

static void extensions_are_known_and_can_work(void) {
	static const char *const wanted[] = {VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
		VK_EXT_IMAGE_DRM_FORMAT_MODIFIER_EXTENSION_NAME, VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME};
	for (int swapchain = 0; swapchain < 2; swapchain++) {
		struct rc_vn_guest *guest = make_guest(swapchain, NULL);
		for (uint32_t i = 0; i < guest->extension_count; i++) {
			const VkExtensionProperties *shown = &guest->extensions[i];
			uint32_t known = 0;
			for (uint32_t j = 0; j < rc_vn_extension_count; j++) {
				if (strcmp(rc_vn_extensions[j].name, shown->extensionName) == 0) {
					known++;
					CHECK(rc_vn_extensions[j].in_registry && shown->specVersion <= rc_vn_extensions[j].spec_version);
				}
			}
			CHECK(known == 1 && shown->specVersion > 0);
			for (uint32_t j = 0; j < i; j++) {
				CHECK(strcmp(guest->extensions[j].extensionName, shown->extensionName) != 0);
			}
		}
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
			CHECK(rc_vn_extension_is_shown(guest, wanted[i]) == swapchain);
		}
		CHECK(rc_vn_extension_is_shown(guest, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME));
		CHECK(rc_vn_extension_is_shown(guest, VK_KHR_SYNCHRONIZATION_2_EXTENSION_NAME));
		CHECK(rc_vn_extension_is_shown(guest, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME));
		CHECK(!rc_vn_extension_is_shown(guest, VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME));
		CHECK(!rc_vn_extension_is_shown(guest, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME));
		CHECK(!rc_vn_extension_is_shown(guest, VK_KHR_SWAPCHAIN_EXTENSION_NAME));
		rc_vn_guest_destroy(guest);
	}
}

static void extension_list_is_given_as_vulkan_does(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	enumerate(&client);
	VkExtensionProperties *list = calloc(client.guest->extension_count + 1, sizeof(*list));
	uint32_t count = 0;
	struct rc_vn_EnumerateDeviceExtensionProperties args = {
		.physicalDevice_object = client.physical, .pPropertyCount = &count};
	rc_vn_execute_EnumerateDeviceExtensionProperties(&client.stream, &args);
	CHECK(args.ret == VK_SUCCESS && count == client.guest->extension_count);
	args.pProperties = list;
	count = 3;
	rc_vn_execute_EnumerateDeviceExtensionProperties(&client.stream, &args);
	CHECK(args.ret == VK_INCOMPLETE && count == 3 && list[2].specVersion && !list[3].specVersion);
	count = client.guest->extension_count + 1;
	rc_vn_execute_EnumerateDeviceExtensionProperties(&client.stream, &args);
	CHECK(args.ret == VK_SUCCESS && count == client.guest->extension_count && list[count - 1].specVersion);
	free(list);
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static void mappable_memory_is_coherent_and_imported(void) {
	struct rc_vn_limits limits = rc_vn_limits_default(true);
	CHECK(rc_vn_limits_set(&limits, "memory-bytes", 512u << 20) &&
		  rc_vn_limits_set(&limits, "visible-bytes", 256u << 20));
	struct rc_vn_guest *guest = make_guest(true, &limits);
	const VkMemoryPropertyFlags mappable = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
	uint32_t coherent = 0;
	CHECK(guest->memory.memoryTypeCount == guest->host_memory.memoryTypeCount);
	for (uint32_t i = 0; i < guest->memory.memoryTypeCount; i++) {
		const VkMemoryPropertyFlags flags = guest->memory.memoryTypes[i].propertyFlags;
		CHECK(guest->memory.memoryTypes[i].heapIndex == guest->host_memory.memoryTypes[i].heapIndex);
		if (flags & mappable) {
			CHECK((flags & mappable) == mappable && (guest->importable_types & (1u << i)));
			coherent++;
		} else {
			CHECK(!(flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT));
		}
	}
	CHECK(coherent > 0);
	for (uint32_t i = 0; i < guest->memory.memoryHeapCount; i++) {
		CHECK(guest->memory.memoryHeaps[i].size > 0 && guest->memory.memoryHeaps[i].size <= 512u << 20);
	}
	CHECK(guest->host_alignment >= 4096);
	rc_vn_guest_destroy(guest);
}

static void physical_device_is_named_once(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	uint32_t count = 0;
	VkPhysicalDeviceGroupProperties group = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_GROUP_PROPERTIES};
	struct rc_vn_EnumeratePhysicalDeviceGroups groups = {
		.instance_object = client.instance, .pPhysicalDeviceGroupCount = &count};
	rc_vn_execute_EnumeratePhysicalDeviceGroups(&client.stream, &groups);
	CHECK(groups.ret == VK_SUCCESS && count == 1);
	groups.pPhysicalDeviceGroupProperties = &group;
	rc_vn_execute_EnumeratePhysicalDeviceGroups(&client.stream, &groups);
	CHECK(groups.ret == VK_SUCCESS && count == 0); /* it has no name yet */
	enumerate(&client);
	count = 1;
	rc_vn_execute_EnumeratePhysicalDeviceGroups(&client.stream, &groups);
	CHECK(count == 1 && group.physicalDeviceCount == 1 && !group.physicalDevices[1]);
	CHECK(group.physicalDevices[0] == (VkPhysicalDevice)(uintptr_t)PHYSICAL);
	enumerate(&client);
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static void features_that_are_not_offered_are_off(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	VkPhysicalDeviceVulkan12Features core12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
	VkPhysicalDeviceVulkan11Features core11 = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &core12};
	VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &core11};
	struct rc_vn_GetPhysicalDeviceFeatures2 args = {.pFeatures = &features};
	rc_vn_execute_GetPhysicalDeviceFeatures2(&client.stream, &args);
	CHECK(!features.features.sparseBinding && !features.features.sparseResidencyBuffer);
	CHECK(
		!core11.protectedMemory && !core12.bufferDeviceAddressCaptureReplay && !core12.bufferDeviceAddressMultiDevice);
	CHECK(core12.timelineSemaphore && features.features.independentBlend);
	VkQueueFamilyProperties families[32];
	uint32_t count = 32;
	struct rc_vn_GetPhysicalDeviceQueueFamilyProperties queues = {
		.pQueueFamilyPropertyCount = &count, .pQueueFamilyProperties = families};
	rc_vn_execute_GetPhysicalDeviceQueueFamilyProperties(&client.stream, &queues);
	CHECK(count >= 1 && count == client.guest->queue_family_count);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(families[i].queueFlags &&
			  !(families[i].queueFlags & (VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT)));
	}
	VkPhysicalDeviceProperties properties;
	struct rc_vn_GetPhysicalDeviceProperties asked = {.pProperties = &properties};
	rc_vn_execute_GetPhysicalDeviceProperties(&client.stream, &asked);
	CHECK(properties.apiVersion == client.guest->api_version && properties.limits.sparseAddressSpaceSize == 0);
	CHECK(properties.limits.maxMemoryAllocationCount >= 4096);
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static void formats_have_no_modifiers_and_nothing_is_shared(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	VkDrmFormatModifierPropertiesEXT room[4];
	VkFormatProperties3 newer = {.sType = VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_3};
	VkDrmFormatModifierPropertiesListEXT list = {.sType = VK_STRUCTURE_TYPE_DRM_FORMAT_MODIFIER_PROPERTIES_LIST_EXT,
		.pNext = &newer,
		.drmFormatModifierCount = 4,
		.pDrmFormatModifierProperties = room};
	VkFormatProperties2 format = {.sType = VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_2, .pNext = &list};
	struct rc_vn_GetPhysicalDeviceFormatProperties2 formats = {
		.format = VK_FORMAT_R8G8B8A8_UNORM, .pFormatProperties = &format};
	rc_vn_execute_GetPhysicalDeviceFormatProperties2(&client.stream, &formats);
	CHECK(format.pNext == &list && list.pNext == &newer && list.drmFormatModifierCount == 0);
	CHECK(format.formatProperties.optimalTilingFeatures & VK_FORMAT_FEATURE_SAMPLED_IMAGE_BIT);
	CHECK(newer.optimalTilingFeatures & VK_FORMAT_FEATURE_2_SAMPLED_IMAGE_BIT);

	VkPhysicalDeviceExternalImageFormatInfo external = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_IMAGE_FORMAT_INFO,
		.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT};
	VkPhysicalDeviceImageFormatInfo2 info = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_FORMAT_INFO_2,
		.format = VK_FORMAT_R8G8B8A8_UNORM,
		.type = VK_IMAGE_TYPE_2D,
		.tiling = VK_IMAGE_TILING_OPTIMAL,
		.usage = VK_IMAGE_USAGE_SAMPLED_BIT};
	VkImageFormatProperties2 answer = {.sType = VK_STRUCTURE_TYPE_IMAGE_FORMAT_PROPERTIES_2};
	struct rc_vn_GetPhysicalDeviceImageFormatProperties2 images = {
		.pImageFormatInfo = &info, .pImageFormatProperties = &answer};
	rc_vn_execute_GetPhysicalDeviceImageFormatProperties2(&client.stream, &images);
	CHECK(images.ret == VK_SUCCESS && answer.imageFormatProperties.maxExtent.width >= 4096);
	info.pNext = &external;
	rc_vn_execute_GetPhysicalDeviceImageFormatProperties2(&client.stream, &images);
	CHECK(images.ret == VK_ERROR_FORMAT_NOT_SUPPORTED);
	info.pNext = NULL;
	info.flags = VK_IMAGE_CREATE_SPARSE_BINDING_BIT;
	rc_vn_execute_GetPhysicalDeviceImageFormatProperties2(&client.stream, &images);
	CHECK(images.ret == VK_ERROR_FORMAT_NOT_SUPPORTED);
	info.flags = 0;
	info.tiling = VK_IMAGE_TILING_DRM_FORMAT_MODIFIER_EXT;
	rc_vn_execute_GetPhysicalDeviceImageFormatProperties2(&client.stream, &images);
	CHECK(images.ret == VK_ERROR_FORMAT_NOT_SUPPORTED);

	VkSemaphoreTypeCreateInfo type = {
		.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
	VkPhysicalDeviceExternalSemaphoreInfo semaphore = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
		.handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT};
	VkExternalSemaphoreProperties shared = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES};
	struct rc_vn_GetPhysicalDeviceExternalSemaphoreProperties semaphores = {
		.pExternalSemaphoreInfo = &semaphore, .pExternalSemaphoreProperties = &shared};
	rc_vn_execute_GetPhysicalDeviceExternalSemaphoreProperties(&client.stream, &semaphores);
	CHECK(shared.externalSemaphoreFeatures == VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT);
	shared.externalSemaphoreFeatures = 0;
	semaphore.pNext = &type;
	rc_vn_execute_GetPhysicalDeviceExternalSemaphoreProperties(&client.stream, &semaphores);
	CHECK(shared.externalSemaphoreFeatures == 0);
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static const float priority = 1.0f;

static VkDeviceQueueCreateInfo first_queue(void) {
	return (VkDeviceQueueCreateInfo){
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
}

/* Ask for a device as `info` says; when there is one, it is destroyed again. */
static VkResult create_device(struct client *client, const VkDeviceCreateInfo *info) {
	VkDevice device = (VkDevice)(uintptr_t)DEVICE;
	struct rc_vn_CreateDevice create = {.physicalDevice = worker->physical,
		.physicalDevice_object = client->physical,
		.pCreateInfo = info,
		.pDevice = &device};
	rc_vn_execute_CreateDevice(&client->stream, &create);
	struct rc_vn_object *object = rc_vn_object_find(&client->context->objects, DEVICE);
	CHECK((create.ret == VK_SUCCESS) == (object != NULL));
	if (object) {
		CHECK(object->type == VK_OBJECT_TYPE_DEVICE && object->handle && object->parent == client->physical);
		struct rc_vn_DestroyDevice destroy = {.device_object = object};
		rc_vn_execute_DestroyDevice(&client->stream, &destroy);
		CHECK(!rc_vn_object_find(&client->context->objects, DEVICE));
	}
	return create.ret;
}

static void devices_are_what_was_offered(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	enumerate(&client);
	VkDeviceQueueCreateInfo queue = first_queue();
	/* as Mesa 25.0 sends it for a program that enables VK_KHR_swapchain */
	const char *const names[] = {VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
		VK_EXT_IMAGE_DRM_FORMAT_MODIFIER_EXTENSION_NAME, VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME,
		VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
		VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME};
	VkPhysicalDeviceProtectedMemoryFeatures safe = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROTECTED_MEMORY_FEATURES};
	VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &safe};
	VkDeviceGroupDeviceCreateInfo group = {.sType = VK_STRUCTURE_TYPE_DEVICE_GROUP_DEVICE_CREATE_INFO,
		.pNext = &features,
		.physicalDeviceCount = 1,
		.pPhysicalDevices = &worker->physical};
	VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.pNext = &group,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &queue,
		.enabledExtensionCount = sizeof(names) / sizeof(names[0]),
		.ppEnabledExtensionNames = names};
	CHECK(create_device(&client, &info) == VK_SUCCESS);
	CHECK(create_device(&client, &info) == VK_SUCCESS);

	features.features.sparseBinding = VK_TRUE;
	CHECK(create_device(&client, &info) == VK_ERROR_FEATURE_NOT_PRESENT);
	features.features.sparseBinding = VK_FALSE;
	safe.protectedMemory = VK_TRUE;
	CHECK(create_device(&client, &info) == VK_ERROR_FEATURE_NOT_PRESENT);
	safe.protectedMemory = VK_FALSE;
	const char *const stranger = VK_KHR_SWAPCHAIN_EXTENSION_NAME;
	VkDeviceCreateInfo other = info;
	other.enabledExtensionCount = 1;
	other.ppEnabledExtensionNames = &stranger;
	CHECK(create_device(&client, &other) == VK_ERROR_EXTENSION_NOT_PRESENT);
	other.ppEnabledExtensionNames = NULL; /* a count without an array */
	CHECK(create_device(&client, &other) == VK_ERROR_EXTENSION_NOT_PRESENT);

	VkDeviceQueueCreateInfo twice[2] = {queue, queue};
	other = info;
	other.queueCreateInfoCount = 2;
	other.pQueueCreateInfos = twice;
	CHECK(create_device(&client, &other) == VK_ERROR_INITIALIZATION_FAILED);
	other = info;
	other.pQueueCreateInfos = NULL;
	CHECK(create_device(&client, &other) == VK_ERROR_INITIALIZATION_FAILED);
	queue.queueFamilyIndex = client.guest->queue_family_count;
	CHECK(create_device(&client, &info) == VK_ERROR_INITIALIZATION_FAILED);
	queue = first_queue();
	queue.queueCount = 1000;
	CHECK(create_device(&client, &info) == VK_ERROR_INITIALIZATION_FAILED);
	queue = first_queue();
	queue.pQueuePriorities = NULL;
	CHECK(create_device(&client, &info) == VK_ERROR_INITIALIZATION_FAILED);
	queue = first_queue();
	CHECK(create_device(&client, &info) == VK_SUCCESS);
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static void an_instance_takes_its_devices_along(void) {
	struct client client;
	connect(&client, make_guest(true, NULL));
	enumerate(&client);
	const VkDeviceQueueCreateInfo queue = first_queue();
	const VkDeviceCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue};
	VkDevice device = (VkDevice)(uintptr_t)DEVICE;
	struct rc_vn_CreateDevice create = {
		.physicalDevice_object = client.physical, .pCreateInfo = &info, .pDevice = &device};
	rc_vn_execute_CreateDevice(&client.stream, &create);
	CHECK(create.ret == VK_SUCCESS);
	struct rc_vn_DestroyInstance destroy = {.instance_object = client.instance};
	rc_vn_execute_DestroyInstance(&client.stream, &destroy);
	for (uint64_t id = INSTANCE; id <= DEVICE; id++) {
		CHECK(!rc_vn_object_find(&client.context->objects, id));
	}
	struct rc_vn_guest *guest = client.guest;
	disconnect(&client);
	rc_vn_guest_destroy(guest);
}

static void limits_are_set_by_name_within_reason(void) {
	for (int cpu = 0; cpu < 2; cpu++) {
		struct rc_vn_limits limits = rc_vn_limits_default(cpu);
		CHECK(limits.wait_ms > limits.gpu_timeout_ms && limits.rings < RC_VN_MAX_READERS &&
			  limits.blobs > limits.memories);
		CHECK(rc_vn_limits_set(&limits, "memory-bytes", 1u << 30) && limits.memory_bytes == 1u << 30);
		CHECK(rc_vn_limits_set(&limits, "rings", 4) && limits.rings == 4);
		CHECK(!rc_vn_limits_set(&limits, "rings", 1000) && !rc_vn_limits_set(&limits, "rings", 0) && limits.rings == 4);
		CHECK(!rc_vn_limits_set(&limits, "memory", 1u << 30) && !rc_vn_limits_set(&limits, "", 0));
	}
	_Atomic uint64_t bytes = 0;
	CHECK(rc_vn_usage_take64(&bytes, 10, 10) && !rc_vn_usage_take64(&bytes, 1, 10) && bytes == 10);
	CHECK(!rc_vn_usage_take64(&bytes, UINT64_MAX, 20) && rc_vn_usage_take64(&bytes, 0, 10));
	_Atomic uint32_t count = 9;
	CHECK(rc_vn_usage_take32(&count, 1, 10) && !rc_vn_usage_take32(&count, UINT32_MAX, 10) && count == 10);
}

int main(void) {
	rc_log_init(&sink, 2, RC_LOG_INFO);
	limits_are_set_by_name_within_reason();
	if (rc_device_create(&sink, "auto", &worker) != RC_OK) {
		return SKIPPED;
	}
	capset_says_what_the_decoder_knows();
	extensions_are_known_and_can_work();
	extension_list_is_given_as_vulkan_does();
	mappable_memory_is_coherent_and_imported();
	physical_device_is_named_once();
	features_that_are_not_offered_are_off();
	formats_have_no_modifiers_and_nothing_is_shared();
	devices_are_what_was_offered();
	an_instance_takes_its_devices_along();
	rc_device_destroy(worker);
	return 0;
}
