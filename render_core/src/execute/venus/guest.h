/* SPDX-License-Identifier: Apache-2.0
 * What all Venus clients of one guest (one worker) share: the host's instance and physical device, what of it is shown to clients, the limits.
 * Made before the sandbox is entered, where files can still be opened. */
#ifndef RC_VN_GUEST_H
#define RC_VN_GUEST_H

#include "execute/device.h"
#include "execute/venus/limits.h"
#include "util/log.h"
#include "venus_gen.h"

struct rc_vn_watchdog; /* execute/venus/watchdog.h */

struct rc_vn_guest {
	struct rc_log *log; /* rc_log() may be called by any thread */
	VkInstance instance;
	VkPhysicalDevice physical;          /* the one that clients see */
	struct rc_vn_instance_functions vk; /* generated: entry points by instance */
	PFN_vkGetDeviceProcAddr get_device_proc_addr;
	struct rc_vn_watchdog *watchdog;
	uint32_t api_version; /* of loader, registry and device, the lowest */
	VkPhysicalDeviceProperties properties;
	VkPhysicalDeviceDriverProperties driver;
	bool is_cpu;

	/* ---- what clients are shown (execute/venus/physical_device.c) ---- */
	VkExtensionProperties
		*extensions; /* host's that the protocol carries, and those that are emulated; extension_filter.h */
	uint32_t extension_count;
	VkPhysicalDeviceMemoryProperties
		memory; /* HOST_VISIBLE only where a memfd can be imported; heap sizes within the guest's quota */
	VkPhysicalDeviceMemoryProperties host_memory; /* as the driver says */
	uint32_t
		importable_types; /* bits: memory types that import a memfd's pages; each is HOST_VISIBLE and HOST_COHERENT */
	uint32_t
		usable_types; /* bits: memory types that a client may allocate from: not those that need a feature that is not offered */
	VkDeviceSize host_alignment; /* minImportedHostPointerAlignment, at least the page size */
	bool host_queue_family_foreign, host_semaphore_sync_fd;
	uint32_t queue_family_count; /* those that a client can use: the first of the host's */
	VkQueueFamilyProperties queue_families[32];
	bool
		swapchain; /* the extensions that Mesa 25.0 wants before it offers swapchains are shown (emulated); off for newer Mesa */

	struct rc_vn_limits limits;
	struct rc_vn_usage usage;
};

struct rc_vn_guest_params {
	struct rc_log *log;
	struct rc_device
		*device;    /* the worker's: its loader, instance and physical device are used; it outlives the guest */
	bool swapchain; /* see above */
	const struct rc_vn_limits *limits; /* NULL: rc_vn_limits_default() */
};

/* RC_ERROR_UNSUPPORTED, with a log line that says what the device lacks: the worker serves displays only then. */
enum rc_result rc_vn_guest_create(const struct rc_vn_guest_params *params, struct rc_vn_guest **out);
void rc_vn_guest_destroy(struct rc_vn_guest *guest);

/* The 160 bytes (40 words) of the Venus capset. */
void rc_vn_guest_capset(const struct rc_vn_guest *guest, uint32_t words[40]);

#endif
