/* SPDX-License-Identifier: Apache-2.0
 * A buddy allocator of offsets: which parts of a block of 2^n bytes are taken. No memory of the block itself is touched. */
#ifndef RC_VN_BUDDY_H
#define RC_VN_BUDDY_H

#include <stdbool.h>
#include <stdint.h>

/* A binary tree over the block: two bytes for each smallest node, nothing for each allocation. An allocation is rounded up to smallest nodes,
 * not to a power of two: what is left of its node stays free. One thread at a time. */
struct rc_vn_buddy {
	uint32_t leaf_shift; /* a smallest node has 2^leaf_shift bytes */
	uint32_t depth;      /* the block has 2^depth of them */
	uint64_t free_leaves;
	uint8_t *largest; /* by node, 1 is the root: 1 + log2 of the leaves of the largest free node inside; 0: none */
};

/* `size` and `leaf` are powers of two, size / leaf is 2^0 to 2^24. False: they are not, or memory ran out. */
bool rc_vn_buddy_init(struct rc_vn_buddy *buddy, uint64_t size, uint64_t leaf);
void rc_vn_buddy_finish(struct rc_vn_buddy *buddy);

/* An offset of `size` > 0 free bytes, a multiple of `alignment` (power of two) and of `size` rounded up to a power of two; UINT64_MAX: there are none. */
uint64_t rc_vn_buddy_take(struct rc_vn_buddy *buddy, uint64_t size, uint64_t alignment);
/* Exactly what rc_vn_buddy_take() gave, with the size it was given. */
void rc_vn_buddy_give(struct rc_vn_buddy *buddy, uint64_t offset, uint64_t size);

/* The largest power of two that can be taken; 0: full. */
uint64_t rc_vn_buddy_largest_free(const struct rc_vn_buddy *buddy);
uint64_t rc_vn_buddy_free_bytes(const struct rc_vn_buddy *buddy);
bool rc_vn_buddy_empty(const struct rc_vn_buddy *buddy);

#endif
