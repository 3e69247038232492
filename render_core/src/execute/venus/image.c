/* SPDX-License-Identifier: Apache-2.0
 * A client's images: what the host is asked for, and which memory they are bound to. */
#include "execute/venus/buffer.h"
#include "execute/venus/chain.h"
#include "execute/venus/memory.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/required.h"
#include "execute/venus/teardown.h"

/* Drivers compute with these, and trust them. */
static const char *check_size(const VkPhysicalDeviceLimits *limits, const VkImageCreateInfo *info) {
	const VkExtent3D extent = info->extent;
	uint32_t largest;
	bool flat;
	switch (info->imageType) {
	case VK_IMAGE_TYPE_1D:
		largest = limits->maxImageDimension1D;
		flat = extent.height == 1 && extent.depth == 1;
		break;
	case VK_IMAGE_TYPE_2D:
		largest = limits->maxImageDimension2D;
		flat = extent.depth == 1;
		break;
	case VK_IMAGE_TYPE_3D:
		largest = limits->maxImageDimension3D;
		flat = info->arrayLayers == 1;
		break;
	default:
		return "VkImageCreateInfo.imageType";
	}
	if (!flat || !extent.width || !extent.height || !extent.depth || extent.width > largest ||
		extent.height > largest || extent.depth > largest) {
		return "VkImageCreateInfo.extent";
	}
	uint32_t longest = extent.width > extent.height ? extent.width : extent.height;
	longest = extent.depth > longest ? extent.depth : longest;
	if (!info->mipLevels || info->mipLevels > 32u - (uint32_t)__builtin_clz(longest)) {
		return "VkImageCreateInfo.mipLevels";
	}
	if (!info->arrayLayers || info->arrayLayers > limits->maxImageArrayLayers) {
		return "VkImageCreateInfo.arrayLayers";
	}
	const uint32_t samples = (uint32_t)info->samples;
	if (!samples || (samples & (samples - 1)) || samples > VK_SAMPLE_COUNT_64_BIT) {
		return "VkImageCreateInfo.samples";
	}
	return NULL;
}

/* What the host is asked for, from what the client asks: `asked` is a decoded struct and may lose parts of its chain. A pure function of it, as
 * for buffers. NULL, or the field that is wrong. */
static const char *make_request(
	const struct rc_vn_device *device, const VkImageCreateInfo *asked, VkImageCreateInfo *request) {
	const struct rc_vn_guest *guest = device->context->guest;
	const VkImageCreateFlags closed = VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT |
									  VK_IMAGE_CREATE_SPARSE_ALIASED_BIT | VK_IMAGE_CREATE_PROTECTED_BIT;
	if (asked->flags & closed) {
		return "VkImageCreateInfo.flags"; /* of features that are not offered */
	}
	if (asked->tiling != VK_IMAGE_TILING_OPTIMAL && asked->tiling != VK_IMAGE_TILING_LINEAR) {
		return "VkImageCreateInfo.tiling"; /* there are no modifiers */
	}
	const char *wrong = check_size(&guest->properties.limits, asked);
	if (wrong) {
		return wrong;
	}
	if (!rc_vn_sharing_is_valid(guest, asked->sharingMode, asked->queueFamilyIndexCount, asked->pQueueFamilyIndices)) {
		return "VkImageCreateInfo.pQueueFamilyIndices";
	}
	/* No image leaves this process. (Buffers say that their memory may be imported, see buffer.c; drivers offer that for hardly any image,
	 * and take imported memory for linear ones all the same.) */
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO);
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_IMAGE_DRM_FORMAT_MODIFIER_LIST_CREATE_INFO_EXT);
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_IMAGE_DRM_FORMAT_MODIFIER_EXPLICIT_CREATE_INFO_EXT);
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_IMAGE_SWAPCHAIN_CREATE_INFO_KHR);
	*request = *asked;
	if (asked->sharingMode == VK_SHARING_MODE_EXCLUSIVE) {
		request->queueFamilyIndexCount = 0; /* what an application left there */
		request->pQueueFamilyIndices = NULL;
	}
	return NULL;
}

