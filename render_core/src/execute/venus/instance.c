/* SPDX-License-Identifier: Apache-2.0
 * A client's VkInstance: a name for the worker's own, with one physical device. */
#include <string.h>

#include "execute/venus/device.h"
#include "execute/venus/object.h"
#include "execute/venus/stream.h"

void rc_vn_execute_EnumerateInstanceVersion(struct rc_vn_stream *stream, struct rc_vn_EnumerateInstanceVersion *args) {
	*args->pApiVersion = stream->context->guest->api_version;
	args->ret = VK_SUCCESS;
}

void rc_vn_execute_CreateInstance(struct rc_vn_stream *stream, struct rc_vn_CreateInstance *args) {
	const VkInstanceCreateInfo *info = args->pCreateInfo;
	/* The worker's instance exists already, as it must: its sandbox opens no file any more. */
	if (info->enabledLayerCount) {
		args->ret = VK_ERROR_LAYER_NOT_PRESENT;
	} else if (info->enabledExtensionCount) {
		args->ret = VK_ERROR_EXTENSION_NOT_PRESENT;
	} else if (!rc_vn_may_create(stream, VK_OBJECT_TYPE_INSTANCE)) {
		args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	} else {
		args->ret = VK_SUCCESS;
		rc_vn_add_object(stream, VK_OBJECT_TYPE_INSTANCE, (uint64_t)(uintptr_t)*args->pInstance,
			(uint64_t)(uintptr_t)stream->context->guest->instance, NULL, VK_SUCCESS);
	}
}

void rc_vn_execute_DestroyInstance(struct rc_vn_stream *stream, struct rc_vn_DestroyInstance *args) {
	struct rc_vn_object_table *table = &stream->context->objects;
	struct rc_vn_object *instance = args->instance_object, *physical, *device;
	if (!instance) {
		return;
	}
	if (atomic_exchange(&instance->ending, true)) { /* one thread only: what it holds stays */
		rc_vn_stream_fail(stream, "instance", "it is being destroyed on another ring");
		return;
	}
	while ((physical = rc_vn_object_first_child(table, instance, VK_OBJECT_TYPE_PHYSICAL_DEVICE))) {
		while ((device = rc_vn_object_first_child(table, physical, VK_OBJECT_TYPE_DEVICE))) {
			if (!rc_vn_device_destroy(rc_vn_from(rc_vn_device, device), stream)) {
				rc_vn_stream_fail(stream, "instance", "a device of it is being destroyed on another ring");
				return;
			}
		}
		rc_vn_object_remove(table, physical);
	}
	rc_vn_object_remove(table, instance);
}

/* The client names the one physical device when it first asks for it; later it learns that name again. NULL: it never asked. */
static struct rc_vn_object *find_physical(struct rc_vn_stream *stream, struct rc_vn_object *instance) {
	return rc_vn_object_first_child(&stream->context->objects, instance, VK_OBJECT_TYPE_PHYSICAL_DEVICE);
}

static bool name_physical(struct rc_vn_stream *stream, struct rc_vn_object *instance, VkPhysicalDevice *id) {
	const struct rc_vn_object *known = find_physical(stream, instance);
	if (known) {
		*id = (VkPhysicalDevice)(uintptr_t)known->id;
		return true;
	}
	return rc_vn_add_object(stream, VK_OBJECT_TYPE_PHYSICAL_DEVICE, (uint64_t)(uintptr_t)*id,
		(uint64_t)(uintptr_t)stream->context->guest->physical, instance, VK_SUCCESS);
}

void rc_vn_execute_EnumeratePhysicalDevices(struct rc_vn_stream *stream, struct rc_vn_EnumeratePhysicalDevices *args) {
	args->ret = VK_SUCCESS;
	if (args->pPhysicalDevices) {
		if (*args->pPhysicalDeviceCount == 0) {
			args->ret = VK_INCOMPLETE;
			return;
		}
		if (!name_physical(stream, args->instance_object, &args->pPhysicalDevices[0])) {
			return;
		}
	}
	*args->pPhysicalDeviceCount = 1;
}

void rc_vn_execute_EnumeratePhysicalDeviceGroups(
	struct rc_vn_stream *stream, struct rc_vn_EnumeratePhysicalDeviceGroups *args) {
	args->ret = VK_SUCCESS;
	VkPhysicalDeviceGroupProperties *group = args->pPhysicalDeviceGroupProperties;
	if (group && *args->pPhysicalDeviceGroupCount == 0) {
		args->ret = VK_INCOMPLETE;
		return;
	}
	if (group) {
		VkPhysicalDevice id = group->physicalDevices[0];
		/* Mesa sends zeros here, having enumerated devices before: the name is to be looked up. A client that did not, and gives no name, gets
		 * no group: it could not use a device without a name. */
		if (!id && !find_physical(stream, args->instance_object)) {
			*args->pPhysicalDeviceGroupCount = 0;
			return;
		}
		if (!name_physical(stream, args->instance_object, &id)) {
			return;
		}
		memset(group->physicalDevices, 0, sizeof(group->physicalDevices));
		group->physicalDevices[0] = id;
		group->physicalDeviceCount = 1;
		group->subsetAllocation = VK_FALSE;
	}
	*args->pPhysicalDeviceGroupCount = 1;
}

void rc_vn_execute_EnumerateInstanceExtensionProperties(
	struct rc_vn_stream *stream, struct rc_vn_EnumerateInstanceExtensionProperties *args) {
	(void)stream;
	*args->pPropertyCount = 0;
	args->ret = args->pLayerName ? VK_ERROR_LAYER_NOT_PRESENT : VK_SUCCESS;
}

void rc_vn_execute_EnumerateInstanceLayerProperties(
	struct rc_vn_stream *stream, struct rc_vn_EnumerateInstanceLayerProperties *args) {
	(void)stream;
	*args->pPropertyCount = 0;
	args->ret = VK_SUCCESS;
}

void rc_vn_execute_EnumerateDeviceLayerProperties(
	struct rc_vn_stream *stream, struct rc_vn_EnumerateDeviceLayerProperties *args) {
	(void)stream;
	*args->pPropertyCount = 0;
	args->ret = VK_SUCCESS;
}

void rc_vn_execute_EnumerateDeviceExtensionProperties(
	struct rc_vn_stream *stream, struct rc_vn_EnumerateDeviceExtensionProperties *args) {
	const struct rc_vn_guest *guest = stream->context->guest;
	if (args->pLayerName && *args->pLayerName) {
		*args->pPropertyCount = 0;
		args->ret = VK_ERROR_LAYER_NOT_PRESENT;
		return;
	}
	args->ret = VK_SUCCESS;
	if (args->pProperties) {
		if (*args->pPropertyCount < guest->extension_count) {
			args->ret = VK_INCOMPLETE;
		} else {
			*args->pPropertyCount = guest->extension_count;
		}
		memcpy(args->pProperties, guest->extensions, *args->pPropertyCount * sizeof(*args->pProperties));
	} else {
		*args->pPropertyCount = guest->extension_count;
	}
}
