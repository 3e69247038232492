/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/memory_blocks.h"

#include <stdlib.h>

/* What is larger has an allocation of its own. */
static const uint64_t largest_range = 32 << 20;

static uint64_t power_of_two_down(uint64_t value) {
	return value ? 1ull << (63 - __builtin_clzll(value)) : 0;
}

static uint64_t power_of_two_up(uint64_t value) {
	return value <= 1 ? 1 : 1ull << (64 - __builtin_clzll(value - 1));
}

void rc_vn_memory_blocks_init(struct rc_vn_memory_blocks *blocks, const struct rc_vn_block_source *source,
	uint64_t leaf, uint32_t type_count, const uint64_t *heap_bytes) {
	*blocks = (struct rc_vn_memory_blocks){.source = *source, .leaf = leaf, .alignment = leaf};
	for (uint32_t i = 0; i < VK_MAX_MEMORY_TYPES; i++) {
		struct rc_vn_block_list *list = &blocks->types[i];
		rc_list_init(&list->blocks);
		/* A sixteenth of the heap: an empty block kept, and one hardly used, leave it to others. */
		list->largest = i < type_count ? power_of_two_down(heap_bytes[i] / 16) : 0;
		list->largest = list->largest > RC_VN_BLOCK_MAX ? RC_VN_BLOCK_MAX : list->largest;
		list->largest = list->largest < leaf ? 0 : list->largest;
	}
}

static void release(struct rc_vn_memory_blocks *blocks, struct rc_vn_memory_block *block) {
	struct rc_vn_block_list *list = &blocks->types[block->type_index];
	rc_list_remove(&block->link);
	list->bytes -= block->size;
	list->count--;
	list->empty -= block->allocations == 0;
	blocks->source.release(blocks->source.context, block->type_index, block->size, block->handle);
	rc_vn_buddy_finish(&block->buddy);
	free(block);
}

void rc_vn_memory_blocks_finish(struct rc_vn_memory_blocks *blocks) {
	for (uint32_t i = 0; i < VK_MAX_MEMORY_TYPES; i++) {
		struct rc_list *list = &blocks->types[i].blocks;
		while (!rc_list_empty(list)) {
			release(blocks, rc_container_of(list->next, struct rc_vn_memory_block, link));
		}
	}
}

uint64_t rc_vn_memory_blocks_limit(const struct rc_vn_memory_blocks *blocks, uint32_t type_index) {
	const uint64_t half = blocks->types[type_index].largest / 2;
	return half < largest_range ? half : largest_range;
}

static VkResult add_block(
	struct rc_vn_memory_blocks *blocks, uint32_t type_index, uint64_t size, struct rc_vn_memory_block **out) {
	struct rc_vn_memory_block *block = calloc(1, sizeof(*block));
	if (!block || !rc_vn_buddy_init(&block->buddy, size, blocks->leaf)) {
		free(block);
		return VK_ERROR_OUT_OF_HOST_MEMORY;
	}
	VkResult ret = blocks->source.allocate(blocks->source.context, type_index, size, &block->handle);
	if (ret != VK_SUCCESS) {
		rc_vn_buddy_finish(&block->buddy);
		free(block);
		return ret;
	}
	struct rc_vn_block_list *list = &blocks->types[type_index];
	block->size = size;
	block->type_index = type_index;
	rc_list_append(&list->blocks, &block->link);
	list->bytes += size;
	list->count++;
	list->empty++;
	*out = block;
	return VK_SUCCESS;
}

/* A quarter of what there is already: who has little gets little, who has much has few blocks to look through. When that much cannot be had,
 * half of it, down to what is needed. */
static VkResult grow(
	struct rc_vn_memory_blocks *blocks, uint32_t type_index, uint64_t needed, struct rc_vn_memory_block **out) {
	const struct rc_vn_block_list *list = &blocks->types[type_index];
	uint64_t size = power_of_two_down(list->bytes / 4);
	size = size < RC_VN_BLOCK_MIN ? RC_VN_BLOCK_MIN : size;
	size = size < 2 * needed ? 2 * needed : size;
	size = size > list->largest ? list->largest : size;
	for (;;) {
		VkResult ret = size < needed ? VK_ERROR_OUT_OF_DEVICE_MEMORY : add_block(blocks, type_index, size, out);
		if (ret != VK_ERROR_OUT_OF_DEVICE_MEMORY || size / 2 < needed) {
			return ret;
		}
		size /= 2;
	}
}

VkResult rc_vn_memory_blocks_take(struct rc_vn_memory_blocks *blocks, uint32_t type_index, uint64_t size,
	struct rc_vn_memory_block **out, uint64_t *offset) {
	struct rc_vn_block_list *list = &blocks->types[type_index];
	uint64_t needed = power_of_two_up(size);
	needed = needed < blocks->alignment ? blocks->alignment : needed;
	struct rc_vn_memory_block *block = NULL;
	/* The oldest that has room: the newer ones become empty. */
	for (struct rc_list *link = list->blocks.next; link != &list->blocks && !block; link = link->next) {
		struct rc_vn_memory_block *candidate = rc_container_of(link, struct rc_vn_memory_block, link);
		if (rc_vn_buddy_largest_free(&candidate->buddy) >= needed) {
			block = candidate;
		}
	}
	if (!block) {
		VkResult ret = grow(blocks, type_index, needed, &block);
		if (ret != VK_SUCCESS) {
			return ret;
		}
	}
	*offset = rc_vn_buddy_take(&block->buddy, size, blocks->alignment);
	list->empty -= block->allocations == 0;
	block->allocations++;
	blocks->allocations++;
	blocks->used_bytes += size;
	*out = block;
	return VK_SUCCESS;
}

void rc_vn_memory_blocks_give(struct rc_vn_memory_blocks *blocks, struct rc_vn_memory_block *block, uint64_t offset,
	uint64_t size, uint64_t now_ns) {
	struct rc_vn_block_list *list = &blocks->types[block->type_index];
	rc_vn_buddy_give(&block->buddy, offset, size);
	blocks->allocations--;
	blocks->used_bytes -= size;
	if (--block->allocations == 0) {
		block->empty_since_ns = now_ns;
		if (++list->empty > 1) {
			release(blocks, block);
		}
	}
}

bool rc_vn_memory_blocks_trim(struct rc_vn_memory_blocks *blocks, uint64_t before_ns) {
	bool trimmed = false;
	for (uint32_t i = 0; i < VK_MAX_MEMORY_TYPES; i++) {
		struct rc_vn_block_list *list = &blocks->types[i];
		for (struct rc_list *link = list->blocks.next, *next; list->empty && link != &list->blocks; link = next) {
			struct rc_vn_memory_block *block = rc_container_of(link, struct rc_vn_memory_block, link);
			next = link->next;
			if (block->allocations == 0 && block->empty_since_ns <= before_ns) {
				release(blocks, block);
				trimmed = true;
			}
		}
	}
	return trimmed;
}

uint64_t rc_vn_block_list_largest_free(const struct rc_vn_block_list *list) {
	uint64_t largest = 0;
	for (const struct rc_list *link = list->blocks.next; link != &list->blocks; link = link->next) {
		const uint64_t here = rc_vn_buddy_largest_free(&rc_container_of(link, struct rc_vn_memory_block, link)->buddy);
		largest = here > largest ? here : largest;
	}
	return largest;
}
