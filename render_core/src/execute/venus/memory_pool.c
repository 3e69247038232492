/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/memory_pool.h"

#include <stdlib.h>

/* Smallest range: natively an allocation has 64 KiB or more, and smaller ones would make the trees large. */
static const uint64_t smallest_range = 4096;

/* What a program that draws would have used again by then. A driver takes a fraction of a millisecond to let go of one. */
static const uint64_t idle_ns = 3000000000u;
enum { IDLE_EVICTIONS = 16 };

static VkDevice host(const struct rc_vn_memory_pool *pool) {
	return (VkDevice)(uintptr_t)pool->device->base.handle;
}

static bool take_usage(struct rc_vn_memory_pool *pool, uint64_t size, bool visible) {
	struct rc_vn_guest *guest = pool->device->context->guest;
	const struct rc_vn_limits *limits = &guest->limits;
	struct rc_vn_usage *usage = &guest->usage;
	if (!rc_vn_usage_take32(&usage->memories, 1, limits->memories)) {
		return false;
	}
	if (!rc_vn_usage_take64(&usage->memory_bytes, size, limits->memory_bytes)) {
		atomic_fetch_sub(&usage->memories, 1);
		return false;
	}
	if (visible && !rc_vn_usage_take64(&usage->visible_bytes, size, limits->visible_bytes)) {
		atomic_fetch_sub(&usage->memory_bytes, size);
		atomic_fetch_sub(&usage->memories, 1);
		return false;
	}
	return true;
}

static void give_usage(struct rc_vn_memory_pool *pool, uint64_t size, bool visible) {
	struct rc_vn_usage *usage = &pool->device->context->guest->usage;
	atomic_fetch_sub(&usage->memories, 1);
	atomic_fetch_sub(&usage->memory_bytes, size);
	if (visible) {
		atomic_fetch_sub(&usage->visible_bytes, size);
	}
}

static VkResult allocate_counted(
	struct rc_vn_memory_pool *pool, const VkMemoryAllocateInfo *info, bool visible, VkDeviceMemory *out) {
	if (!take_usage(pool, info->allocationSize, visible)) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	VkResult ret = pool->device->vk.AllocateMemory(host(pool), info, NULL, out);
	if (ret != VK_SUCCESS) {
		give_usage(pool, info->allocationSize, visible);
	}
	return ret;
}

static void release_counted(struct rc_vn_memory_pool *pool, VkDeviceMemory handle, uint64_t size, bool visible) {
	pool->device->vk.FreeMemory(host(pool), handle, NULL);
	give_usage(pool, size, visible);
}

VkResult rc_vn_memory_pool_allocate(
	struct rc_vn_memory_pool *pool, const VkMemoryAllocateInfo *info, bool visible, VkDeviceMemory *out) {
	VkResult ret = allocate_counted(pool, info, visible, out);
	if (ret == VK_SUCCESS) {
		atomic_fetch_add(&pool->own, 1);
		atomic_fetch_add(&pool->own_bytes, info->allocationSize);
	}
	return ret;
}

void rc_vn_memory_pool_release(struct rc_vn_memory_pool *pool, VkDeviceMemory handle, uint64_t size, bool visible) {
	release_counted(pool, handle, size, visible);
	atomic_fetch_sub(&pool->own, 1);
	atomic_fetch_sub(&pool->own_bytes, size);
}

static VkResult allocate_block(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory *out) {
	struct rc_vn_memory_pool *pool = context;
	const VkMemoryAllocateFlagsInfo flags = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
		.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
	};
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = pool->device->buffer_device_address ? &flags : NULL,
		.allocationSize = size,
		.memoryTypeIndex = type_index,
	};
	VkResult ret = allocate_counted(pool, &info, false, out);
	if (ret != VK_SUCCESS) {
		return ret;
	}
	ret = rc_vn_memory_clear_fill(&pool->clear, *out, type_index, size);
	if (ret != VK_SUCCESS && !pool->device->abandoned) {
		release_counted(pool, *out, size, false);
	}
	return ret;
}

static void release_block(void *context, uint32_t type_index, uint64_t size, VkDeviceMemory handle) {
	(void)type_index;
	release_counted(context, handle, size, false);
}

static VkMemoryRequirements buffer_requirements(struct rc_vn_memory_pool *pool, const void *next) {
	const VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.pNext = next,
		.size = 5000, /* of no driver's granularity */
		.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
				 VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
	};
	VkMemoryRequirements requirements = {0};
	VkBuffer buffer;
	if (pool->device->vk.CreateBuffer(host(pool), &info, NULL, &buffer) == VK_SUCCESS) {
		pool->device->vk.GetBufferMemoryRequirements(host(pool), buffer, &requirements);
		pool->device->vk.DestroyBuffer(host(pool), buffer, NULL);
	}
	return requirements;
}

/* A driver may restrict buffers that can be bound to imported memory. Losing the types that can be mapped but not imported is no loss:
 * clients see them as plain device memory (NVIDIA: memory behind the BAR). */
