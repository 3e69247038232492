/* SPDX-License-Identifier: Apache-2.0
 * Blocks of device memory and the cache of shared memory, without a device: a counting source stands for the driver. */
#include <string.h>

#include "check.h"
#include "execute/venus/memory_blocks.h"
#include "execute/venus/memory_cache.h"

enum { MIB = 1 << 20 };

struct source {
	uint64_t bytes, limit; /* handed out; what the driver has */
	uint32_t made, released;
	VkResult error; /* what it says when it has no more */
};

static VkResult allocate(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory *out) {
	struct source *source = context;
	CHECK(type_index < 2);
	if (source->bytes + size > source->limit) {
		return source->error;
	}
	source->bytes += size;
	*out = (VkDeviceMemory)(uintptr_t)++source->made;
	return VK_SUCCESS;
}

static void release(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory handle) {
	struct source *source = context;
	CHECK(type_index < 2 && handle);
	source->bytes -= size;
	source->released++;
}

static void init(struct rc_vn_memory_blocks *blocks, struct source *source, uint64_t limit) {
	const struct rc_vn_block_source driver = {source, allocate, release};
	const uint64_t heaps[] = {64ull << 30, 256 * MIB};
	*source = (struct source){.limit = limit, .error = VK_ERROR_OUT_OF_DEVICE_MEMORY};
	rc_vn_memory_blocks_init(blocks, &driver, 4096, 2, heaps);
}

struct range {
	struct rc_vn_memory_block *block;
	uint64_t offset, size;
};

static struct range take(struct rc_vn_memory_blocks *blocks, uint32_t type_index, uint64_t size) {
	struct range range = {.size = size};
	CHECK(rc_vn_memory_blocks_take(blocks, type_index, size, &range.block, &range.offset) == VK_SUCCESS);
	CHECK(range.block->type_index == type_index && size <= range.block->size - range.offset);
	return range;
}

static void give(struct rc_vn_memory_blocks *blocks, struct range range) {
	rc_vn_memory_blocks_give(blocks, range.block, range.offset, range.size, 1000);
}

static void small_ones_share_a_block(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	struct range ranges[64];
	for (int i = 0; i < 64; i++) {
		ranges[i] = take(&blocks, 0, 100000);
		CHECK(ranges[i].block == ranges[0].block && ranges[i].offset % 131072 == 0);
	}
	CHECK(source.made == 1 && blocks.allocations == 64 && blocks.used_bytes == 6400000);
	for (int i = 0; i < 64; i++) {
		give(&blocks, ranges[i]);
	}
	CHECK(source.released == 0 && blocks.used_bytes == 0); /* one empty block is kept */
	CHECK(!rc_vn_memory_blocks_trim(&blocks, 999) && rc_vn_memory_blocks_trim(&blocks, 1000));
	CHECK(source.released == 1 && source.bytes == 0);
	rc_vn_memory_blocks_finish(&blocks);
}

static void blocks_grow_with_what_is_used(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	uint64_t largest = 0, total = 0;
	for (int i = 0; i < 128; i++) { /* 4 GiB */
		struct range range = take(&blocks, 0, rc_vn_memory_blocks_limit(&blocks, 0));
		total += range.size;
		largest = range.block->size > largest ? range.block->size : largest;
	}
	CHECK(largest == RC_VN_BLOCK_MAX && source.made < 40);
	CHECK(source.bytes <= total + RC_VN_BLOCK_MAX); /* never much more than is used */
	rc_vn_memory_blocks_finish(&blocks);
	CHECK(source.bytes == 0 && source.released == source.made);
}

static void small_heaps_have_small_blocks(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	CHECK(rc_vn_memory_blocks_limit(&blocks, 1) == 8 * MIB);
	struct range range = take(&blocks, 1, 8 * MIB);
	CHECK(range.block->size == 16 * MIB);
	rc_vn_memory_blocks_finish(&blocks);
}

