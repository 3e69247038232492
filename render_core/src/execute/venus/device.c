/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/device.h"

#include <stdlib.h>

#include "execute/venus/device_request.h"
#include "execute/venus/memory_pool.h"
#include "execute/venus/object.h"
#include "execute/venus/queue.h"
#include "execute/venus/teardown.h"
#include "execute/venus/watchdog.h"

/* Of one client. Each takes threads, fds and megabytes of the driver's own; programs have one, or two. */
enum { MAX_DEVICES = 32 };

static VkDevice host(const struct rc_vn_device *device) {
	return (VkDevice)(uintptr_t)device->base.handle;
}

/* The host's device with its queues and its pool; NULL: *ret says why. */
static struct rc_vn_device *open_device(
	struct rc_vn_context *context, const struct rc_vn_device_request *request, VkResult *ret) {
	const struct rc_vn_guest *guest = context->guest;
	struct rc_vn_device *device = calloc(1, sizeof(*device));
	VkDevice handle;
	*ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!device) {
		return NULL;
	}
	*ret = guest->vk.CreateDevice(guest->physical, &request->info, NULL, &handle);
	if (*ret != VK_SUCCESS) {
		free(device);
		return NULL;
	}
	device->base.type = VK_OBJECT_TYPE_DEVICE;
	device->base.handle = (uint64_t)(uintptr_t)handle;
	device->context = context;
	device->buffer_device_address = request->buffer_device_address;
	rc_list_init(&device->queues);
	rc_list_init(&device->watch_link);
	rc_list_init(&device->feedback);
	pthread_mutex_init(&device->feedback_mutex, NULL);
	rc_vn_load_device_functions(&device->vk, guest->get_device_proc_addr, handle);
	*ret = rc_vn_queues_create(device, &request->info);
	if (*ret == VK_SUCCESS) {
		device->memory_pool = rc_vn_memory_pool_create(device);
		if (device->memory_pool) {
			return device;
		}
		*ret = VK_ERROR_OUT_OF_HOST_MEMORY;
		rc_vn_queues_destroy(device);
	}
	device->vk.DestroyDevice(handle, NULL);
	free(device);
	return NULL;
}

static void close_device(struct rc_vn_device *device) {
	if (device->abandoned) {
		return; /* the GPU may still use all that it has */
	}
	rc_vn_memory_pool_destroy(device->memory_pool);
	device->vk.DestroyDevice(host(device), NULL);
}

void rc_vn_execute_CreateDevice(struct rc_vn_stream *stream, struct rc_vn_CreateDevice *args) {
	struct rc_vn_context *context = stream->context;
	struct rc_vn_device_request request;
	if (atomic_load(&context->objects.counts[rc_vn_object_type_index(VK_OBJECT_TYPE_DEVICE)]) >= MAX_DEVICES) {
		rc_vn_context_log(
			context, RC_LOG_WARN, "vkCreateDevice (%d): the client has %d, the limit", RC_VN_CreateDevice, MAX_DEVICES);
		atomic_fetch_add(&context->guest->usage.refused, 1);
		args->ret = VK_ERROR_TOO_MANY_OBJECTS;
		return;
	}
	args->ret = rc_vn_device_request_make(context->guest, &stream->scratch, args->pCreateInfo, &request);
	if (args->ret != VK_SUCCESS) {
		rc_vn_context_log(context, RC_LOG_INFO, "vkCreateDevice (%d): %s: %s (VkResult %d)", RC_VN_CreateDevice,
			request.refused_name, request.refused, args->ret);
		return;
	}
	struct rc_vn_device *device = open_device(context, &request, &args->ret);
	if (!device) {
		rc_vn_context_log(context, RC_LOG_INFO, "vkCreateDevice (%d): the driver refuses (VkResult %d)",
			RC_VN_CreateDevice, args->ret);
		return;
	}
	device->base.id = (uint64_t)(uintptr_t)*args->pDevice;
	device->base.device = &device->base;
	device->base.parent = args->physicalDevice_object;
	if (!rc_vn_object_add(&context->objects, &device->base)) {
		rc_vn_stream_fail(stream, "pDevice", "id %llu is 0 or in use", (unsigned long long)device->base.id);
		rc_vn_queues_destroy(device);
		close_device(device);
		free(device);
		return;
	}
	rc_vn_watchdog_add(context->guest->watchdog, device);
}

bool rc_vn_device_destroy(struct rc_vn_device *device, struct rc_vn_stream *stream) {
	struct rc_vn_context *context = device->context;
	if (atomic_exchange(&device->base.ending, true)) {
		return false;
	}
	if (stream) {
		/* Another ring may be using it, whether that makes sense or not. Outside meanwhile: that ring may be doing the same with another device. */
		rc_vn_reader_leave(&context->objects, stream->reader);
		rc_vn_readers_wait(&context->objects);
		rc_vn_reader_enter(&context->objects, stream->reader);
	}
	rc_vn_watchdog_remove(context->guest->watchdog, device);
	rc_vn_device_teardown(device);
	close_device(device);
	return rc_vn_object_remove(&context->objects, &device->base);
}

void rc_vn_execute_DestroyDevice(struct rc_vn_stream *stream, struct rc_vn_DestroyDevice *args) {
	if (args->device_object) {
		rc_vn_device_destroy(rc_vn_from(rc_vn_device, args->device_object), stream);
	}
}
