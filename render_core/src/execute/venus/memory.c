/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/memory.h"

#include "execute/venus/chain.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/queue.h"
#include "execute/venus/teardown.h"
#include "util/clock.h"

/* Own allocations and imports are multiples of this: what clears them has no rest. */
static const uint64_t granule = 4096;

/* Memory that could not be had, up to this, is shared with the client all the same: its driver polls such buffers for fences' states and must find
 * there that the device is lost. */
static const uint64_t poisoned_shared_bytes = 64 << 10;

static VkDevice host(const struct rc_vn_device *device) {
	return (VkDevice)(uintptr_t)device->base.handle;
}

/* What a client asks for, checked. */
struct request {
	uint32_t type_index;
	VkDeviceSize size;
	VkMemoryAllocateFlags flags;
	VkBuffer buffer; /* dedicated to; with `image` at most one */
	VkImage image;
	bool required;                           /* the driver insists on memory of its own for it */
	VkMemoryPropertyFlags shown, properties; /* of the type: as clients see it; as the driver says */
};

static VkResult refuse(struct rc_vn_device *device, const char *field, const char *why) {
	rc_vn_context_log(device->context, RC_LOG_WARN, "vkAllocateMemory (%d): %s: %s", RC_VN_AllocateMemory, field, why);
	return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

/* Whether the resource gets memory of its own: the driver prefers it or insists. The sizes must be equal then. */
static void read_dedicated(
	struct rc_vn_device *device, const VkMemoryDedicatedAllocateInfo *dedicated, struct request *request) {
	const struct rc_vn_object *buffer = (const struct rc_vn_object *)(uintptr_t)dedicated->buffer;
	const struct rc_vn_object *image = (const struct rc_vn_object *)(uintptr_t)dedicated->image;
	VkMemoryDedicatedRequirements wish = {.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS};
	VkMemoryRequirements2 requirements = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2, .pNext = &wish};
	if (image && image->handle) {
		const VkImageMemoryRequirementsInfo2 info = {
			.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2,
			.image = (VkImage)(uintptr_t)image->handle,
		};
		device->vk.GetImageMemoryRequirements2(host(device), &info, &requirements);
	} else if (buffer && buffer->handle) {
		const VkBufferMemoryRequirementsInfo2 info = {
			.sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_REQUIREMENTS_INFO_2,
			.buffer = (VkBuffer)(uintptr_t)buffer->handle,
		};
		device->vk.GetBufferMemoryRequirements2(host(device), &info, &requirements);
	}
	if (requirements.memoryRequirements.size != request->size) {
		return;
	}
	request->required = wish.requiresDedicatedAllocation;
	if (image && (wish.requiresDedicatedAllocation || wish.prefersDedicatedAllocation)) {
		request->image = (VkImage)(uintptr_t)image->handle;
	} else if (!image && wish.requiresDedicatedAllocation) {
		/* Where it is no more than a wish it is not followed: another buffer could not be bound to such memory, not even to clear it. */
		request->buffer = (VkBuffer)(uintptr_t)buffer->handle;
	}
}