static void one_empty_block_is_kept(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	struct range all[6];
	for (int i = 0; i < 6; i++) {
		all[i] = take(&blocks, 0, 30 * MIB);
	}
	CHECK(blocks.types[0].count == 3 && blocks.types[0].empty == 0);
	for (int i = 0; i < 6; i++) {
		give(&blocks, all[i]);
	}
	CHECK(blocks.types[0].count == 1 && blocks.types[0].empty == 1);
	uint32_t made = source.made;
	for (int i = 0; i < 100; i++) { /* at the edge: nothing is made or released */
		give(&blocks, take(&blocks, 0, 4096));
	}
	CHECK(source.made == made);
	rc_vn_memory_blocks_finish(&blocks);
}

static void takes_what_the_driver_still_has(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, 18 * MIB);
	struct range first = take(&blocks, 0, 16 * MIB);
	struct range second = take(&blocks, 0, MIB); /* a block of 16 MiB cannot be had: a smaller one */
	CHECK(first.block->size == 16 * MIB && second.block->size == 2 * MIB);
	struct rc_vn_memory_block *block;
	uint64_t offset;
	CHECK(rc_vn_memory_blocks_take(&blocks, 0, 2 * MIB, &block, &offset) == VK_ERROR_OUT_OF_DEVICE_MEMORY);
	take(&blocks, 0, MIB); /* beside the second */
	source.error = VK_ERROR_DEVICE_LOST;
	CHECK(rc_vn_memory_blocks_take(&blocks, 0, MIB, &block, &offset) == VK_ERROR_DEVICE_LOST);
	rc_vn_memory_blocks_finish(&blocks);
	CHECK(source.bytes == 0);
}

static void alignment_can_rise(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	struct range before = take(&blocks, 0, 1);
	blocks.alignment = 65536;
	struct range after[4];
	for (int i = 0; i < 4; i++) {
		after[i] = take(&blocks, 0, 1);
		CHECK(after[i].offset % 65536 == 0 && after[i].offset != before.offset);
	}
	give(&blocks, before);
	for (int i = 0; i < 4; i++) {
		give(&blocks, after[i]);
	}
	CHECK(rc_vn_buddy_empty(&before.block->buddy));
	rc_vn_memory_blocks_finish(&blocks);
}

static void ranges_never_overlap(void) {
	struct rc_vn_memory_blocks blocks;
	struct source source;
	init(&blocks, &source, UINT64_MAX);
	enum { COUNT = 400 };
	struct range ranges[COUNT] = {0};
	uint64_t state = 88172645463325252u, used = 0;
	for (int i = 0; i < 20000; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		struct range *range = &ranges[state % COUNT];
		if (range->size) {
			give(&blocks, *range);
			used -= range->size;
			range->size = 0;
		} else {
			*range = take(&blocks, 0, 1 + (state >> 20) % (1u << (8 + (state >> 12) % 15)));
			used += range->size;
			for (int j = 0; j < COUNT; j++) {
				const struct range *other = &ranges[j];
				CHECK(other == range || !other->size || other->block != range->block ||
					  other->offset + other->size <= range->offset || range->offset + range->size <= other->offset);
			}
		}
		CHECK(blocks.used_bytes == used && source.bytes >= used);
	}
	rc_vn_memory_blocks_finish(&blocks);
	CHECK(source.bytes == 0);
}

/* ---- the cache ---- */

static struct rc_vn_cached_memory freed(size_t size, uint32_t type_index, uint64_t freed_ns) {
	struct rc_vn_blob *blob = rc_vn_blob_create(size, 4096);
	CHECK(blob);
	return (struct rc_vn_cached_memory){.blob = blob, .type_index = type_index, .freed_ns = freed_ns};
}

static void drop_all(struct rc_vn_memory_cache *cache) {
	struct rc_vn_cached_memory old;
	while (rc_vn_memory_cache_evict(cache, 0, UINT64_MAX, &old)) {
		CHECK(old.blob->refs == 1);
		rc_vn_blob_unref(old.blob);
	}
	CHECK(cache->count == 0 && cache->bytes == 0);
}

