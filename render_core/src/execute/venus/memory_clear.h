/* SPDX-License-Identifier: Apache-2.0
 * Fills device memory with zeros before a client gets it: drivers hand out what others, clients of other guests too, have left there. */
#ifndef RC_VN_MEMORY_CLEAR_H
#define RC_VN_MEMORY_CLEAR_H

#include "execute/venus/objects.h"

/* What fills are recorded with; made at the first. */
struct rc_vn_memory_clear {
	struct rc_vn_device *device;
	pthread_mutex_t mutex;
	struct rc_vn_queue *queue; /* one of the device's that can fill */
	VkCommandPool pool;
	VkCommandBuffer commands;
	VkFence fence;
};

void rc_vn_memory_clear_init(struct rc_vn_memory_clear *clear, struct rc_vn_device *device);
/* Nothing may be filling any more. */
void rc_vn_memory_clear_finish(struct rc_vn_memory_clear *clear);

/* Fill all `size` bytes, on the GPU, and wait for it within limits.gpu_timeout_ms; when that is too short the device is lost and abandoned, and the memory must not be
 * freed. VK_ERROR_FEATURE_NOT_PRESENT: no buffer can be bound to memory of this type, nothing was filled. Any thread. */
VkResult rc_vn_memory_clear_fill(
	struct rc_vn_memory_clear *clear, VkDeviceMemory memory, uint32_t type_index, VkDeviceSize size);

#endif
