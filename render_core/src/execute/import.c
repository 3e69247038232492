/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/import.h"

#include <stdlib.h>

static VkExternalMemoryHandleTypeFlagBits handle_type(enum rc_export type) {
	return type == RC_EXPORT_DMA_BUF ? VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT
									 : VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
}

static struct rc_import *create_buffer(
	struct rc_device *device, VkDeviceSize size, VkExternalMemoryHandleTypeFlagBits type) {
	struct rc_import *import = calloc(1, sizeof(*import));
	if (!import) {
		return NULL;
	}
	*import = (struct rc_import){.device = device, .size = size};
	const VkExternalMemoryBufferCreateInfo external = {
		.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
		.handleTypes = type,
	};
	const VkBufferCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
		.pNext = &external,
		.size = size,
		.usage =
			VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
	};
	if (device->vk.CreateBuffer(device->device, &info, NULL, &import->buffer) != VK_SUCCESS) {
		free(import);
		return NULL;
	}
	return import;
}

/* Allocate with `next` in the chain and bind. Destroys the import on failure. */
static struct rc_import *allocate(struct rc_import *import, uint32_t type_index, VkDeviceSize size, const void *next) {
	struct rc_device *device = import->device;
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.pNext = next,
		.allocationSize = size,
		.memoryTypeIndex = type_index,
	};
	VkResult result = device->vk.AllocateMemory(device->device, &info, NULL, &import->memory);
	if (result == VK_SUCCESS) {
		result = device->vk.BindBufferMemory(device->device, import->buffer, import->memory, 0);
	}
	if (result != VK_SUCCESS) {
		rc_log(device->log, RC_LOG_DEBUG, "import: %llu bytes refused by the driver (%d)", (unsigned long long)size,
			result);
		rc_import_destroy(import);
		return NULL;
	}
	return import;
}

struct rc_import *rc_import_host(struct rc_device *device, void *data, VkDeviceSize size) {
	const VkExternalMemoryHandleTypeFlagBits type = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
	if (!device->host_alignment) {
		return NULL;
	}
	struct rc_import *import = create_buffer(device, size, type);
	if (!import) {
		return NULL;
	}
	VkMemoryHostPointerPropertiesEXT pointer = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
	VkMemoryRequirements requirements;
	device->vk.GetBufferMemoryRequirements(device->device, import->buffer, &requirements);
	VkResult result = device->vk.GetMemoryHostPointerPropertiesEXT(device->device, type, data, &pointer);
	uint32_t bits = result == VK_SUCCESS ? pointer.memoryTypeBits & requirements.memoryTypeBits : 0;
	/* Coherent: the CPU's and the guest's writes are seen without a flush. Cached: the encoder reads the result. */
	const VkMemoryPropertyFlags coherent = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
	uint32_t index = rc_device_memory_type(device, bits, coherent | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
	if (index == UINT32_MAX) {
		index = rc_device_memory_type(device, bits, coherent);
	}
	if (index == UINT32_MAX || requirements.size > size) {
		rc_log(device->log, RC_LOG_DEBUG, "import: no memory type for host memory (%d)", result);
		rc_import_destroy(import);
		return NULL;
	}
	const VkImportMemoryHostPointerInfoEXT host = {
		.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
		.handleType = type,
		.pHostPointer = data,
	};
	return allocate(import, index, size, &host);
}

/* Allocate memory for the import's buffer alone, with `next` in the chain (NULL: nothing), in the device's own memory if that will do, and bind.
 * Destroys the import on failure. */
static struct rc_import *allocate_dedicated(struct rc_import *import, const void *next) {
	struct rc_device *device = import->device;
	VkMemoryRequirements requirements;
	device->vk.GetBufferMemoryRequirements(device->device, import->buffer, &requirements);
	uint32_t index = rc_device_memory_type(device, requirements.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
	if (index == UINT32_MAX) {
		index = rc_device_memory_type(device, requirements.memoryTypeBits, 0);
	}
	const VkMemoryDedicatedAllocateInfo dedicated = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO,
		.pNext = next,
		.buffer = import->buffer,
	};
	import->size = requirements.size;
	return allocate(import, index, requirements.size, &dedicated);
}

struct rc_import *rc_import_create_exported(struct rc_device *device, VkDeviceSize size, enum rc_export type, int *fd) {
	struct rc_import *import = device->vk.GetMemoryFdKHR ? create_buffer(device, size, handle_type(type)) : NULL;
	const VkExportMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
		.handleTypes = handle_type(type),
	};
	import = import ? allocate_dedicated(import, &info) : NULL;
	const VkMemoryGetFdInfoKHR get = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR,
		.memory = import ? import->memory : VK_NULL_HANDLE,
		.handleType = handle_type(type),
	};
	if (import && device->vk.GetMemoryFdKHR(device->device, &get, fd) != VK_SUCCESS) {
		rc_import_destroy(import);
		return NULL;
	}
	return import;
}

struct rc_import *rc_import_fd(struct rc_device *device, VkDeviceSize size, enum rc_export type, int fd) {
	struct rc_import *import = create_buffer(device, size, handle_type(type));
	const VkImportMemoryFdInfoKHR info = {
		.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
		.handleType = handle_type(type),
		.fd = fd,
	};
	return import ? allocate_dedicated(import, &info) : NULL;
}

void rc_import_destroy(struct rc_import *import) {
	if (!import) {
		return;
	}
	struct rc_device *device = import->device;
	/* A lost device may still be at work on it: then it stays, until the process ends. */
	if (!device->lost) {
		device->vk.DestroyBuffer(device->device, import->buffer, NULL);
		device->vk.FreeMemory(device->device, import->memory, NULL);
	}
	free(import);
}
