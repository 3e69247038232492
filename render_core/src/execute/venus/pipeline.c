/* SPDX-License-Identifier: Apache-2.0
 * Pipelines: created many at a time, of which some may fail. */
#include "execute/venus/chain.h"
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

/* How long it took is not told, and drivers write as many stages' times as there are, whatever the struct has room for. */
static void hide_feedback(const void *info) {
	rc_vn_chain_take(info, VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO);
}

static const char *check_vertex_input(
	const VkPhysicalDeviceLimits *limits, const VkPipelineVertexInputStateCreateInfo *input) {
	for (uint32_t i = 0; input->pVertexBindingDescriptions && i < input->vertexBindingDescriptionCount; i++) {
		if (input->pVertexBindingDescriptions[i].binding >= limits->maxVertexInputBindings) {
			return "VkVertexInputBindingDescription.binding";
		}
	}
	for (uint32_t i = 0; input->pVertexAttributeDescriptions && i < input->vertexAttributeDescriptionCount; i++) {
		const VkVertexInputAttributeDescription *attribute = &input->pVertexAttributeDescriptions[i];
		if (attribute->location >= limits->maxVertexInputAttributes ||
			attribute->binding >= limits->maxVertexInputBindings) {
			return "VkVertexInputAttributeDescription";
		}
	}
	return NULL;
}

/* Drivers have arrays as long as their limits, and put these there. NULL, or what is beyond them. */
static const char *check_Graphics(const VkPhysicalDeviceLimits *limits, const VkGraphicsPipelineCreateInfo *info) {
	const VkPipelineRenderingCreateInfo *rendering =
		rc_vn_chain_find(info, VK_STRUCTURE_TYPE_PIPELINE_RENDERING_CREATE_INFO);
	hide_feedback(info);
	if (info->pViewportState && (info->pViewportState->viewportCount > limits->maxViewports ||
									info->pViewportState->scissorCount > limits->maxViewports)) {
		return "VkPipelineViewportStateCreateInfo";
	}
	if (info->pColorBlendState && info->pColorBlendState->attachmentCount > limits->maxColorAttachments) {
		return "VkPipelineColorBlendStateCreateInfo.attachmentCount";
	}
	if (rendering && rendering->colorAttachmentCount > limits->maxColorAttachments) {
		return "VkPipelineRenderingCreateInfo.colorAttachmentCount";
	}
	return info->pVertexInputState ? check_vertex_input(limits, info->pVertexInputState) : NULL;
}

static const char *check_Compute(const VkPhysicalDeviceLimits *limits, const VkComputePipelineCreateInfo *info) {
	(void)limits;
	hide_feedback(info);
	return NULL;
}

static void note_wrong(struct rc_vn_stream *stream, const char *wrong) {
	rc_vn_context_log(stream->context, RC_LOG_WARN, "%s (%u): %s is beyond the device's limits",
		rc_vn_command_name(stream->command), stream->command, wrong);
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
		const char *wrong = NULL;                                                                                      \
		for (uint32_t i = 0; i < count && !wrong; i++) {                                                               \
			wrong = check_##Kind(&stream->context->guest->properties.limits, &args->pCreateInfos[i]);                  \
		}                                                                                                              \
		args->ret = stream->decoder.poisoned || wrong ? VK_ERROR_INITIALIZATION_FAILED : VK_ERROR_OUT_OF_HOST_MEMORY;  \
		struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);                                   \
		if (wrong) {                                                                                                   \
			note_wrong(stream, wrong);                                                                                 \
		} else if (!rc_vn_device_at_rest(device)) {                                                                    \
			args->ret = VK_ERROR_DEVICE_LOST; /* drivers take locks here that work holds which hangs */                \
		} else if (!stream->decoder.poisoned && count &&                                                               \
				   rc_vn_may_create_all(stream, VK_OBJECT_TYPE_PIPELINE, count)) {                                     \
			args->ret = device->vk.Create##Kind##Pipelines(                                                            \
				args->device, args->pipelineCache, count, args->pCreateInfos, NULL, handles);                          \
		}                                                                                                              \
		add_pipelines(stream, args->device_object, count, args->pPipelines, handles, args->ret);                       \
	}

CREATE_PIPELINES(Graphics)
CREATE_PIPELINES(Compute)

#undef CREATE_PIPELINES

void rc_vn_execute_MergePipelineCaches(struct rc_vn_stream *stream, struct rc_vn_MergePipelineCaches *args) {
	for (uint32_t i = 0; i < args->srcCacheCount; i++) {
		if (args->pSrcCaches_objects[i] == args->dstCache_object) {
			rc_vn_stream_fail(stream, "pSrcCaches", "has the destination"); /* a driver locks both */
			return;
		}
	}
	args->ret = rc_vn_from(rc_vn_device, args->device_object)
					->vk.MergePipelineCaches(args->device, args->dstCache, args->srcCacheCount, args->pSrcCaches);
}