static VkResult read_request(struct rc_vn_device *device, const VkMemoryAllocateInfo *info, struct request *request) {
	const struct rc_vn_guest *guest = device->context->guest;
	*request = (struct request){.type_index = info->memoryTypeIndex, .size = info->allocationSize};
	if (info->memoryTypeIndex >= guest->memory.memoryTypeCount ||
		!(guest->usable_types & (1u << info->memoryTypeIndex))) {
		return refuse(device, "memoryTypeIndex", "no such memory type");
	}
	request->shown = guest->memory.memoryTypes[request->type_index].propertyFlags;
	request->properties = guest->host_memory.memoryTypes[request->type_index].propertyFlags;
	if (!request->size) {
		return refuse(device, "allocationSize", "is 0");
	}
	if (request->size > guest->memory.memoryHeaps[guest->memory.memoryTypes[request->type_index].heapIndex].size) {
		return refuse(device, "allocationSize", "larger than its heap");
	}
	if (rc_vn_chain_find(info, VK_STRUCTURE_TYPE_IMPORT_MEMORY_RESOURCE_INFO_MESA)) {
		return refuse(device, "VkImportMemoryResourceInfoMESA", "there is nothing to import");
	}
	const VkMemoryAllocateFlagsInfo *flags = rc_vn_chain_find(info, VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO);
	if (flags && device->buffer_device_address) {
		/* A device mask means nothing, groups have one device; replayed addresses are not offered. */
		request->flags = flags->flags & VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
	}
	const VkMemoryDedicatedAllocateInfo *dedicated =
		rc_vn_chain_find(info, VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO);
	if (dedicated) {
		read_dedicated(device, dedicated, request);
	}
	return VK_SUCCESS;
}

/* The host's allocation, with `next` in front of what else the request needs chained. */
static VkResult allocate_host(struct rc_vn_device *device, const struct request *request, VkDeviceSize size,
	const void *next, VkDeviceMemory *out) {
	const VkMemoryAllocateFlagsInfo flags = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
		.pNext = next,
		.flags = request->flags,
	};
	next = request->flags ? &flags : next;
	const VkMemoryDedicatedAllocateInfo dedicated = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO,
		.pNext = next,
		.image = request->image,
		.buffer = request->buffer,
	};
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = request->image || request->buffer ? &dedicated : next,
		.allocationSize = size,
		.memoryTypeIndex = request->type_index,
	};
	const bool visible = request->shown & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
	VkResult ret = rc_vn_memory_pool_allocate(device->memory_pool, &info, visible, out);
	if (ret == VK_ERROR_OUT_OF_DEVICE_MEMORY && rc_vn_memory_pool_trim(device->memory_pool, UINT64_MAX)) {
		ret = rc_vn_memory_pool_allocate(device->memory_pool, &info, visible, out);
	}
	return ret;
}

/* ---- memory that the client maps ---- */

static VkResult import(
	struct rc_vn_device *device, const struct request *request, struct rc_vn_blob *blob, VkDeviceMemory *out) {
	const VkImportMemoryHostPointerInfoEXT pointer = {
		.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
		.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
		.pHostPointer = blob->map,
	};
	return allocate_host(device, request, blob->mapped, &pointer, out);
}

static VkResult allocate_visible(struct rc_vn_device *device, struct request *request, struct rc_vn_memory *memory) {
	struct rc_vn_memory_pool *pool = device->memory_pool;
	const size_t align = device->context->guest->host_alignment;
	const size_t mapped = (request->size + align - 1) / align * align;
	struct rc_vn_cached_memory got = {0};
	if (!request->required) {
		/* A wish is not followed: the resource would have to be created for imported memory. */
		request->image = VK_NULL_HANDLE;
		request->buffer = VK_NULL_HANDLE;
	}
	memory->recyclable = !request->required && mapped <= RC_VN_CACHE_ENTRY_BYTES;
	bool cached = false;
	if (memory->recyclable) {
		pthread_mutex_lock(&pool->cache_mutex);
		cached = rc_vn_memory_cache_take(&pool->cache, request->type_index, request->flags, mapped, &got);
		pthread_mutex_unlock(&pool->cache_mutex);
	}
	if (!cached) {
		got.blob = rc_vn_blob_create(mapped, align);
		if (!got.blob && rc_vn_memory_pool_trim(pool, UINT64_MAX)) {
			got.blob = rc_vn_blob_create(mapped, align);
		}
		VkResult ret = got.blob ? import(device, request, got.blob, &got.handle) : VK_ERROR_OUT_OF_HOST_MEMORY;
		if (ret != VK_SUCCESS) {
			rc_vn_blob_unref(got.blob);
			return ret;
		}
	}
	memory->base.handle = (uint64_t)(uintptr_t)got.handle;
	memory->host_size = mapped;
	memory->flags = request->flags;
	rc_vn_blob_slot_swap(&memory->blob, got.blob, 0);
	return VK_SUCCESS;
}

