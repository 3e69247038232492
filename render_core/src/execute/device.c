/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/device.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 32, MAX_EXTENSIONS = 512 };

static bool load_library(struct rc_device *device) {
	device->vk.library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!device->vk.library) {
		rc_log(device->log, RC_LOG_ERROR,
			"device: libvulkan.so.1 cannot be opened (%s); `heliograph doctor` says what to install", dlerror());
		return false;
	}
	*(void **)&device->vk.GetInstanceProcAddr = dlsym(device->vk.library, "vkGetInstanceProcAddr");
	return device->vk.GetInstanceProcAddr != NULL;
}

static bool create_instance(struct rc_device *device) {
	struct rc_vulkan *vk = &device->vk;
	PFN_vkCreateInstance create = (PFN_vkCreateInstance)vk->GetInstanceProcAddr(NULL, "vkCreateInstance");
	PFN_vkEnumerateInstanceVersion version =
		(PFN_vkEnumerateInstanceVersion)vk->GetInstanceProcAddr(NULL, "vkEnumerateInstanceVersion");
	device->api_version = VK_API_VERSION_1_0;
	if (version) {
		version(&device->api_version);
	}
	/* Venus clients share this instance: it is of the highest version that the loader and the headers know. */
	if (device->api_version > VK_HEADER_VERSION_COMPLETE) {
		device->api_version = VK_HEADER_VERSION_COMPLETE;
	}
	const VkApplicationInfo app = {
		.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
		.pApplicationName = "heliograph",
		.apiVersion = device->api_version,
	};
	const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
	VkResult result = create ? create(&info, NULL, &device->instance) : VK_ERROR_INITIALIZATION_FAILED;
	if (result != VK_SUCCESS) {
		rc_log(device->log, RC_LOG_ERROR,
			"device: vkCreateInstance failed (%d): no working Vulkan driver; see `heliograph doctor`", result);
		return false;
	}
#define X(function)                                                                                                    \
	vk->function = (PFN_vk##function)vk->GetInstanceProcAddr(device->instance, "vk" #function);                        \
	if (!vk->function) {                                                                                               \
		rc_log(device->log, RC_LOG_ERROR, "device: the Vulkan loader lacks vk" #function);                             \
		return false;                                                                                                  \
	}
	RC_VK_INSTANCE_FUNCTIONS(X)
#undef X
	return true;
}

static void uuid_text(const uint8_t uuid[VK_UUID_SIZE], char text[2 * VK_UUID_SIZE + 1]) {
	for (size_t i = 0; i < VK_UUID_SIZE; i++) {
		static const char digits[] = "0123456789abcdef";
		text[2 * i] = digits[uuid[i] >> 4];
		text[2 * i + 1] = digits[uuid[i] & 15];
	}
	text[2 * VK_UUID_SIZE] = 0;
}

static int auto_rank(VkPhysicalDeviceType type) {
	switch (type) {
	case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
		return 4;
	case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
		return 3;
	case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
		return 2;
	default:
		return 1;
	}
}

/* An index is at most two digits; anything longer is the beginning of a UUID. Dashes in it are skipped. */
static bool matches(const char *gpu, uint32_t index, VkPhysicalDevice physical, const struct rc_vulkan *vk) {
	VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
	VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
	vk->GetPhysicalDeviceProperties2(physical, &properties);
	if (strcmp(gpu, "cpu") == 0) {
		return properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
	}
	if (strlen(gpu) <= 2) {
		char *end;
		unsigned long wanted = strtoul(gpu, &end, 10);
		return *gpu && !*end && wanted == index;
	}
	char text[2 * VK_UUID_SIZE + 1];
	uuid_text(id.deviceUUID, text);
	size_t at = 0;
	for (const char *c = gpu; *c; c++) {
		if (*c == '-') {
			continue;
		}
		if (at == sizeof(text) - 1 || tolower((unsigned char)*c) != text[at++]) {
			return false;
		}
	}
	return true;
}

static bool choose_physical(struct rc_device *device, const char *gpu) {
	VkPhysicalDevice devices[MAX_DEVICES];
	uint32_t count = MAX_DEVICES;
	VkResult result = device->vk.EnumeratePhysicalDevices(device->instance, &count, devices);
	if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || count == 0) {
		rc_log(
			device->log, RC_LOG_ERROR, "device: no Vulkan device; `heliograph doctor` says how to get one in software");
		return false;
	}
	bool any = !gpu || !*gpu || strcmp(gpu, "auto") == 0;
	int best = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (any) {
			VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
			device->vk.GetPhysicalDeviceProperties2(devices[i], &properties);
			int rank = auto_rank(properties.properties.deviceType);
			if (rank > best) {
				best = rank;
				device->physical = devices[i];
			}
		} else if (matches(gpu, i, devices[i], &device->vk)) {
			device->physical = devices[i];
			break;
		}
	}
	if (!device->physical) {
		rc_log(device->log, RC_LOG_ERROR, "device: no Vulkan device matches --gpu %s; `heliograph devices` lists them",
			gpu);
		return false;
	}
	return true;
}

static bool choose_queue(struct rc_device *device) {
	VkQueueFamilyProperties families[16];
	uint32_t count = 16;
	device->vk.GetPhysicalDeviceQueueFamilyProperties(device->physical, &count, families);
	for (uint32_t i = 0; i < count; i++) {
		if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
			device->queue_family = i;
			if (families[i].timestampValidBits == 0) {
				device->timestamp_ns = 0;
			}
			return true;
		}
	}
	rc_log(device->log, RC_LOG_ERROR, "device: %s has no compute queue", device->info.name);
	return false;
}

