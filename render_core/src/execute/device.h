/* SPDX-License-Identifier: Apache-2.0
 * The Vulkan device that serves one guest. */
#ifndef RC_DEVICE_H
#define RC_DEVICE_H

#include <stdbool.h>

#include "execute/vulkan.h"
#include "render_core.h"
#include "util/log.h"

struct rc_device {
	struct rc_log *log;
	struct rc_vulkan vk;
	VkInstance instance;
	uint32_t api_version; /* of the instance: the loader's, at most what the headers know */
	VkPhysicalDevice physical;
	VkDevice device;
	VkQueue queue;
	uint32_t queue_family;
	VkPhysicalDeviceMemoryProperties memory;
	VkDeviceSize host_alignment; /* of VK_EXT_external_memory_host; 0: not there */
	bool export_opaque_fd, export_dma_buf;
	bool lost;            /* VK_ERROR_DEVICE_LOST or a wait that timed out: nothing is submitted any more */
	float timestamp_ns;   /* a timestamp's tick; 0: the queue has none */
	uint32_t max_storage; /* maxStorageBufferRange */
	struct rc_device_info info;
};

/* Open libvulkan and the device that `gpu` names (render_core.h, struct rc_core_params). Failures are logged with what to do. */
enum rc_result rc_device_create(struct rc_log *log, const char *gpu, struct rc_device **out);
void rc_device_destroy(struct rc_device *device);

/* First memory type of `type_bits` that has all of `flags`; UINT32_MAX: none. */
uint32_t rc_device_memory_type(const struct rc_device *device, uint32_t type_bits, VkMemoryPropertyFlags flags);

#endif