/* ---- memory that only the GPU sees ---- */

static VkResult allocate_range(
	struct rc_vn_device *device, const struct request *request, struct rc_vn_memory *memory) {
	struct rc_vn_memory_pool *pool = device->memory_pool;
	struct rc_vn_memory_block *block;
	uint64_t offset;
	for (int attempt = 0;; attempt++) {
		pthread_mutex_lock(&pool->blocks_mutex);
		VkResult ret = rc_vn_memory_blocks_take(&pool->blocks, request->type_index, request->size, &block, &offset);
		pthread_mutex_unlock(&pool->blocks_mutex);
		if (ret == VK_SUCCESS) {
			break;
		}
		if (attempt || !rc_vn_memory_pool_trim(pool, UINT64_MAX)) {
			return ret;
		}
	}
	memory->base.handle = (uint64_t)(uintptr_t)block->handle;
	memory->offset = offset;
	memory->host_size = request->size;
	memory->block = block;
	return VK_SUCCESS;
}

/* Contents of lazily allocated memory never reach it, on the hardware that has such memory. */
static bool is_cleared(const struct request *request) {
	return !(request->properties & VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT);
}

static VkResult allocate_own(struct rc_vn_device *device, struct request *request, struct rc_vn_memory *memory) {
	struct rc_vn_memory_pool *pool = device->memory_pool;
	VkDeviceSize size = request->size;
	if (request->buffer || (request->required && size % granule)) {
		return refuse(device, "VkMemoryDedicatedAllocateInfo", "memory of this kind could not be cleared");
	}
	if (size % granule) {
		request->image = VK_NULL_HANDLE;
		size += granule - size % granule;
	}
	VkDeviceMemory handle;
	VkResult ret = allocate_host(device, request, size, NULL, &handle);
	if (ret == VK_SUCCESS && is_cleared(request)) {
		ret = rc_vn_memory_clear_fill(&pool->clear, handle, request->type_index, size);
		if (ret != VK_SUCCESS && !device->abandoned) {
			rc_vn_memory_pool_release(pool, handle, size, false);
		}
		if (ret == VK_ERROR_FEATURE_NOT_PRESENT) {
			ret = refuse(device, "memoryTypeIndex", "memory of this type could not be cleared");
		}
	}
	if (ret == VK_SUCCESS) {
		memory->base.handle = (uint64_t)(uintptr_t)handle;
		memory->host_size = size;
		memory->flags = request->flags;
	}
	return ret;
}

static bool wants_own(struct rc_vn_device *device, const struct request *request) {
	return request->image || request->buffer || !is_cleared(request) ||
		   request->size > rc_vn_memory_blocks_limit(&device->memory_pool->blocks, request->type_index);
}

