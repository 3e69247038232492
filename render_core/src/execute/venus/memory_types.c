/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "execute/venus/memory_types.h"

#include <sys/mman.h>
#include <unistd.h>

#include "transport/blob.h"

/* A client maps memory once and never says when it has written: it must be coherent. */
static const VkMemoryPropertyFlags mappable =
	VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

static void read_alignment(struct rc_vn_guest *guest) {
	VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
		.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
	VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host};
	guest->vk.GetPhysicalDeviceProperties2(guest->physical, &properties);
	const VkDeviceSize page = (VkDeviceSize)sysconf(_SC_PAGESIZE);
	guest->host_alignment = host.minImportedHostPointerAlignment > page ? host.minImportedHostPointerAlignment : page;
}

static bool imports(const struct rc_device *device, const struct rc_vn_blob *blob, uint32_t type) {
	const VkImportMemoryHostPointerInfoEXT pointer = {
		.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
		.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
		.pHostPointer = blob->map,
	};
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = &pointer,
		.allocationSize = blob->mapped,
		.memoryTypeIndex = type,
	};
	VkDeviceMemory memory;
	if (device->vk.AllocateMemory(device->device, &info, NULL, &memory) != VK_SUCCESS) {
		return false;
	}
	device->vk.FreeMemory(device->device, memory, NULL);
	return true;
}

/* Asked with a mapping of the very kind that clients get: a driver may take private pages and not these. */
static uint32_t probe_imports(const struct rc_vn_guest *guest, const struct rc_device *device) {
	struct rc_vn_blob *blob = rc_vn_blob_create(guest->host_alignment, guest->host_alignment);
	if (!blob) {
		return 0;
	}
	VkMemoryHostPointerPropertiesEXT properties = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
	uint32_t types = 0;
	if (device->vk.GetMemoryHostPointerPropertiesEXT(device->device,
			VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, blob->map, &properties) == VK_SUCCESS) {
		for (uint32_t i = 0; i < guest->host_memory.memoryTypeCount; i++) {
			const VkMemoryPropertyFlags flags = guest->host_memory.memoryTypes[i].propertyFlags;
			if ((properties.memoryTypeBits & guest->usable_types & (1u << i)) && (flags & mappable) == mappable &&
				imports(device, blob, i)) {
				types |= 1u << i;
			}
		}
	}
	rc_vn_blob_unref(blob);
	return types;
}

/* Types that only a feature opens which clients are not offered. They stay in the list, as on any driver. */
static uint32_t find_usable(const VkPhysicalDeviceMemoryProperties *memory) {
	const VkMemoryPropertyFlags closed = VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD |
										 VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;
	uint32_t types = 0;
	for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
		if (!(memory->memoryTypes[i].propertyFlags & closed)) {
			types |= 1u << i;
		}
	}
	return types;
}

/* Clients keep small buffers that the GPU tells them its progress in: these must fit in memory that they can map. */
static uint32_t feedback_types(const struct rc_device *device) {
	const VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.size = 4096,
		.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
		.sharingMode = VK_SHARING_MODE_EXCLUSIVE,
	};
	VkBuffer buffer;
	if (device->vk.CreateBuffer(device->device, &info, NULL, &buffer) != VK_SUCCESS) {
		return 0;
	}
	VkMemoryRequirements requirements;
	device->vk.GetBufferMemoryRequirements(device->device, buffer, &requirements);
	device->vk.DestroyBuffer(device->device, buffer, NULL);
	return requirements.memoryTypeBits;
}

static void show_types(struct rc_vn_guest *guest) {
	guest->memory = guest->host_memory;
	for (uint32_t i = 0; i < guest->memory.memoryTypeCount; i++) {
		if (!(guest->importable_types & (1u << i))) {
			guest->memory.memoryTypes[i].propertyFlags &=
				~(VkMemoryPropertyFlags)(mappable | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
		}
	}
	for (uint32_t i = 0; i < guest->memory.memoryHeapCount; i++) {
		VkMemoryHeap *heap = &guest->memory.memoryHeaps[i];
		/* Memory of the machine's own on a device that has some of its own: nothing but what clients map comes from there. */
		const bool local = guest->is_cpu || (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT);
		const VkDeviceSize most = local || guest->limits.visible_bytes > guest->limits.memory_bytes
									  ? guest->limits.memory_bytes
									  : guest->limits.visible_bytes;
		if (heap->size > most) {
			heap->size = most;
		}
	}
}

bool rc_vn_memory_types_probe(struct rc_vn_guest *guest, const struct rc_device *device) {
	guest->vk.GetPhysicalDeviceMemoryProperties(guest->physical, &guest->host_memory);
	guest->usable_types = find_usable(&guest->host_memory);
	read_alignment(guest);
	if (!device->vk.GetMemoryHostPointerPropertiesEXT) {
		rc_log(guest->log, RC_LOG_ERROR, "venus: %s lacks VK_EXT_external_memory_host: guests could map no memory",
			guest->properties.deviceName);
		return false;
	}
	guest->importable_types = probe_imports(guest, device);
	if (!(guest->importable_types & feedback_types(device))) {
		rc_log(guest->log, RC_LOG_ERROR,
			"venus: %s imports shared memory into none of its coherent types: guests could map no memory",
			guest->properties.deviceName);
		return false;
	}
	show_types(guest);
	return true;
}
