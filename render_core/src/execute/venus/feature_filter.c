/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/feature_filter.h"

#include <stddef.h>
#include <stdint.h>

#include "execute/venus/chain.h"

struct hidden_feature {
	VkStructureType type;
	size_t offset; /* of the VkBool32 */
	const char *name;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CORE(member)                                                                                                   \
	{ 0, offsetof(VkPhysicalDeviceFeatures, member), #member }
#define CHAINED(suffix, type, member)                                                                                  \
	{ VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##suffix, offsetof(type, member), #member }

/* Sparse resources: binding memory page by page does not go with memory that is part of a larger block. */
static const struct hidden_feature hidden_core[] = {
	CORE(sparseBinding),
	CORE(sparseResidencyBuffer),
	CORE(sparseResidencyImage2D),
	CORE(sparseResidencyImage3D),
	CORE(sparseResidency2Samples),
	CORE(sparseResidency4Samples),
	CORE(sparseResidency8Samples),
	CORE(sparseResidency16Samples),
	CORE(sparseResidencyAliased),
};

static const struct hidden_feature hidden_chained[] = {
	/* What is protected cannot be shown. */
	CHAINED(VULKAN_1_1_FEATURES, VkPhysicalDeviceVulkan11Features, protectedMemory),
	CHAINED(PROTECTED_MEMORY_FEATURES, VkPhysicalDeviceProtectedMemoryFeatures, protectedMemory),
	/* Replayed addresses are promised for a whole allocation; ours are parts of larger ones. */
	CHAINED(VULKAN_1_2_FEATURES, VkPhysicalDeviceVulkan12Features, bufferDeviceAddressCaptureReplay),
	CHAINED(
		BUFFER_DEVICE_ADDRESS_FEATURES, VkPhysicalDeviceBufferDeviceAddressFeatures, bufferDeviceAddressCaptureReplay),
	/* There is one device. */
	CHAINED(VULKAN_1_2_FEATURES, VkPhysicalDeviceVulkan12Features, bufferDeviceAddressMultiDevice),
	CHAINED(
		BUFFER_DEVICE_ADDRESS_FEATURES, VkPhysicalDeviceBufferDeviceAddressFeatures, bufferDeviceAddressMultiDevice),
	/* A guest does not choose its place among the host's programs. */
	CHAINED(GLOBAL_PRIORITY_QUERY_FEATURES_KHR, VkPhysicalDeviceGlobalPriorityQueryFeaturesKHR, globalPriorityQuery),
#ifdef VK_VERSION_1_4
	CHAINED(VULKAN_1_4_FEATURES, VkPhysicalDeviceVulkan14Features, globalPriorityQuery),
	/* Copies between images and the client's own pointers. */
	CHAINED(VULKAN_1_4_FEATURES, VkPhysicalDeviceVulkan14Features, hostImageCopy),
	CHAINED(HOST_IMAGE_COPY_FEATURES, VkPhysicalDeviceHostImageCopyFeatures, hostImageCopy),
#endif
};

static VkBool32 *member(const void *of, const struct hidden_feature *hidden) {
	return (VkBool32 *)(uintptr_t)((const uint8_t *)of + hidden->offset);
}

void rc_vn_features_hide(VkPhysicalDeviceFeatures *features) {
	for (size_t i = 0; i < COUNT(hidden_core); i++) {
		*member(features, &hidden_core[i]) = VK_FALSE;
	}
}

void rc_vn_features_hide_chain(VkPhysicalDeviceFeatures2 *features) {
	rc_vn_features_hide(&features->features);
	for (size_t i = 0; i < COUNT(hidden_chained); i++) {
		void *chained = rc_vn_chain_find(features, hidden_chained[i].type);
		if (chained) {
			*member(chained, &hidden_chained[i]) = VK_FALSE;
		}
	}
}

static const char *refused_core(const VkPhysicalDeviceFeatures *features) {
	for (size_t i = 0; features && i < COUNT(hidden_core); i++) {
		if (*member(features, &hidden_core[i])) {
			return hidden_core[i].name;
		}
	}
	return NULL;
}

const char *rc_vn_features_refused(const VkDeviceCreateInfo *info) {
	const char *refused = refused_core(info->pEnabledFeatures);
	const VkPhysicalDeviceFeatures2 *chained = rc_vn_chain_find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
	if (!refused && chained) {
		refused = refused_core(&chained->features);
	}
	for (size_t i = 0; !refused && i < COUNT(hidden_chained); i++) {
		const void *found = rc_vn_chain_find(info, hidden_chained[i].type);
		if (found && *member(found, &hidden_chained[i])) {
			refused = hidden_chained[i].name;
		}
	}
	return refused;
}