VkResult rc_vn_memory_allocate(
	struct rc_vn_device *device, const VkMemoryAllocateInfo *info, struct rc_vn_memory *memory) {
	struct request request;
	VkResult ret = read_request(device, info, &request);
	memory->size = request.size;
	memory->type_index = request.type_index;
	if (ret != VK_SUCCESS) {
		return ret;
	}
	const bool visible = request.shown & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
	if (visible) {
		ret = allocate_visible(device, &request, memory);
	} else if (wants_own(device, &request)) {
		ret = allocate_own(device, &request, memory);
	} else {
		ret = allocate_range(device, &request, memory);
	}
	if (ret == VK_SUCCESS) {
		return ret;
	}
	struct rc_vn_guest *guest = device->context->guest;
	rc_vn_context_log(device->context, RC_LOG_WARN,
		"vkAllocateMemory (%d): no %llu bytes of type %u (VkResult %d); the guest holds %llu MiB, %llu MiB of it "
		"mapped, in %u "
		"allocations (limits: memory-bytes, visible-bytes, memories)",
		RC_VN_AllocateMemory, (unsigned long long)request.size, request.type_index, ret,
		(unsigned long long)guest->usage.memory_bytes >> 20, (unsigned long long)guest->usage.visible_bytes >> 20,
		guest->usage.memories);
	atomic_fetch_add(&guest->usage.refused, 1);
	if (visible && request.size <= poisoned_shared_bytes) {
		struct rc_vn_blob *blob = rc_vn_blob_create(request.size, guest->host_alignment);
		if (blob && rc_vn_usage_take64(&guest->usage.shared_bytes, blob->mapped, guest->limits.shared_bytes)) {
			rc_vn_blob_charge(blob, &guest->usage.shared_bytes, blob->mapped);
			rc_vn_blob_slot_swap(&memory->blob, blob, 0);
		} else {
			rc_vn_blob_unref(blob);
		}
	}
	return ret;
}

void rc_vn_memory_free(struct rc_vn_device *device, struct rc_vn_memory *memory) {
	if (!rc_vn_device_at_rest(device) || atomic_exchange(&memory->freed, true)) {
		return; /* the GPU may still use it; or it is done */
	}
	struct rc_vn_memory_pool *pool = device->memory_pool;
	struct rc_vn_blob *blob = rc_vn_blob_slot_swap(&memory->blob, NULL, 0);
	const VkDeviceMemory handle = (VkDeviceMemory)(uintptr_t)memory->base.handle;
	if (!handle) {
		rc_vn_blob_unref(blob);
	} else if (memory->block) {
		pthread_mutex_lock(&pool->blocks_mutex);
		rc_vn_memory_blocks_give(&pool->blocks, memory->block, memory->offset, memory->host_size, rc_now_ns());
		pthread_mutex_unlock(&pool->blocks_mutex);
	} else if (blob && memory->recyclable) {
		const struct rc_vn_cached_memory freed = {
			.handle = handle,
			.blob = blob,
			.type_index = memory->type_index,
			.flags = memory->flags,
			.freed_ns = rc_now_ns(),
		};
		rc_vn_memory_pool_keep(pool, &freed);
	} else {
		rc_vn_memory_pool_release(pool, handle, memory->host_size, blob != NULL);
		rc_vn_blob_unref(blob); /* after the driver has let go of it */
	}
}

struct rc_vn_blob *rc_vn_memory_take_blob(struct rc_vn_context *context, uint64_t memory_id, uint64_t size) {
	struct rc_vn_object *object = rc_vn_object_find(&context->objects, memory_id);
	if (!object || object->type != VK_OBJECT_TYPE_DEVICE_MEMORY) {
		return NULL;
	}
	struct rc_vn_memory *memory = rc_vn_from(rc_vn_memory, object);
	if (size != memory->size || atomic_exchange(&memory->blob_taken, true)) {
		return NULL;
	}
	uint64_t offset;
	return rc_vn_blob_slot_get(&memory->blob, &offset);
}

bool rc_vn_memory_place(struct rc_vn_device *device, const struct rc_vn_memory *memory, VkDeviceSize offset,
	const VkMemoryRequirements *requirements, VkDeviceSize *host_offset) {
	const char *why = NULL;
	if (memory->base.poisoned) {
		why = "memory is bound that could not be allocated";
	} else if (!(requirements->memoryTypeBits & (1u << memory->type_index))) {
		why = "memory is bound that is of a wrong type";
	} else if (offset > memory->size || requirements->size > memory->size - offset) {
		why = "memory is bound beyond its end";
	} else if (requirements->alignment && (memory->offset + offset) % requirements->alignment) {
		why = "memory is bound at an offset that is not aligned";
	}
	if (why) {
		rc_vn_device_mark_lost(device, why);
		return false;
	}
	*host_offset = memory->offset + offset;
	return true;
}