static bool probe_importable_buffers(struct rc_vn_memory_pool *pool) {
	const struct rc_vn_guest *guest = pool->device->context->guest;
	const VkExternalMemoryBufferCreateInfo external = {
		.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
		.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
	};
	const VkMemoryRequirements plain = buffer_requirements(pool, NULL), chained = buffer_requirements(pool, &external);
	uint32_t dispensable = 0;
	for (uint32_t i = 0; i < guest->host_memory.memoryTypeCount; i++) {
		if ((guest->host_memory.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
			!(guest->importable_types & (1u << i))) {
			dispensable |= 1u << i;
		}
	}
	return chained.size == plain.size && chained.alignment == plain.alignment &&
		   (plain.memoryTypeBits & ~chained.memoryTypeBits & ~dispensable) == 0;
}

struct rc_vn_memory_pool *rc_vn_memory_pool_create(struct rc_vn_device *device) {
	const struct rc_vn_guest *guest = device->context->guest;
	struct rc_vn_memory_pool *pool = calloc(1, sizeof(*pool));
	if (!pool) {
		return NULL;
	}
	pool->device = device;
	pthread_mutex_init(&pool->blocks_mutex, NULL);
	pthread_mutex_init(&pool->cache_mutex, NULL);
	rc_vn_memory_clear_init(&pool->clear, device);
	uint64_t heap_bytes[VK_MAX_MEMORY_TYPES];
	for (uint32_t i = 0; i < guest->memory.memoryTypeCount; i++) {
		heap_bytes[i] = guest->memory.memoryHeaps[guest->memory.memoryTypes[i].heapIndex].size;
	}
	const struct rc_vn_block_source source = {pool, allocate_block, release_block};
	const uint64_t granularity = guest->properties.limits.bufferImageGranularity;
	rc_vn_memory_blocks_init(&pool->blocks, &source, granularity > smallest_range ? granularity : smallest_range,
		guest->memory.memoryTypeCount, heap_bytes);
	pool->importable_buffers = probe_importable_buffers(pool);
	return pool;
}

void rc_vn_memory_pool_destroy(struct rc_vn_memory_pool *pool) {
	if (!pool) {
		return;
	}
	rc_vn_memory_pool_trim(pool, UINT64_MAX);
	rc_vn_memory_blocks_finish(&pool->blocks);
	rc_vn_memory_clear_finish(&pool->clear);
	pthread_mutex_destroy(&pool->cache_mutex);
	pthread_mutex_destroy(&pool->blocks_mutex);
	free(pool);
}

/* The oldest that must go, out of the cache and released. */
static bool evict_one(struct rc_vn_memory_pool *pool, size_t bytes, uint64_t before_ns) {
	struct rc_vn_cached_memory old;
	pthread_mutex_lock(&pool->cache_mutex);
	bool evicted = rc_vn_memory_cache_evict(&pool->cache, bytes, before_ns, &old);
	pthread_mutex_unlock(&pool->cache_mutex);
	if (evicted) {
		rc_vn_memory_pool_release(pool, old.handle, old.blob->mapped, true);
		rc_vn_blob_unref(old.blob);
	}
	return evicted;
}

void rc_vn_memory_pool_keep(struct rc_vn_memory_pool *pool, const struct rc_vn_cached_memory *memory) {
	bool kept = false;
	while (!kept) {
		while (evict_one(pool, memory->blob->mapped, 0)) {
		}
		pthread_mutex_lock(&pool->cache_mutex);
		kept = rc_vn_memory_cache_put(&pool->cache, memory); /* unless another thread was quicker */
		pthread_mutex_unlock(&pool->cache_mutex);
	}
}

bool rc_vn_memory_pool_trim(struct rc_vn_memory_pool *pool, uint64_t before_ns) {
	bool trimmed = false;
	while (evict_one(pool, 0, before_ns)) {
		trimmed = true;
	}
	pthread_mutex_lock(&pool->blocks_mutex);
	trimmed |= rc_vn_memory_blocks_trim(&pool->blocks, before_ns);
	pthread_mutex_unlock(&pool->blocks_mutex);
	return trimmed;
}

void rc_vn_memory_pool_tidy(struct rc_vn_memory_pool *pool, uint64_t now_ns) {
	if (pool->device->lost || now_ns < idle_ns) {
		return;
	}
	for (int i = 0; i < IDLE_EVICTIONS && evict_one(pool, 0, now_ns - idle_ns); i++) {
	}
	if (pthread_mutex_trylock(&pool->blocks_mutex) == 0) {
		rc_vn_memory_blocks_trim(&pool->blocks, now_ns - idle_ns);
		pthread_mutex_unlock(&pool->blocks_mutex);
	}
}

void rc_vn_memory_pool_note(struct rc_vn_memory_pool *pool, const VkMemoryRequirements *requirements) {
	/* Ranges are aligned to their size rounded up: nearly always that is enough. */
	if (requirements->alignment <= requirements->size || requirements->alignment <= pool->blocks.leaf ||
		requirements->alignment > RC_VN_BLOCK_MIN) {
		return;
	}
	pthread_mutex_lock(&pool->blocks_mutex);
	if (requirements->alignment > pool->blocks.alignment) {
		pool->blocks.alignment = requirements->alignment;
	}
	pthread_mutex_unlock(&pool->blocks_mutex);
}

void rc_vn_memory_pool_stats(struct rc_vn_memory_pool *pool, struct rc_vn_memory_stats *stats) {
	*stats = (struct rc_vn_memory_stats){.own_bytes = pool->own_bytes, .own = pool->own};
	pthread_mutex_lock(&pool->cache_mutex);
	stats->cached_bytes = pool->cache.bytes;
	stats->cached = pool->cache.count;
	pthread_mutex_unlock(&pool->cache_mutex);
	pthread_mutex_lock(&pool->blocks_mutex);
	stats->used_bytes = pool->blocks.used_bytes;
	stats->allocations = pool->blocks.allocations;
	for (uint32_t i = 0; i < VK_MAX_MEMORY_TYPES; i++) {
		const struct rc_vn_block_list *list = &pool->blocks.types[i];
		const uint64_t largest = rc_vn_block_list_largest_free(list);
		stats->block_bytes += list->bytes;
		stats->blocks += list->count;
		stats->largest_free_bytes = largest > stats->largest_free_bytes ? largest : stats->largest_free_bytes;
	}
	pthread_mutex_unlock(&pool->blocks_mutex);
}
