/* SPDX-License-Identifier: Apache-2.0
 * A client's VkDeviceMemory. Host-visible: a sealed memfd of our own, imported into the driver and shared with the client. Device-local: a
 * range of a larger block (memory_pool.h), or an allocation of its own where the driver or the size wants one. Zero before a client sees it. */
#ifndef RC_VN_MEMORY_H
#define RC_VN_MEMORY_H

#include "execute/venus/objects.h"

/* vkAllocateMemory. On failure `memory` holds nothing. Chained structs are taken out of a copy of `info` as needed: export, import. */
VkResult rc_vn_memory_allocate(struct rc_vn_device *device, const VkMemoryAllocateInfo *info, struct rc_vn_memory *memory);
/* vkFreeMemory: gives everything back but the struct itself. */
void rc_vn_memory_free(struct rc_vn_device *device, struct rc_vn_memory *memory);

/* vtest's RESOURCE_CREATE_BLOB with an id: a new reference to the memory's blob; NULL when the id is no host-visible memory of `size`. */
struct rc_vn_blob *rc_vn_memory_take_blob(struct rc_vn_context *context, uint64_t memory_id, uint64_t size);

/* Bytes and blocks of a device's pool, for statistics and tests. */
struct rc_vn_memory_stats {
	uint64_t block_bytes, used_bytes, largest_free_bytes;
	uint32_t blocks, allocations, dedicated;
};

#endif
