/* SPDX-License-Identifier: Apache-2.0
 * What clients learn of formats, and of sharing with others: nothing of the host's is shared with them but mapped memory. */
#include "execute/venus/chain.h"
#include "execute/venus/stream.h"

void rc_vn_execute_GetPhysicalDeviceFormatProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceFormatProperties *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	guest->vk.GetPhysicalDeviceFormatProperties(guest->physical, args->format, args->pFormatProperties);
}

/* VK_EXT_image_drm_format_modifier is shown where the client's driver wants to see it; no format has a modifier. */
void rc_vn_execute_GetPhysicalDeviceFormatProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceFormatProperties2 *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	struct rc_vn_chain_gap list =
		rc_vn_chain_take(args->pFormatProperties, VK_STRUCTURE_TYPE_DRM_FORMAT_MODIFIER_PROPERTIES_LIST_EXT);
	struct rc_vn_chain_gap list2 =
		rc_vn_chain_take(args->pFormatProperties, VK_STRUCTURE_TYPE_DRM_FORMAT_MODIFIER_PROPERTIES_LIST_2_EXT);
	guest->vk.GetPhysicalDeviceFormatProperties2(guest->physical, args->format, args->pFormatProperties);
	rc_vn_chain_put_back(list2);
	rc_vn_chain_put_back(list);
	if (list.taken) {
		VkDrmFormatModifierPropertiesListEXT *properties = (void *)list.taken;
		properties->drmFormatModifierCount = 0;
		properties->pDrmFormatModifierProperties = NULL;
	}
	if (list2.taken) {
		VkDrmFormatModifierPropertiesList2EXT *properties = (void *)list2.taken;
		properties->drmFormatModifierCount = 0;
		properties->pDrmFormatModifierProperties = NULL;
	}
}

static bool is_offered(VkImageTiling tiling, VkImageCreateFlags flags) {
	const VkImageCreateFlags closed = VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT |
									  VK_IMAGE_CREATE_SPARSE_ALIASED_BIT | VK_IMAGE_CREATE_PROTECTED_BIT;
	return (tiling == VK_IMAGE_TILING_OPTIMAL || tiling == VK_IMAGE_TILING_LINEAR) && !(flags & closed);
}

void rc_vn_execute_GetPhysicalDeviceImageFormatProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceImageFormatProperties *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	args->ret = VK_ERROR_FORMAT_NOT_SUPPORTED;
	if (is_offered(args->tiling, args->flags)) {
		args->ret = guest->vk.GetPhysicalDeviceImageFormatProperties(guest->physical, args->format, args->type,
			args->tiling, args->usage, args->flags, args->pImageFormatProperties);
	}
}

void rc_vn_execute_GetPhysicalDeviceImageFormatProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceImageFormatProperties2 *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	const VkPhysicalDeviceImageFormatInfo2 *info = args->pImageFormatInfo;
	const struct rc_vn_chain_gap external =
		rc_vn_chain_take(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_IMAGE_FORMAT_INFO);
	const VkPhysicalDeviceExternalImageFormatInfo *shared = (const void *)external.taken;
	args->ret = VK_ERROR_FORMAT_NOT_SUPPORTED;
	if (!is_offered(info->tiling, info->flags) || (shared && shared->handleType)) {
		return; /* the reply has zeros */
	}
	/* Of modifiers nothing is left to ask, and of sharing nothing to answer. */
	rc_vn_chain_take(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_DRM_FORMAT_MODIFIER_INFO_EXT);
	const struct rc_vn_chain_gap answer =
		rc_vn_chain_take(args->pImageFormatProperties, VK_STRUCTURE_TYPE_EXTERNAL_IMAGE_FORMAT_PROPERTIES);
	args->ret = guest->vk.GetPhysicalDeviceImageFormatProperties2(guest->physical, info, args->pImageFormatProperties);
	rc_vn_chain_put_back(answer);
}

void rc_vn_execute_GetPhysicalDeviceSparseImageFormatProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceSparseImageFormatProperties *args) {
	(void)stream;
	*args->pPropertyCount = 0;
}

void rc_vn_execute_GetPhysicalDeviceSparseImageFormatProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceSparseImageFormatProperties2 *args) {
	(void)stream;
	*args->pPropertyCount = 0;
}

/* Zeros, which is what the structs hold: no kind of handle can be exported or imported. */
void rc_vn_execute_GetPhysicalDeviceExternalBufferProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceExternalBufferProperties *args) {
	(void)stream, (void)args;
}

void rc_vn_execute_GetPhysicalDeviceExternalFenceProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceExternalFenceProperties *args) {
	(void)stream, (void)args;
}

/* Binary semaphores take what vkImportSemaphoreResourceMESA gives them: a payload that is signalled already. Mesa makes swapchains and
 * VK_KHR_synchronization2 of this, and its programs cannot reach it. */
void rc_vn_execute_GetPhysicalDeviceExternalSemaphoreProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceExternalSemaphoreProperties *args) {
	const VkPhysicalDeviceExternalSemaphoreInfo *info = args->pExternalSemaphoreInfo;
	(void)stream;
	const VkSemaphoreTypeCreateInfo *type = rc_vn_chain_find(info, VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO);
	if (info->handleType == VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT &&
		(!type || type->semaphoreType == VK_SEMAPHORE_TYPE_BINARY)) {
		args->pExternalSemaphoreProperties->externalSemaphoreFeatures = VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
	}
}
