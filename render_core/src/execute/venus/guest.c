/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/guest.h"

#include <stdlib.h>
#include <string.h>

#include "execute/venus/extension_filter.h"
#include "execute/venus/memory_types.h"
#include "execute/venus/watchdog.h"

enum { MAX_FAMILIES = 32, CAPSET_MASK = 5 };

static uint32_t lower(uint32_t a, uint32_t b) {
	return a < b ? a : b;
}

static void read_properties(struct rc_vn_guest *guest) {
	guest->driver = (VkPhysicalDeviceDriverProperties){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
	VkPhysicalDeviceProperties2 properties = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &guest->driver};
	guest->vk.GetPhysicalDeviceProperties2(guest->physical, &properties);
	guest->driver.pNext = NULL;
	guest->properties = properties.properties;
	guest->is_cpu = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
	guest->api_version = lower(guest->api_version, properties.properties.apiVersion);
}

/* Clients need a family's number to be the host's, and each family shown to run transfers: so the list ends before the first that they could
 * not use. Those that decode video come last on the drivers that have them. */
static void read_queue_families(struct rc_vn_guest *guest) {
	const VkQueueFlags offered = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
	const VkQueueFlags harmless = VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT;
	uint32_t count = MAX_FAMILIES;
	guest->vk.GetPhysicalDeviceQueueFamilyProperties(guest->physical, &count, guest->queue_families);
	for (uint32_t i = 0; i < count; i++) {
		VkQueueFamilyProperties *family = &guest->queue_families[i];
		if (!(family->queueFlags & offered) || (family->queueFlags & ~(offered | harmless))) {
			break;
		}
		family->queueFlags &= offered;
		guest->queue_family_count = i + 1;
	}
}

/* Clients' semaphores get their payloads from us (docs/protocol/venus.md); where the host could import them too, it is worth knowing. */
static void read_semaphore_import(struct rc_vn_guest *guest) {
	const VkPhysicalDeviceExternalSemaphoreInfo info = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
		.handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
	};
	VkExternalSemaphoreProperties properties = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES};
	guest->vk.GetPhysicalDeviceExternalSemaphoreProperties(guest->physical, &info, &properties);
	guest->host_semaphore_sync_fd = properties.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
}

static enum rc_result fill(struct rc_vn_guest *guest, const struct rc_vn_guest_params *params) {
	guest->api_version = lower(params->device->api_version, rc_vn_registry_version);
	if (guest->api_version < VK_API_VERSION_1_1) {
		rc_log(guest->log, RC_LOG_ERROR, "venus: the Vulkan loader is of version 1.0; 1.1 is needed");
		return RC_ERROR_UNSUPPORTED;
	}
	rc_vn_load_instance_functions(&guest->vk, params->device->vk.GetInstanceProcAddr, guest->instance);
	read_properties(guest);
	if (guest->api_version < VK_API_VERSION_1_1) {
		rc_log(guest->log, RC_LOG_ERROR, "venus: %s has Vulkan 1.0; 1.1 is needed", guest->properties.deviceName);
		return RC_ERROR_UNSUPPORTED;
	}
	guest->limits = params->limits ? *params->limits : rc_vn_limits_default(guest->is_cpu);
	read_queue_families(guest);
	if (guest->queue_family_count == 0) {
		rc_log(guest->log, RC_LOG_ERROR, "venus: %s has no queue family that guests could use",
			guest->properties.deviceName);
		return RC_ERROR_UNSUPPORTED;
	}
	read_semaphore_import(guest);
	if (!rc_vn_extensions_choose(guest)) {
		return RC_ERROR_NOMEM;
	}
	if (!rc_vn_memory_types_probe(guest, params->device)) {
		return RC_ERROR_UNSUPPORTED;
	}
	guest->watchdog = rc_vn_watchdog_create();
	return guest->watchdog ? RC_OK : RC_ERROR_NOMEM;
}

enum rc_result rc_vn_guest_create(const struct rc_vn_guest_params *params, struct rc_vn_guest **out) {
	struct rc_vn_guest *guest = calloc(1, sizeof(*guest));
	if (!guest) {
		return RC_ERROR_NOMEM;
	}
	guest->log = params->log;
	guest->instance = params->device->instance;
	guest->physical = params->device->physical;
	guest->get_device_proc_addr = params->device->vk.GetDeviceProcAddr;
	guest->swapchain = params->swapchain;
	enum rc_result ret = fill(guest, params);
	if (ret != RC_OK) {
		rc_vn_guest_destroy(guest);
		return ret;
	}
	rc_log(guest->log, RC_LOG_INFO,
		"venus: %s (%s %s), Vulkan %u.%u.%u, %u extensions, mappable memory types %#x, limits: %llu MiB of memory, "
		"%llu MiB mapped",
		guest->properties.deviceName, guest->driver.driverName, guest->driver.driverInfo,
		VK_API_VERSION_MAJOR(guest->api_version), VK_API_VERSION_MINOR(guest->api_version),
		VK_API_VERSION_PATCH(guest->api_version), guest->extension_count, guest->importable_types,
		(unsigned long long)(guest->limits.memory_bytes >> 20),
		(unsigned long long)(guest->limits.visible_bytes >> 20));
	*out = guest;
	return RC_OK;
}

void rc_vn_guest_destroy(struct rc_vn_guest *guest) {
	if (!guest) {
		return;
	}
	if (guest->watchdog) {
		rc_vn_watchdog_destroy(guest->watchdog);
	}
	free(guest->extensions);
	free(guest);
}

void rc_vn_guest_capset(const struct rc_vn_guest *guest, uint32_t words[40]) {
	(void)guest; /* the decoder's abilities, not the device's: those come with vkEnumerateDeviceExtensionProperties */
	memset(words, 0, 40 * sizeof(words[0]));
	words[0] = 1; /* wire_format_version */
	words[1] = rc_vn_registry_version;
	words[2] = 1; /* of VK_EXT_command_serialization */
	words[3] = 2; /* of VK_MESA_venus_protocol: rings have priorities */
	words[4] = 1; /* blob id 0 is shared memory */
	memcpy(&words[CAPSET_MASK], rc_vn_extension_mask, sizeof(rc_vn_extension_mask));
	words[37] = 1; /* vkWaitForFences and the like may be sent */
	words[38] = 1; /* more than one timeline: queues have rings of their own */
}
