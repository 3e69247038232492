/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/buddy.h"

#include <assert.h>
#include <stdlib.h>

enum { MAX_DEPTH = 24 };

static bool is_power_of_two(uint64_t value) {
	return value && (value & (value - 1)) == 0;
}

/* log2, rounded up; of 1 or more. */
static uint32_t log2_up(uint64_t value) {
	return value <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(value - 1);
}

static uint8_t whole(uint32_t order) {
	return (uint8_t)(order + 1);
}

/* A node of `order` says from its halves what is free inside. */
static void update(struct rc_vn_buddy *buddy, uint32_t node, uint32_t order) {
	uint8_t left = buddy->largest[2 * node], right = buddy->largest[2 * node + 1];
	if (left == whole(order - 1) && right == whole(order - 1)) {
		buddy->largest[node] = whole(order);
	} else {
		buddy->largest[node] = left > right ? left : right;
	}
}

static void update_parents(struct rc_vn_buddy *buddy, uint32_t node, uint32_t order) {
	while (node > 1) {
		node /= 2;
		update(buddy, node, ++order);
	}
}

bool rc_vn_buddy_init(struct rc_vn_buddy *buddy, uint64_t size, uint64_t leaf) {
	if (!is_power_of_two(size) || !is_power_of_two(leaf) || size < leaf || log2_up(size / leaf) > MAX_DEPTH) {
		return false;
	}
	*buddy = (struct rc_vn_buddy){
		.leaf_shift = log2_up(leaf),
		.depth = log2_up(size / leaf),
		.free_leaves = size / leaf,
	};
	buddy->largest = malloc((size_t)2 << buddy->depth);
	if (!buddy->largest) {
		return false;
	}
	buddy->largest[0] = 0; /* no node */
	for (uint32_t level = 0; level <= buddy->depth; level++) {
		for (uint32_t i = 0; i < 1u << level; i++) {
			buddy->largest[(1u << level) + i] = whole(buddy->depth - level);
		}
	}
	return true;
}

void rc_vn_buddy_finish(struct rc_vn_buddy *buddy) {
	free(buddy->largest);
	buddy->largest = NULL;
}

/* Mark the first `leaves` of a free node, as few nodes as possible; what is behind them stays free. A node that is taken, and all inside
 * it, is found by `largest` 0 at it: what its halves say does not matter until it is split. */
static void mark(struct rc_vn_buddy *buddy, uint32_t node, uint32_t order, uint64_t leaves) {
	const uint32_t first = node, first_order = order;
	while (leaves < 1ull << order) {
		const uint64_t half = 1ull << (order - 1);
		buddy->largest[2 * node] = buddy->largest[2 * node + 1] = whole(order - 1);
		order--;
		if (leaves >= half) {
			buddy->largest[2 * node] = 0;
			leaves -= half;
			node = 2 * node + 1;
			if (!leaves) {
				break;
			}
		} else {
			node = 2 * node;
		}
	}
	if (leaves) {
		buddy->largest[node] = 0;
	}
	while (order < first_order) {
		node /= 2;
		update(buddy, node, ++order);
	}
	update_parents(buddy, first, first_order);
}

uint64_t rc_vn_buddy_take(struct rc_vn_buddy *buddy, uint64_t size, uint64_t alignment) {
	const uint64_t capacity = 1ull << (buddy->depth + buddy->leaf_shift);
	if (!size || size > capacity || !is_power_of_two(alignment) || alignment > capacity) {
		return UINT64_MAX;
	}
	const uint64_t leaves = (size + (1ull << buddy->leaf_shift) - 1) >> buddy->leaf_shift;
	uint32_t order = log2_up(leaves);
	if (alignment > 1ull << (order + buddy->leaf_shift)) {
		order = log2_up(alignment) - buddy->leaf_shift;
	}
	if (buddy->largest[1] < whole(order)) {
		return UINT64_MAX;
	}
	/* The half whose largest free node is the smaller one that will do: large ones stay whole. */
	uint32_t node = 1;
	for (uint32_t at = buddy->depth; at > order; at--) {
		if (buddy->largest[node] == whole(at)) {
			/* Free as a whole: what its halves say may be old. */
			buddy->largest[2 * node] = buddy->largest[2 * node + 1] = whole(at - 1);
		}
		uint8_t left = buddy->largest[2 * node], right = buddy->largest[2 * node + 1];
		bool go_left = left >= whole(order) && (right < whole(order) || left <= right);
		node = 2 * node + (go_left ? 0 : 1);
	}
	buddy->free_leaves -= leaves;
	mark(buddy, node, order, leaves);
	return (uint64_t)(node - (1u << (buddy->depth - order))) << (order + buddy->leaf_shift);
}

void rc_vn_buddy_give(struct rc_vn_buddy *buddy, uint64_t offset, uint64_t size) {
	uint64_t leaf = offset >> buddy->leaf_shift;
	uint64_t leaves = (size + (1ull << buddy->leaf_shift) - 1) >> buddy->leaf_shift;
	assert(leaf + leaves <= 1ull << buddy->depth);
	buddy->free_leaves += leaves;
	/* Largest nodes first, as mark() took them: the offset is aligned to `leaves` rounded up. */
	while (leaves) {
		const uint32_t order = 63 - (uint32_t)__builtin_clzll(leaves);
		const uint32_t node = (uint32_t)((1ull << (buddy->depth - order)) + (leaf >> order));
		assert(buddy->largest[node] == 0 && (leaf & ((1ull << order) - 1)) == 0);
		buddy->largest[node] = whole(order);
		update_parents(buddy, node, order);
		leaf += 1ull << order;
		leaves -= 1ull << order;
	}
}

uint64_t rc_vn_buddy_largest_free(const struct rc_vn_buddy *buddy) {
	return buddy->largest[1] ? 1ull << (buddy->largest[1] - 1 + buddy->leaf_shift) : 0;
}

uint64_t rc_vn_buddy_free_bytes(const struct rc_vn_buddy *buddy) {
	return buddy->free_leaves << buddy->leaf_shift;
}

bool rc_vn_buddy_empty(const struct rc_vn_buddy *buddy) {
	return buddy->free_leaves == 1ull << buddy->depth;
}
