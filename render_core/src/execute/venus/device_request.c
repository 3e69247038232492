/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/device_request.h"

#include <string.h>

#include "execute/venus/chain.h"
#include "execute/venus/extension_filter.h"
#include "execute/venus/feature_filter.h"

/* More than there are extensions: who enables more repeats some. */
enum { MAX_EXTENSIONS = 1024 };

static VkResult refuse(struct rc_vn_device_request *request, VkResult ret, const char *why, const char *name) {
	request->refused = why;
	request->refused_name = name;
	return ret;
}

static VkResult check_queue(
	const struct rc_vn_guest *guest, const VkDeviceQueueCreateInfo *queue, struct rc_vn_device_request *request) {
	if (queue->queueFamilyIndex >= guest->queue_family_count) {
		return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "no such family", "queueFamilyIndex");
	}
	if (queue->flags) {
		return refuse(
			request, VK_ERROR_FEATURE_NOT_PRESENT, "queues are not protected", "VkDeviceQueueCreateInfo.flags");
	}
	if (queue->queueCount == 0 || queue->queueCount > guest->queue_families[queue->queueFamilyIndex].queueCount) {
		return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "the family has fewer queues", "queueCount");
	}
	for (uint32_t i = 0; queue->pQueuePriorities && i < queue->queueCount; i++) {
		/* written so that it holds for a NaN */
		if (!(queue->pQueuePriorities[i] >= 0.0f && queue->pQueuePriorities[i] <= 1.0f)) {
			return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "not between 0 and 1", "pQueuePriorities");
		}
	}
	return queue->pQueuePriorities ? VK_SUCCESS
								   : refuse(request, VK_ERROR_INITIALIZATION_FAILED, "is missing", "pQueuePriorities");
}

static VkResult check_queues(
	const struct rc_vn_guest *guest, const VkDeviceCreateInfo *asked, struct rc_vn_device_request *request) {
	if (asked->queueCreateInfoCount == 0 || !asked->pQueueCreateInfos) {
		return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "is missing", "pQueueCreateInfos");
	}
	uint32_t families = 0; /* bits; there are at most 32 */
	for (uint32_t i = 0; i < asked->queueCreateInfoCount; i++) {
		const VkDeviceQueueCreateInfo *queue = &asked->pQueueCreateInfos[i];
		VkResult ret = check_queue(guest, queue, request);
		if (ret != VK_SUCCESS) {
			return ret;
		}
		if (families & (1u << queue->queueFamilyIndex)) {
			return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "the family is named twice", "queueFamilyIndex");
		}
		families |= 1u << queue->queueFamilyIndex;
		/* A guest does not choose its place among the host's programs. */
		rc_vn_chain_take(queue, VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR);
	}
	return VK_SUCCESS;
}

static bool is_in(const char *const *names, uint32_t count, const char *name) {
	for (uint32_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static VkResult choose_extensions(const struct rc_vn_guest *guest, struct rc_vn_scratch *scratch,
	const VkDeviceCreateInfo *asked, struct rc_vn_device_request *request) {
	uint32_t count = 0;
	if (asked->enabledExtensionCount > MAX_EXTENSIONS ||
		(asked->enabledExtensionCount && !asked->ppEnabledExtensionNames)) {
		return refuse(request, VK_ERROR_EXTENSION_NOT_PRESENT, "too many, or none", "enabledExtensionCount");
	}
	const char **names = rc_vn_scratch_alloc(scratch, (guest->extension_count + 1) * sizeof(*names));
	if (!names) {
		return refuse(request, VK_ERROR_OUT_OF_HOST_MEMORY, "out of memory", "ppEnabledExtensionNames");
	}
	for (uint32_t i = 0; i < asked->enabledExtensionCount; i++) {
		const char *name = asked->ppEnabledExtensionNames[i];
		const enum rc_vn_extension_use use = name ? rc_vn_extension_use(guest, name) : RC_VN_EXTENSION_REFUSED;
		if (use == RC_VN_EXTENSION_REFUSED) {
			return refuse(request, VK_ERROR_EXTENSION_NOT_PRESENT, "not offered", name ? name : "NULL");
		}
		if (use == RC_VN_EXTENSION_HOST && !is_in(names, count, name)) {
			names[count++] = name;
		}
	}
	/* What clients map is imported memory. */
	names[count++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
	request->info.enabledExtensionCount = count;
	request->info.ppEnabledExtensionNames = names;
	return VK_SUCCESS;
}

static VkResult check_group(
	const struct rc_vn_guest *guest, const VkDeviceCreateInfo *asked, struct rc_vn_device_request *request) {
	const struct rc_vn_chain_gap gap = rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_DEVICE_GROUP_DEVICE_CREATE_INFO);
	const VkDeviceGroupDeviceCreateInfo *group = (const void *)gap.taken;
	if (group && group->physicalDeviceCount > 1) {
		return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "groups have one device", "physicalDeviceCount");
	}
	if (group && group->physicalDeviceCount && group->pPhysicalDevices &&
		group->pPhysicalDevices[0] != guest->physical) {
		return refuse(request, VK_ERROR_INITIALIZATION_FAILED, "not the device", "pPhysicalDevices");
	}
	return VK_SUCCESS; /* a group of one is the same as none */
}

static bool wants_addresses(const VkDeviceCreateInfo *asked) {
	const VkPhysicalDeviceVulkan12Features *core =
		rc_vn_chain_find(asked, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
	const VkPhysicalDeviceBufferDeviceAddressFeatures *alone =
		rc_vn_chain_find(asked, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
	return (core && core->bufferDeviceAddress) || (alone && alone->bufferDeviceAddress);
}

VkResult rc_vn_device_request_make(const struct rc_vn_guest *guest, struct rc_vn_scratch *scratch,
	const VkDeviceCreateInfo *asked, struct rc_vn_device_request *request) {
	memset(request, 0, sizeof(*request));
	VkResult ret = check_queues(guest, asked, request);
	ret = ret ? ret : check_group(guest, asked, request);
	request->info = *asked; /* after the chain has changed */
	request->info.flags = 0;
	request->info.enabledLayerCount = 0;
	request->info.ppEnabledLayerNames = NULL;
	ret = ret ? ret : choose_extensions(guest, scratch, asked, request);
	const char *feature = rc_vn_features_refused(asked);
	if (ret == VK_SUCCESS && feature) {
		ret = refuse(request, VK_ERROR_FEATURE_NOT_PRESENT, "not offered", feature);
	}
	/* Private data stays with the client. */
	rc_vn_chain_take(&request->info, VK_STRUCTURE_TYPE_DEVICE_PRIVATE_DATA_CREATE_INFO);
	request->buffer_device_address = wants_addresses(asked);
	return ret;
}