static void same_kind_is_found_again(void) {
	struct rc_vn_memory_cache cache = {0};
	struct rc_vn_cached_memory a = freed(4096, 0, 1), b = freed(8192, 0, 2), c = freed(4096, 3, 3), got;
	c.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
	CHECK(rc_vn_memory_cache_put(&cache, &a) && rc_vn_memory_cache_put(&cache, &b));
	CHECK(rc_vn_memory_cache_put(&cache, &c) && cache.bytes == 16384);
	CHECK(!rc_vn_memory_cache_take(&cache, 3, 0, 4096, &got));  /* other flags */
	CHECK(!rc_vn_memory_cache_take(&cache, 1, 0, 4096, &got));  /* other type */
	CHECK(!rc_vn_memory_cache_take(&cache, 0, 0, 12288, &got)); /* other size */
	CHECK(rc_vn_memory_cache_take(&cache, 0, 0, 4096, &got) && got.blob == a.blob);
	CHECK(!rc_vn_memory_cache_take(&cache, 0, 0, 4096, &got) && cache.count == 2);
	CHECK(rc_vn_memory_cache_take(&cache, 3, c.flags, 4096, &got) && got.blob == c.blob);
	rc_vn_blob_unref(a.blob);
	rc_vn_blob_unref(c.blob);
	drop_all(&cache);
}

static void what_is_still_held_waits(void) {
	struct rc_vn_memory_cache cache = {0};
	struct rc_vn_cached_memory memory = freed(4096, 0, 1), got;
	rc_vn_blob_ref(memory.blob); /* the client's resource */
	CHECK(rc_vn_memory_cache_put(&cache, &memory));
	CHECK(!rc_vn_memory_cache_take(&cache, 0, 0, 4096, &got));
	rc_vn_blob_unref(memory.blob); /* RESOURCE_UNREF, late */
	CHECK(rc_vn_memory_cache_take(&cache, 0, 0, 4096, &got) && got.blob == memory.blob);
	rc_vn_blob_unref(got.blob);
}

static void oldest_goes_first(void) {
	struct rc_vn_memory_cache cache = {0};
	struct rc_vn_cached_memory got;
	for (uint64_t i = 1; i <= RC_VN_CACHE_ENTRIES; i++) {
		struct rc_vn_cached_memory memory = freed(4096, 0, i);
		CHECK(!rc_vn_memory_cache_evict(&cache, 4096, 0, &got));
		CHECK(rc_vn_memory_cache_put(&cache, &memory));
	}
	struct rc_vn_cached_memory more = freed(4096, 0, 100), large = freed(RC_VN_CACHE_BYTES, 0, 101);
	CHECK(!rc_vn_memory_cache_put(&cache, &more));
	CHECK(rc_vn_memory_cache_evict(&cache, 4096, 0, &got) && got.freed_ns == 1);
	rc_vn_blob_unref(got.blob);
	CHECK(rc_vn_memory_cache_put(&cache, &more));
	CHECK(!rc_vn_memory_cache_evict(&cache, 0, 1, &got)); /* none is that old */
	CHECK(rc_vn_memory_cache_evict(&cache, 0, 2, &got) && got.freed_ns == 2);
	rc_vn_blob_unref(got.blob);
	while (rc_vn_memory_cache_evict(&cache, large.blob->mapped, 0, &got)) {
		rc_vn_blob_unref(got.blob);
	}
	CHECK(cache.count == 0 && rc_vn_memory_cache_put(&cache, &large)); /* bytes count too */
	drop_all(&cache);
}

int main(void) {
	small_ones_share_a_block();
	blocks_grow_with_what_is_used();
	small_heaps_have_small_blocks();
	one_empty_block_is_kept();
	takes_what_the_driver_still_has();
	alignment_can_rise();
	ranges_never_overlap();
	same_kind_is_found_again();
	what_is_still_held_waits();
	oldest_goes_first();
	return 0;
}
