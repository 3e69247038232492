/* SPDX-License-Identifier: Apache-2.0
 * Pipelines: created many at a time, of which some may fail. */
#include "execute/venus/object.h"
#include "execute/venus/objects.h"
#include "execute/venus/teardown.h"

/* Add those that were made; those that were not are 0 in a reply, and poisoned where there is none. */
static void add_pipelines(struct rc_vn_stream *stream, struct rc_vn_object *device_object, uint32_t count,
	VkPipeline *ids, const VkPipeline *handles, VkResult ret) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, device_object);
	for (uint32_t i = 0; i < count; i++) {
		if (!handles[i] && stream->replying) {
			ids[i] = VK_NULL_HANDLE;
			continue;
		}
		VkResult each = handles[i] ? VK_SUCCESS : (ret < 0 ? ret : VK_ERROR_INITIALIZATION_FAILED);
		if (!rc_vn_add_object(stream, VK_OBJECT_TYPE_PIPELINE, (uint64_t)(uintptr_t)ids[i],
				(uint64_t)(uintptr_t)handles[i], device_object, each)) {
			for (; i < count; i++) {
				device->vk.DestroyPipeline((VkDevice)(uintptr_t)device_object->handle, handles[i], NULL);
			}
			return;
		}
	}
}

#define CREATE_PIPELINES(Kind)                                                                                         \
	void rc_vn_execute_Create##Kind##Pipelines(                                                                        \
		struct rc_vn_stream *stream, struct rc_vn_Create##Kind##Pipelines *args) {                                     \
		const uint32_t count = args->pPipelines && args->pCreateInfos ? args->createInfoCount : 0;                     \
		VkPipeline *handles = rc_vn_scratch_alloc(&stream->scratch, count * sizeof(*handles));                         \
		if (!handles) {                                                                                                \
			rc_vn_stream_fail(stream, "createInfoCount", "%u is too many", count);                                     \
			return;                                                                                                    \
		}                                                                                                              \
		args->ret = stream->decoder.poisoned ? VK_ERROR_INITIALIZATION_FAILED : VK_ERROR_OUT_OF_HOST_MEMORY;           \
		struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);                                   \
		if (!rc_vn_device_at_rest(device)) {                                                                           \
			args->ret = VK_ERROR_DEVICE_LOST; /* drivers take locks here that work holds which hangs */                \
		} else if (!stream->decoder.poisoned && count && rc_vn_may_create(stream, VK_OBJECT_TYPE_PIPELINE)) {          \
			args->ret = device->vk.Create##Kind##Pipelines(                                                            \
				args->device, args->pipelineCache, count, args->pCreateInfos, NULL, handles);                          \
		}                                                                                                              \
		add_pipelines(stream, args->device_object, count, args->pPipelines, handles, args->ret);                       \
	}

CREATE_PIPELINES(Graphics)
CREATE_PIPELINES(Compute)

#undef CREATE_PIPELINES
