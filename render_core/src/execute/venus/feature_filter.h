/* SPDX-License-Identifier: Apache-2.0
 * Features of the host's that clients are not offered. */
#ifndef RC_VN_FEATURE_FILTER_H
#define RC_VN_FEATURE_FILTER_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

/* Set what is not offered to VK_FALSE, in `features` and, the second, in all that is chained to it. */
void rc_vn_features_hide(VkPhysicalDeviceFeatures *features);
void rc_vn_features_hide_chain(VkPhysicalDeviceFeatures2 *features);

/* The name of a feature that `info` enables although it is not offered; NULL: there is none. */
const char *rc_vn_features_refused(const VkDeviceCreateInfo *info);

#endif
