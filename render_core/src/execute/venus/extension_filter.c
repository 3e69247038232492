/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/extension_filter.h"

#include <stdlib.h>
#include <string.h>

/* Never shown although host and protocol may know them: */
static const char *const hidden[] = {
	/* No fd of the host's crosses the socket; where clients need one of these to be there, it is emulated (below). */
	VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
	VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
	VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
	VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
	VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
	VK_EXT_IMAGE_DRM_FORMAT_MODIFIER_EXTENSION_NAME,
	VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME,
	"VK_EXT_external_memory_acquire_unmodified",
	/* The host's numbers are not the guest's. */
	VK_EXT_MEMORY_BUDGET_EXTENSION_NAME,
	/* The client's driver makes it itself. */
	VK_EXT_TOOLING_INFO_EXTENSION_NAME,
	/* Not of Vulkan devices: the protocol's own. */
	"VK_EXT_command_serialization",
	"VK_MESA_venus_protocol",
};

/* Without the first three Mesa 25.0 offers no swapchain, without the last neither swapchains nor VK_KHR_synchronization2, and then no
 * more than Vulkan 1.2. Its programs never reach what they stand for: pictures go through mapped memory, and the semaphores that a
 * swapchain signals are signalled by vkImportSemaphoreResourceMESA. */
static const struct {
	const char *name;
	bool swapchain; /* only where guest->swapchain */
} emulated[] = {
	{VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME, true},
	{VK_EXT_IMAGE_DRM_FORMAT_MODIFIER_EXTENSION_NAME, true},
	{VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME, true},
	{VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME, false},
};

/* Not shown, but enabled by clients that see the above. */
static const char *const tolerated[] = {
	VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
	VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_listed(const char *const *list, size_t count, const char *name) {
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static const struct rc_vn_extension *find_known(const char *name) {
	for (uint32_t i = 0; i < rc_vn_extension_count; i++) {
		if (rc_vn_extensions[i].in_registry && strcmp(rc_vn_extensions[i].name, name) == 0) {
			return &rc_vn_extensions[i];
		}
	}
	return NULL;
}

static void show(struct rc_vn_guest *guest, const struct rc_vn_extension *known, uint32_t spec_version) {
	VkExtensionProperties *shown = &guest->extensions[guest->extension_count++];
	strncpy(shown->extensionName, known->name, sizeof(shown->extensionName) - 1);
	shown->specVersion = spec_version < known->spec_version ? spec_version : known->spec_version;
}

static VkExtensionProperties *read_host(const struct rc_vn_guest *guest, uint32_t *count) {
	*count = 0;
	if (guest->vk.EnumerateDeviceExtensionProperties(guest->physical, NULL, count, NULL) != VK_SUCCESS) {
		return NULL;
	}
	VkExtensionProperties *host = calloc(*count + 1, sizeof(*host));
	if (host && guest->vk.EnumerateDeviceExtensionProperties(guest->physical, NULL, count, host) < 0) {
		free(host);
		return NULL;
	}
	return host;
}

bool rc_vn_extensions_choose(struct rc_vn_guest *guest) {
	uint32_t host_count;
	VkExtensionProperties *host = read_host(guest, &host_count);
	if (!host) {
		return false;
	}
	guest->extensions = calloc(host_count + COUNT(emulated), sizeof(*guest->extensions));
	if (!guest->extensions) {
		free(host);
		return false;
	}
	for (uint32_t i = 0; i < host_count; i++) {
		const char *name = host[i].extensionName;
		const struct rc_vn_extension *known = find_known(name);
		if (strcmp(name, VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME) == 0) {
			guest->host_queue_family_foreign = true;
		}
		if (known && !is_listed(hidden, COUNT(hidden), name) && !rc_vn_extension_is_shown(guest, name)) {
			show(guest, known, host[i].specVersion);
		}
	}
	for (size_t i = 0; i < COUNT(emulated); i++) {
		const struct rc_vn_extension *known = find_known(emulated[i].name);
		if (known && (guest->swapchain || !emulated[i].swapchain)) {
			show(guest, known, known->spec_version);
		}
	}
	free(host);
	return true;
}

bool rc_vn_extension_is_shown(const struct rc_vn_guest *guest, const char *name) {
	for (uint32_t i = 0; i < guest->extension_count; i++) {
		if (strcmp(guest->extensions[i].extensionName, name) == 0) {
			return true;
		}
	}
	return false;
}

enum rc_vn_extension_use rc_vn_extension_use(const struct rc_vn_guest *guest, const char *name) {
	const bool shown = rc_vn_extension_is_shown(guest, name);
	if (!shown) {
		return is_listed(tolerated, COUNT(tolerated), name) ? RC_VN_EXTENSION_EMULATED : RC_VN_EXTENSION_REFUSED;
	}
	if (strcmp(name, VK_EXT_QUEUE_FAMILY_FOREIGN_EXTENSION_NAME) == 0 && guest->host_queue_family_foreign) {
		return RC_VN_EXTENSION_HOST; /* barriers that name the foreign family are the host's then */
	}
	return is_listed(hidden, COUNT(hidden), name) ? RC_VN_EXTENSION_EMULATED : RC_VN_EXTENSION_HOST;
}
