/* SPDX-License-Identifier: Apache-2.0
 * Memory as a storage buffer of the device: host memory imported in place, or device memory that can be exported. */
#ifndef RC_IMPORT_H
#define RC_IMPORT_H

#include "execute/device.h"

struct rc_import {
	struct rc_device *device;
	VkDeviceMemory memory;
	VkBuffer buffer;
	VkDeviceSize size;
};

/* Import [data, data + size) by VK_EXT_external_memory_host; both are multiples of 4096. The memory must outlive the import. NULL: the
 * driver refuses (logged at debug level: callers fall back). */
struct rc_import *rc_import_host(struct rc_device *device, void *data, VkDeviceSize size);

/* Device memory of a handle type that can be exported, and its fd (the caller's). NULL: refused. */
struct rc_import *rc_import_create_exported(struct rc_device *device, VkDeviceSize size, enum rc_export type, int *fd);

/* Import what another device or process exported. On success the fd is the driver's. */
struct rc_import *rc_import_fd(struct rc_device *device, VkDeviceSize size, enum rc_export type, int fd);

/* NULL is allowed. The device must not be using it. */
void rc_import_destroy(struct rc_import *import);

#endif