static bool exportable(struct rc_device *device, VkExternalMemoryHandleTypeFlagBits type) {
	const VkPhysicalDeviceExternalBufferInfo info = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
		.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
		.handleType = type,
	};
	VkExternalBufferProperties properties = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
	device->vk.GetPhysicalDeviceExternalBufferProperties(device->physical, &info, &properties);
	return properties.externalMemoryProperties.externalMemoryFeatures & VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT;
}

static void read_properties(struct rc_device *device) {
	VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
	device->vk.GetPhysicalDeviceProperties2(device->physical, &properties);
	const VkPhysicalDeviceProperties *base = &properties.properties;
	memcpy(device->info.name, base->deviceName, sizeof(device->info.name) - 1);
	device->info.api_version = base->apiVersion;
	device->info.kind = base->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ? RC_DEVICE_CPU : RC_DEVICE_GPU;
	device->timestamp_ns = base->limits.timestampPeriod;
	device->max_storage = base->limits.maxStorageBufferRange;
	device->vk.GetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
}

static void read_host_alignment(struct rc_device *device) {
	VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
	VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host};
	device->vk.GetPhysicalDeviceProperties2(device->physical, &properties);
	/* Regions and slots are aligned to pages; a device that wants more cannot import them. */
	device->host_alignment = host.minImportedHostPointerAlignment <= 4096 ? host.minImportedHostPointerAlignment : 0;
}

static uint32_t choose_extensions(struct rc_device *device, const char *names[4]) {
	static VkExtensionProperties available[MAX_EXTENSIONS];
	uint32_t count = MAX_EXTENSIONS, used = 0;
	if (device->vk.EnumerateDeviceExtensionProperties(device->physical, NULL, &count, available) < 0) {
		return 0;
	}
	bool memory_fd = false, dma_buf = false;
	for (uint32_t i = 0; i < count; i++) {
		const char *name = available[i].extensionName;
		if (strcmp(name, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME) == 0) {
			names[used++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
			read_host_alignment(device);
		} else if (strcmp(name, VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME) == 0) {
			names[used++] = VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME;
			memory_fd = true;
		} else if (strcmp(name, VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME) == 0) {
			names[used++] = VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME;
			dma_buf = true;
		}
	}
	device->export_opaque_fd = memory_fd && exportable(device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT);
	device->export_dma_buf = memory_fd && dma_buf && exportable(device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT);
	return used;
}

static bool create_device(struct rc_device *device) {
	const char *extensions[4];
	uint32_t extension_count = choose_extensions(device, extensions);
	const float priority = 1.0f;
	const VkDeviceQueueCreateInfo queue = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
		.queueFamilyIndex = device->queue_family,
		.queueCount = 1,
		.pQueuePriorities = &priority,
	};
	const VkDeviceCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &queue,
		.enabledExtensionCount = extension_count,
		.ppEnabledExtensionNames = extensions,
	};
	struct rc_vulkan *vk = &device->vk;
	VkResult result = vk->CreateDevice(device->physical, &info, NULL, &device->device);
	if (result != VK_SUCCESS) {
		rc_log(device->log, RC_LOG_ERROR, "device: vkCreateDevice on %s failed (%d)", device->info.name, result);
		return false;
	}
#define X(function)                                                                                                    \
	vk->function = (PFN_vk##function)vk->GetDeviceProcAddr(device->device, "vk" #function);                            \
	if (!vk->function) {                                                                                               \
		rc_log(device->log, RC_LOG_ERROR, "device: %s lacks vk" #function, device->info.name);                         \
		return false;                                                                                                  \
	}
	RC_VK_DEVICE_FUNCTIONS(X)
#undef X
#define X(function) vk->function = (PFN_vk##function)vk->GetDeviceProcAddr(device->device, "vk" #function);
	RC_VK_OPTIONAL_FUNCTIONS(X)
#undef X
	if (!vk->GetMemoryHostPointerPropertiesEXT) {
		device->host_alignment = 0;
	}
	vk->GetDeviceQueue(device->device, device->queue_family, 0, &device->queue);
	return true;
}

enum rc_result rc_device_create(struct rc_log *log, const char *gpu, struct rc_device **out) {
	struct rc_device *device = calloc(1, sizeof(*device));
	if (!device) {
		return RC_ERROR_NOMEM;
	}
	device->log = log;
	if (!load_library(device) || !create_instance(device) || !choose_physical(device, gpu)) {
		goto err;
	}
	read_properties(device);
	if (!choose_queue(device) || !create_device(device)) {
		goto err;
	}
	device->info.import_host = device->host_alignment != 0;
	device->info.export_opaque_fd = device->export_opaque_fd;
	device->info.export_dma_buf = device->export_dma_buf;
	*out = device;
	return RC_OK;

err:
	rc_device_destroy(device);
	return RC_ERROR_DEVICE;
}

void rc_device_destroy(struct rc_device *device) {
	if (!device) {
		return;
	}
	if (device->lost) {
		return; /* waiting for it might never end; the process ends instead, and what it may still use stays */
	}
	if (device->device && device->vk.DestroyDevice) {
		device->vk.DestroyDevice(device->device, NULL);
	}
	if (device->instance && device->vk.DestroyInstance) {
		device->vk.DestroyInstance(device->instance, NULL);
	}
	/* libvulkan stays loaded: drivers leave threads and exit handlers behind that dlclose() would pull the code from. */
	free(device);
}

uint32_t rc_device_memory_type(const struct rc_device *device, uint32_t type_bits, VkMemoryPropertyFlags flags) {
	for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
		if ((type_bits & (1u << i)) && (device->memory.memoryTypes[i].propertyFlags & flags) == flags) {
			return i;
		}
	}
	return UINT32_MAX;
}
