/* SPDX-License-Identifier: Apache-2.0
 * A client's VkDeviceMemory. Host-visible: a sealed memfd of our own, imported into the driver and shared with the client. Device-local: a
 * range of a larger block (memory_pool.h), or an allocation of its own where the driver or the size wants one. Zero before a client sees it. */
#ifndef RC_VN_MEMORY_H
#define RC_VN_MEMORY_H

#include "execute/venus/objects.h"

/* vkAllocateMemory. Of the chain only what has a meaning here is passed on: not export and import. On failure `memory` holds nothing, at most a
 * blob. Any thread. */
VkResult rc_vn_memory_allocate(
	struct rc_vn_device *device, const VkMemoryAllocateInfo *info, struct rc_vn_memory *memory);
/* vkFreeMemory: gives everything back but the struct itself; nothing when the device is abandoned. */
void rc_vn_memory_free(struct rc_vn_device *device, struct rc_vn_memory *memory);

/* vtest's RESOURCE_CREATE_BLOB with an id: a new reference to the memory's blob; NULL when the id is no host-visible memory of `size` bytes or when its blob was
 * taken before. The calling thread is a reader of the context's objects, inside rc_vn_reader_enter(). */
struct rc_vn_blob *rc_vn_memory_take_blob(struct rc_vn_context *context, uint64_t memory_id, uint64_t size);

/* For a bind: where [offset, offset + requirements->size) of the memory lies in memory->base.handle. False: outside of it, of the wrong type, or
 * not aligned; the reason is logged and the device is lost, since nobody would be told. */
bool rc_vn_memory_place(struct rc_vn_device *device, const struct rc_vn_memory *memory, VkDeviceSize offset,
	const VkMemoryRequirements *requirements, VkDeviceSize *host_offset);

#endif
