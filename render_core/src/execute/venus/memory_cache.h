/* SPDX-License-Identifier: Apache-2.0
 * Host-visible memory that a client has freed, for its next allocation of the same size: making a memfd, mapping it and importing it takes
 * longer than all else in the life of a small buffer. */
#ifndef RC_VN_MEMORY_CACHE_H
#define RC_VN_MEMORY_CACHE_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "transport/blob.h"

struct rc_vn_cached_memory {
	VkDeviceMemory handle;   /* `blob` imported */
	struct rc_vn_blob *blob; /* referenced */
	uint32_t type_index;
	VkMemoryAllocateFlags flags; /* it was allocated with */
	uint64_t freed_ns;
};

enum {
	RC_VN_CACHE_ENTRIES = 64,
	RC_VN_CACHE_ENTRY_BYTES = 32 << 20, /* larger ones are not kept: making them costs little beside filling them */
	RC_VN_CACHE_BYTES = 64 << 20,
};

/* Of one device, so of one client: what it finds in memory that it gets again, it has written itself. One thread at a time. */
struct rc_vn_memory_cache {
	struct rc_vn_cached_memory entries[RC_VN_CACHE_ENTRIES]; /* oldest first */
	uint32_t count;
	uint64_t bytes; /* of blob->mapped */
};

/* The newest of this kind that nobody else holds: neither the client under its old resource id, nor a buffer that was bound to it. The
 * references and the handle are the caller's. */
bool rc_vn_memory_cache_take(struct rc_vn_memory_cache *cache, uint32_t type_index, VkMemoryAllocateFlags flags,
	size_t mapped, struct rc_vn_cached_memory *out);

/* The oldest, when keeping `bytes` more would be over the limits, or when it was freed at `before_ns` or earlier (0: never, UINT64_MAX: always). Called until
 * false; each is the caller's to release. */
bool rc_vn_memory_cache_evict(
	struct rc_vn_memory_cache *cache, size_t bytes, uint64_t before_ns, struct rc_vn_cached_memory *out);

/* Keep it: the references and the handle are the cache's. False: there is no room, evict first. */
bool rc_vn_memory_cache_put(struct rc_vn_memory_cache *cache, const struct rc_vn_cached_memory *memory);

#endif
