/* SPDX-License-Identifier: Apache-2.0
 * What clients learn of the physical device: the host's answers, less what they are not offered. Mesa asks once and keeps the answers, so
 * they are the same each time. */
#include <string.h>

#include "execute/venus/chain.h"
#include "execute/venus/extension_filter.h"
#include "execute/venus/feature_filter.h"
#include "execute/venus/stream.h"

void rc_vn_execute_GetPhysicalDeviceFeatures(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceFeatures *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	guest->vk.GetPhysicalDeviceFeatures(guest->physical, args->pFeatures);
	rc_vn_features_hide(args->pFeatures);
}

void rc_vn_execute_GetPhysicalDeviceFeatures2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceFeatures2 *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	guest->vk.GetPhysicalDeviceFeatures2(guest->physical, args->pFeatures);
	rc_vn_features_hide_chain(args->pFeatures);
}

static void limit_properties(const struct rc_vn_guest *guest, VkPhysicalDeviceProperties *properties) {
	VkPhysicalDeviceLimits *limits = &properties->limits;
	if (properties->apiVersion > guest->api_version) {
		properties->apiVersion = guest->api_version;
	}
	if (limits->maxMemoryAllocationCount > guest->limits.memories) {
		limits->maxMemoryAllocationCount = guest->limits.memories;
	}
	if (limits->maxSamplerAllocationCount > guest->limits.objects) {
		limits->maxSamplerAllocationCount = guest->limits.objects;
	}
	/* What the client maps is a mapping of its own, whose beginning is a page's. */
	if (limits->minMemoryMapAlignment > 4096) {
		limits->minMemoryMapAlignment = 4096;
	}
	limits->sparseAddressSpaceSize = 0;
	memset(&properties->sparseProperties, 0, sizeof(properties->sparseProperties));
}

void rc_vn_execute_GetPhysicalDeviceProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceProperties *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	guest->vk.GetPhysicalDeviceProperties(guest->physical, args->pProperties);
	limit_properties(guest, args->pProperties);
}

void rc_vn_execute_GetPhysicalDeviceProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceProperties2 *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	guest->vk.GetPhysicalDeviceProperties2(guest->physical, args->pProperties);
	limit_properties(guest, &args->pProperties->properties);
}

void rc_vn_execute_GetPhysicalDeviceMemoryProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceMemoryProperties *args) {
	*args->pMemoryProperties = stream->context->guest->memory;
}

void rc_vn_execute_GetPhysicalDeviceMemoryProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceMemoryProperties2 *args) {
	/* The chain can hold a budget, which is not offered: zeros. */
	args->pMemoryProperties->memoryProperties = stream->context->guest->memory;
}

void rc_vn_execute_GetPhysicalDeviceQueueFamilyProperties(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceQueueFamilyProperties *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	uint32_t *count = args->pQueueFamilyPropertyCount;
	if (!args->pQueueFamilyProperties || *count > guest->queue_family_count) {
		*count = guest->queue_family_count;
	}
	if (args->pQueueFamilyProperties) {
		memcpy(args->pQueueFamilyProperties, guest->queue_families, *count * sizeof(*guest->queue_families));
	}
}

void rc_vn_execute_GetPhysicalDeviceQueueFamilyProperties2(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceQueueFamilyProperties2 *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	uint32_t *count = args->pQueueFamilyPropertyCount;
	if (!args->pQueueFamilyProperties || *count > guest->queue_family_count) {
		*count = guest->queue_family_count;
	}
	if (args->pQueueFamilyProperties) {
		guest->vk.GetPhysicalDeviceQueueFamilyProperties2(guest->physical, count, args->pQueueFamilyProperties);
		for (uint32_t i = 0; i < *count; i++) {
			args->pQueueFamilyProperties[i].queueFamilyProperties = guest->queue_families[i];
		}
	}
}

/* The loader jumps to what a driver without the extension does not have: only for those that are shown. */
static bool has_extension(struct rc_vn_stream *stream, const char *name) {
	if (rc_vn_extension_is_shown(stream->context->guest, name)) {
		return true;
	}
	rc_vn_stream_fail(stream, "physicalDevice", "has no %s", name);
	return false;
}

void rc_vn_execute_GetPhysicalDeviceFragmentShadingRatesKHR(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceFragmentShadingRatesKHR *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	if (has_extension(stream, VK_KHR_FRAGMENT_SHADING_RATE_EXTENSION_NAME)) {
		args->ret = guest->vk.GetPhysicalDeviceFragmentShadingRatesKHR(
			guest->physical, args->pFragmentShadingRateCount, args->pFragmentShadingRates);
	}
}

void rc_vn_execute_GetPhysicalDeviceCalibrateableTimeDomainsEXT(
	struct rc_vn_stream *stream, struct rc_vn_GetPhysicalDeviceCalibrateableTimeDomainsEXT *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	if (has_extension(stream, VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME)) {
		args->ret = guest->vk.GetPhysicalDeviceCalibrateableTimeDomainsEXT(
			guest->physical, args->pTimeDomainCount, args->pTimeDomains);
	}
}