static VkResult create(struct rc_vn_stream *stream, struct rc_vn_CreateImage *args, VkImage *out) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	VkImageCreateInfo request;
	if (stream->decoder.poisoned) {
		return VK_ERROR_INITIALIZATION_FAILED;
	}
	if (!rc_vn_may_create(stream, VK_OBJECT_TYPE_IMAGE)) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	const char *wrong = make_request(device, args->pCreateInfo, &request);
	if (wrong) {
		rc_vn_context_log(
			stream->context, RC_LOG_WARN, "vkCreateImage (%d): %s has no valid value", RC_VN_CreateImage, wrong);
		return VK_ERROR_INITIALIZATION_FAILED;
	}
	return device->vk.CreateImage(args->device, &request, NULL, out);
}

void rc_vn_execute_CreateImage(struct rc_vn_stream *stream, struct rc_vn_CreateImage *args) {
	if (!rc_vn_required(stream, args->pCreateInfo, "pCreateInfo") || !rc_vn_required(stream, args->pImage, "pImage")) {
		return;
	}
	VkImage handle = VK_NULL_HANDLE;
	args->ret = create(stream, args, &handle);
	if (args->ret < 0 && stream->replying) {
		*args->pImage = VK_NULL_HANDLE; /* the client knows, and never uses the id */
		return;
	}
	if (!rc_vn_add_object(stream, VK_OBJECT_TYPE_IMAGE, (uint64_t)(uintptr_t)*args->pImage, (uint64_t)(uintptr_t)handle,
			args->device_object, args->ret) &&
		handle) {
		rc_vn_from(rc_vn_device, args->device_object)->vk.DestroyImage(args->device, handle, NULL);
	}
}

void rc_vn_execute_DestroyImage(struct rc_vn_stream *stream, struct rc_vn_DestroyImage *args) {
	struct rc_vn_object *object = args->image_object;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (object && rc_vn_object_remove(&stream->context->objects, object) && object->handle &&
		rc_vn_device_at_rest(device)) {
		device->vk.DestroyImage(args->device, (VkImage)(uintptr_t)object->handle, NULL);
	}
}

/* ---- binding ---- */

static VkResult bind(
	struct rc_vn_device *device, VkImage image, const struct rc_vn_memory *memory, const VkBindImageMemoryInfo *asked) {
	const VkDevice host = (VkDevice)(uintptr_t)device->base.handle;
	if (!image) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY; /* poisoned */
	}
	/* A group of one device is the same as none; swapchains are the client's own affair. */
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_BIND_IMAGE_MEMORY_DEVICE_GROUP_INFO);
	rc_vn_chain_take(asked, VK_STRUCTURE_TYPE_BIND_IMAGE_MEMORY_SWAPCHAIN_INFO_KHR);
	VkBindImageMemoryInfo info = *asked;
	info.image = image;
	info.memory = (VkDeviceMemory)(uintptr_t)memory->base.handle;
	const VkBindImagePlaneMemoryInfo *plane = rc_vn_chain_find(&info, VK_STRUCTURE_TYPE_BIND_IMAGE_PLANE_MEMORY_INFO);
	const VkImagePlaneMemoryRequirementsInfo which = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_PLANE_MEMORY_REQUIREMENTS_INFO,
		.planeAspect = plane ? plane->planeAspect : 0,
	};
	const VkImageMemoryRequirementsInfo2 query = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2,
		.pNext = plane ? &which : NULL,
		.image = image,
	};
	VkMemoryRequirements2 requirements = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
	device->vk.GetImageMemoryRequirements2(host, &query, &requirements);
	if (!rc_vn_memory_place(
			device, memory, asked->memoryOffset, &requirements.memoryRequirements, &info.memoryOffset)) {
		return VK_ERROR_OUT_OF_DEVICE_MEMORY;
	}
	VkResult ret = device->vk.BindImageMemory2(host, 1, &info);
	if (ret < 0) {
		rc_vn_device_mark_lost(device, "the driver refuses to bind an image");
	}
	return ret;
}

