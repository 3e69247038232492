/* SPDX-License-Identifier: Apache-2.0
 * A client's device's memory on the host: blocks that small allocations are ranges of, allocations of their own, shared memory that was imported;
 * counted against the guest's limits. */
#ifndef RC_VN_MEMORY_POOL_H
#define RC_VN_MEMORY_POOL_H

#include "execute/venus/memory_blocks.h"
#include "execute/venus/memory_cache.h"
#include "execute/venus/memory_clear.h"
#include "execute/venus/objects.h"

/* Any thread. */
struct rc_vn_memory_pool {
	struct rc_vn_device *device;
	pthread_mutex_t blocks_mutex; /* held while a block is made and cleared */
	struct rc_vn_memory_blocks blocks;
	pthread_mutex_t cache_mutex;
	struct rc_vn_memory_cache cache;
	struct rc_vn_memory_clear clear;
	_Atomic uint32_t own; /* allocations that are neither blocks nor ranges */
	_Atomic uint64_t own_bytes;
	/* Buffers are created importable (VkExternalMemoryBufferCreateInfo): what they are bound to may be imported. False where the driver's
	 * requirements then are others than those that the client knows. */
	bool importable_buffers;
};

/* Of a device whose queues are there. NULL: out of memory. */
struct rc_vn_memory_pool *rc_vn_memory_pool_create(struct rc_vn_device *device);
/* After all memory of the device was freed; not for an abandoned device. NULL is allowed. */
void rc_vn_memory_pool_destroy(struct rc_vn_memory_pool *pool);

/* Give back what has been kept for later since `before_ns` (rc_now_ns()'s clock; UINT64_MAX: all): empty blocks, cached memory. True: there was something. */
bool rc_vn_memory_pool_trim(struct rc_vn_memory_pool *pool, uint64_t before_ns);

/* The same for what has not been used for seconds, a little at a time and without waiting for others: the watchdog's, now and then. */
void rc_vn_memory_pool_tidy(struct rc_vn_memory_pool *pool, uint64_t now_ns);

/* A resource with these requirements exists: the ranges of later allocations will suit it. */
void rc_vn_memory_pool_note(struct rc_vn_memory_pool *pool, const VkMemoryRequirements *requirements);

/* ---- for memory.c ---- */

/* vkAllocateMemory, counted against the guest's limits: VK_ERROR_OUT_OF_DEVICE_MEMORY over them. `visible`: the machine's own memory that a client
 * maps. Not cleared. */
VkResult rc_vn_memory_pool_allocate(
	struct rc_vn_memory_pool *pool, const VkMemoryAllocateInfo *info, bool visible, VkDeviceMemory *out);
/* vkFreeMemory, with the size that was allocated. */
void rc_vn_memory_pool_release(struct rc_vn_memory_pool *pool, VkDeviceMemory handle, uint64_t size, bool visible);

/* Keep a client's freed memory, which is the pool's then, in place of older ones. Not more than RC_VN_CACHE_ENTRY_BYTES. */
void rc_vn_memory_pool_keep(struct rc_vn_memory_pool *pool, const struct rc_vn_cached_memory *memory);

/* Bytes and blocks, for statistics and tests. */
struct rc_vn_memory_stats {
	uint64_t block_bytes, used_bytes, largest_free_bytes, own_bytes, cached_bytes;
	uint32_t blocks, allocations; /* allocations: ranges of blocks */
	uint32_t own, cached;         /* own: neither blocks nor ranges; the cached ones are among them */
};
void rc_vn_memory_pool_stats(struct rc_vn_memory_pool *pool, struct rc_vn_memory_stats *stats);

#endif
