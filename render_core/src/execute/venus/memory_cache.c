/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/memory_cache.h"

#include <string.h>

static void take_out(struct rc_vn_memory_cache *cache, uint32_t index, struct rc_vn_cached_memory *out) {
	*out = cache->entries[index];
	cache->count--;
	cache->bytes -= out->blob->mapped;
	memmove(cache->entries + index, cache->entries + index + 1, (cache->count - index) * sizeof(cache->entries[0]));
}

bool rc_vn_memory_cache_take(struct rc_vn_memory_cache *cache, uint32_t type_index, VkMemoryAllocateFlags flags,
	size_t mapped, struct rc_vn_cached_memory *out) {
	for (uint32_t i = cache->count; i-- > 0;) {
		const struct rc_vn_cached_memory *entry = &cache->entries[i];
		/* acquire, with the release of the other holders' rc_vn_blob_unref(). From 1 it cannot grow: the reference is ours. */
		if (entry->type_index == type_index && entry->flags == flags && entry->blob->mapped == mapped &&
			atomic_load_explicit(&entry->blob->refs, memory_order_acquire) == 1) {
			take_out(cache, i, out);
			return true;
		}
	}
	return false;
}

/* For one more of `bytes`; 0: for none. */
static bool is_full(const struct rc_vn_memory_cache *cache, size_t bytes) {
	return bytes && (cache->count == RC_VN_CACHE_ENTRIES || cache->bytes + bytes > RC_VN_CACHE_BYTES);
}

bool rc_vn_memory_cache_evict(
	struct rc_vn_memory_cache *cache, size_t bytes, uint64_t before_ns, struct rc_vn_cached_memory *out) {
	if (cache->count == 0 || (!is_full(cache, bytes) && cache->entries[0].freed_ns > before_ns)) {
		return false;
	}
	take_out(cache, 0, out);
	return true;
}

bool rc_vn_memory_cache_put(struct rc_vn_memory_cache *cache, const struct rc_vn_cached_memory *memory) {
	if (is_full(cache, memory->blob->mapped)) {
		return false;
	}
	cache->entries[cache->count++] = *memory;
	cache->bytes += memory->blob->mapped;
	return true;
}