void rc_vn_execute_BindImageMemory2(struct rc_vn_stream *stream, struct rc_vn_BindImageMemory2 *args) {
	if (args->bindInfoCount && !rc_vn_required(stream, args->pBindInfos, "pBindInfos")) {
		return;
	}
	for (uint32_t i = 0; i < args->bindInfoCount; i++) {
		const struct rc_vn_memory *memory = (const struct rc_vn_memory *)(uintptr_t)args->pBindInfos[i].memory;
		if (!rc_vn_required(stream, memory, "VkBindImageMemoryInfo.memory")) {
			return;
		}
		VkResult ret = bind(
			rc_vn_from(rc_vn_device, args->device_object), args->pBindInfos[i].image, memory, &args->pBindInfos[i]);
		args->ret = ret < 0 ? ret : args->ret;
	}
}

void rc_vn_execute_BindImageMemory(struct rc_vn_stream *stream, struct rc_vn_BindImageMemory *args) {
	if (!rc_vn_required(stream, args->image_object, "image") ||
		!rc_vn_required(stream, args->memory_object, "memory")) {
		return;
	}
	const VkBindImageMemoryInfo info = {
		.sType = VK_STRUCTURE_TYPE_BIND_IMAGE_MEMORY_INFO,
		.memoryOffset = args->memoryOffset,
	};
	args->ret = bind(rc_vn_from(rc_vn_device, args->device_object), args->image,
		rc_vn_from(rc_vn_memory, args->memory_object), &info);
}

/* ---- requirements ---- */

void rc_vn_execute_GetImageMemoryRequirements2(
	struct rc_vn_stream *stream, struct rc_vn_GetImageMemoryRequirements2 *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (rc_vn_required(stream, args->pInfo, "pInfo") &&
		rc_vn_required(stream, args->pMemoryRequirements, "pMemoryRequirements")) {
		device->vk.GetImageMemoryRequirements2(args->device, args->pInfo, args->pMemoryRequirements);
		rc_vn_memory_pool_note(device->memory_pool, &args->pMemoryRequirements->memoryRequirements);
	}
}

/* Of an image that is not created: the same answer as if it were. */
void rc_vn_execute_GetDeviceImageMemoryRequirements(
	struct rc_vn_stream *stream, struct rc_vn_GetDeviceImageMemoryRequirements *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!rc_vn_required(stream, args->pInfo, "pInfo") ||
		!rc_vn_required(stream, args->pInfo->pCreateInfo, "VkDeviceImageMemoryRequirements.pCreateInfo") ||
		!rc_vn_required(stream, args->pMemoryRequirements, "pMemoryRequirements")) {
		return;
	}
	if (!device->vk.GetDeviceImageMemoryRequirements) {
		rc_vn_stream_fail(stream, "device", "has no such function: VK_KHR_maintenance4 was not enabled");
		return;
	}
	VkImageCreateInfo request;
	const char *wrong = make_request(device, args->pInfo->pCreateInfo, &request);
	if (wrong) {
		rc_vn_context_log(stream->context, RC_LOG_WARN,
			"vkGetDeviceImageMemoryRequirements (%d): %s has no valid value", RC_VN_GetDeviceImageMemoryRequirements,
			wrong);
		return; /* zeros: no memory type will do */
	}
	VkDeviceImageMemoryRequirements info = *args->pInfo;
	info.pCreateInfo = &request;
	device->vk.GetDeviceImageMemoryRequirements(args->device, &info, args->pMemoryRequirements);
	rc_vn_memory_pool_note(device->memory_pool, &args->pMemoryRequirements->memoryRequirements);
}

void rc_vn_execute_GetDeviceImageSparseMemoryRequirements(
	struct rc_vn_stream *stream, struct rc_vn_GetDeviceImageSparseMemoryRequirements *args) {
	/* Sparse images are not offered, and others have no such requirements. */
	if (rc_vn_required(stream, args->pSparseMemoryRequirementCount, "pSparseMemoryRequirementCount")) {
		*args->pSparseMemoryRequirementCount = 0;
	}
}
