/* SPDX-License-Identifier: Apache-2.0
 * Creation of command pools: of a queue family that exists. */
#include "execute/venus/object.h"
#include "execute/venus/objects.h"
#include "execute/venus/teardown.h"

void rc_vn_execute_CreateCommandPool(struct rc_vn_stream *stream, struct rc_vn_CreateCommandPool *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	VkCommandPool handle = VK_NULL_HANDLE;
	if (args->pCreateInfo->queueFamilyIndex >= stream->context->guest->queue_family_count) {
		rc_vn_stream_fail(stream, "VkCommandPoolCreateInfo.queueFamilyIndex", "there is no family %u",
			args->pCreateInfo->queueFamilyIndex);
		return;
	}
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!rc_vn_device_at_rest(device)) {
		args->ret = VK_ERROR_DEVICE_LOST;
	} else if (rc_vn_may_create(stream, VK_OBJECT_TYPE_COMMAND_POOL)) {
		args->ret = device->vk.CreateCommandPool(args->device, args->pCreateInfo, NULL, &handle);
	}
	if (!rc_vn_add_object(stream, VK_OBJECT_TYPE_COMMAND_POOL, (uint64_t)(uintptr_t)*args->pCommandPool,
			(uint64_t)(uintptr_t)handle, args->device_object, args->ret) &&
		handle) {
		device->vk.DestroyCommandPool(args->device, handle, NULL);
	}
}
