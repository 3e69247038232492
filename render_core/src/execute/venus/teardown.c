/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/teardown.h"

#include "execute/venus/buffer.h"
#include "execute/venus/command.h"
#include "execute/venus/device.h"
#include "execute/venus/memory.h"
#include "execute/venus/queue.h"
#include "execute/venus/watchdog.h"
#include "util/clock.h"

/* Users before what they use. Pools come first: their command buffers and sets use everything. */
static const VkObjectType order[] = {
	VK_OBJECT_TYPE_COMMAND_POOL,
	VK_OBJECT_TYPE_DESCRIPTOR_POOL,
	VK_OBJECT_TYPE_FRAMEBUFFER,
	VK_OBJECT_TYPE_PIPELINE,
	VK_OBJECT_TYPE_PIPELINE_CACHE,
	VK_OBJECT_TYPE_PIPELINE_LAYOUT,
	VK_OBJECT_TYPE_DESCRIPTOR_UPDATE_TEMPLATE,
	VK_OBJECT_TYPE_DESCRIPTOR_SET_LAYOUT,
	VK_OBJECT_TYPE_RENDER_PASS,
	VK_OBJECT_TYPE_SHADER_MODULE,
	VK_OBJECT_TYPE_IMAGE_VIEW,
	VK_OBJECT_TYPE_BUFFER_VIEW,
	VK_OBJECT_TYPE_SAMPLER,
	VK_OBJECT_TYPE_SAMPLER_YCBCR_CONVERSION,
	VK_OBJECT_TYPE_QUERY_POOL,
	VK_OBJECT_TYPE_EVENT,
	VK_OBJECT_TYPE_SEMAPHORE,
	VK_OBJECT_TYPE_FENCE,
	VK_OBJECT_TYPE_PRIVATE_DATA_SLOT,
	VK_OBJECT_TYPE_IMAGE,
	VK_OBJECT_TYPE_BUFFER,
	VK_OBJECT_TYPE_DEVICE_MEMORY,
};

/* The host's side of one object. */
static void destroy_handle(struct rc_vn_device *device, VkObjectType type, uint64_t value) {
	const VkDevice owner = (VkDevice)(uintptr_t)device->base.handle;
	if (!value) {
		return;
	}
	switch (type) {
#define CASE(TYPE, Name)                                                                                               \
	case VK_OBJECT_TYPE_##TYPE:                                                                                        \
		device->vk.Destroy##Name(owner, (Vk##Name)(uintptr_t)value, NULL);                                             \
		break;
		CASE(COMMAND_POOL, CommandPool)
		CASE(DESCRIPTOR_POOL, DescriptorPool)
		CASE(FRAMEBUFFER, Framebuffer)
		CASE(PIPELINE, Pipeline)
		CASE(PIPELINE_CACHE, PipelineCache)
		CASE(PIPELINE_LAYOUT, PipelineLayout)
		CASE(DESCRIPTOR_UPDATE_TEMPLATE, DescriptorUpdateTemplate)
		CASE(DESCRIPTOR_SET_LAYOUT, DescriptorSetLayout)
		CASE(RENDER_PASS, RenderPass)
		CASE(SHADER_MODULE, ShaderModule)
		CASE(IMAGE_VIEW, ImageView)
		CASE(BUFFER_VIEW, BufferView)
		CASE(SAMPLER, Sampler)
		CASE(SAMPLER_YCBCR_CONVERSION, SamplerYcbcrConversion)
		CASE(QUERY_POOL, QueryPool)
		CASE(EVENT, Event)
		CASE(SEMAPHORE, Semaphore)
		CASE(FENCE, Fence)
		CASE(PRIVATE_DATA_SLOT, PrivateDataSlot)
		CASE(IMAGE, Image)
		CASE(BUFFER, Buffer)
#undef CASE
	default:
		break;
	}
}

static void destroy_object(struct rc_vn_device *device, struct rc_vn_object *object) {
	struct rc_vn_context *context = device->context;
	const VkObjectType type = object->type;
	const uint64_t handle = object->handle;
	if (type == VK_OBJECT_TYPE_COMMAND_POOL || type == VK_OBJECT_TYPE_DESCRIPTOR_POOL) {
		rc_vn_pool_remove_children(context, object);
	}
	if (!device->abandoned) {
		if (type == VK_OBJECT_TYPE_DEVICE_MEMORY) {
			rc_vn_memory_free(device, rc_vn_from(rc_vn_memory, object));
		} else {
			destroy_handle(device, type, handle);
			if (type == VK_OBJECT_TYPE_BUFFER) {
				rc_vn_buffer_release(rc_vn_from(rc_vn_buffer, object));
			}
		}
	}
	rc_vn_object_remove(&context->objects, object);
}

/* False: something still runs after limits.wait_ms. */
static bool come_to_rest(struct rc_vn_device *device) {
	const uint64_t end = rc_now_ns() + (uint64_t)device->context->guest->limits.wait_ms * 1000000u;
	for (struct rc_list *link = device->queues.next; link != &device->queues; link = link->next) {
		struct rc_vn_queue *queue = rc_container_of(link, struct rc_vn_queue, link);
		const uint64_t now = rc_now_ns();
		if (rc_vn_queue_wait_idle(queue, now < end ? end - now : 0) == VK_TIMEOUT) {
			return false;
		}
	}
	return true;
}

bool rc_vn_device_settle(struct rc_vn_device *device) {
	if (!device->abandoned && !device->settled) {
		if (come_to_rest(device)) {
			device->settled = device->lost; /* for good: a lost device is given nothing to do */
		} else {
			device->abandoned = true;
			device->context->abandoned = true;
			rc_vn_device_mark_lost(device, "it does not come to rest; what it may still use is left to the driver");
		}
	}
	return !device->abandoned;
}

void rc_vn_device_teardown(struct rc_vn_device *device) {
	struct rc_vn_context *context = device->context;
	if (device->base.poisoned) {
		return;
	}
	rc_vn_device_settle(device);
	struct rc_vn_object *object;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		while ((object = rc_vn_object_first_child(&context->objects, &device->base, order[i]))) {
			destroy_object(device, object);
		}
	}
	rc_vn_queues_destroy(device);
	/* Kinds that the host needs nothing done for. */
	while ((object = rc_vn_object_first_child(&context->objects, &device->base, VK_OBJECT_TYPE_UNKNOWN))) {
		rc_vn_context_log(
			context, RC_LOG_DEBUG, "%s left at the end of its device", rc_vn_object_type_name(object->type));
		destroy_object(device, object);
	}
}

void rc_vn_context_teardown(struct rc_vn_context *context) {
	struct rc_vn_object *root, *object;
	while ((root = rc_vn_object_first_child(&context->objects, NULL, VK_OBJECT_TYPE_UNKNOWN))) {
		while ((object = rc_vn_object_first_child(&context->objects, root, VK_OBJECT_TYPE_PHYSICAL_DEVICE))) {
			struct rc_vn_object *device;
			while ((device = rc_vn_object_first_child(&context->objects, object, VK_OBJECT_TYPE_DEVICE))) {
				rc_vn_device_destroy(rc_vn_from(rc_vn_device, device), NULL);
			}
			rc_vn_object_remove(&context->objects, object);
		}
		rc_vn_object_remove(&context->objects, root);
	}
}
