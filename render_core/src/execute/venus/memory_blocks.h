/* SPDX-License-Identifier: Apache-2.0
 * Large blocks of device memory, of which clients' small allocations are ranges: a driver takes hundreds of microseconds for each of its own. */
#ifndef RC_VN_MEMORY_BLOCKS_H
#define RC_VN_MEMORY_BLOCKS_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "execute/venus/buddy.h"
#include "util/list.h"

struct rc_vn_memory_block {
	struct rc_list link; /* rc_vn_memory_blocks::types, oldest first */
	VkDeviceMemory handle;
	uint64_t size;
	uint32_t type_index;
	uint32_t allocations;
	uint64_t empty_since_ns; /* when allocations is 0 */
	struct rc_vn_buddy buddy;
};

/* Where blocks come from. */
struct rc_vn_block_source {
	void *context;
	/* A block of zeros, or why there is none. */
	VkResult (*allocate)(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory *out);
	void (*release)(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory handle);
};

enum { RC_VN_BLOCK_MIN = 16 << 20, RC_VN_BLOCK_MAX = 256 << 20 };

/* One thread at a time. */
struct rc_vn_memory_blocks {
	struct rc_vn_block_source source;
	uint64_t leaf;      /* smallest range; images and buffers never share one */
	uint64_t alignment; /* of every range, at least */
	struct rc_vn_block_list {
		struct rc_list blocks;
		uint64_t bytes, largest; /* of all; largest: no block is made larger (power of two) */
		uint32_t count, empty;
	} types[VK_MAX_MEMORY_TYPES];
	uint64_t used_bytes;
	uint32_t allocations;
};

/* `leaf`: power of two. `heap_bytes`: by memory type, of the heap that its blocks come from; a small heap gets small blocks. */
void rc_vn_memory_blocks_init(struct rc_vn_memory_blocks *blocks, const struct rc_vn_block_source *source,
	uint64_t leaf, uint32_t type_count, const uint64_t *heap_bytes);
/* All blocks are released, whatever is still in use. */
void rc_vn_memory_blocks_finish(struct rc_vn_memory_blocks *blocks);

/* Larger allocations are better made on their own: a block that holds little else has no use. */
uint64_t rc_vn_memory_blocks_limit(const struct rc_vn_memory_blocks *blocks, uint32_t type_index);

/* A range of `size` bytes, aligned to `size` rounded up to a power of two and to `alignment`; a new block when none has room. */
VkResult rc_vn_memory_blocks_take(struct rc_vn_memory_blocks *blocks, uint32_t type_index, uint64_t size,
	struct rc_vn_memory_block **block, uint64_t *offset);
/* With the size that was taken. One empty block of each type is kept, so that a client at the edge of a block does not allocate all the time. */
void rc_vn_memory_blocks_give(struct rc_vn_memory_blocks *blocks, struct rc_vn_memory_block *block, uint64_t offset,
	uint64_t size, uint64_t now_ns);
/* Release the blocks that have been empty since `before_ns` or longer; UINT64_MAX: all empty ones. True: there was one. */
bool rc_vn_memory_blocks_trim(struct rc_vn_memory_blocks *blocks, uint64_t before_ns);

/* The largest range (power of two) that needs no new block. */
uint64_t rc_vn_block_list_largest_free(const struct rc_vn_block_list *list);

#endif
