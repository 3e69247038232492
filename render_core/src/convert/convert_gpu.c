/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/convert_gpu.h"

#include <stdlib.h>

#include "convert/pixel_format.h"
#include "rgb_to_yuv420.spv.h"

enum { GROUP_X = 32 * 8, GROUP_Y = 4 * 2 }; /* luma samples of a workgroup */

/* A GPU that needs longer for one picture hangs: 16K converts in some 50 ms on slow hardware. */
static const uint64_t wait_limit_ns = UINT64_C(2000000000);

/* As in rgb_to_yuv420.comp. */
struct push {
	uint32_t size[2], origin[2], extent[2];
	uint32_t source_offset, source_stride, luma_stride, chroma_offset, second_offset, shifts;
};

struct rc_gpu_converter {
	struct rc_device *device;
	VkDescriptorSetLayout set_layout;
	VkPipelineLayout pipeline_layout;
	VkShaderModule module;
	VkPipeline pipelines[RC_MAX_DIVISOR]
						[2]; /* by divisor - 1; I420, NV12. The first two are made at once, others when wanted */
	VkDescriptorPool descriptor_pool;
	VkDescriptorSet set;
	VkCommandPool command_pool;
	VkCommandBuffer commands;
	VkFence fence;
	VkQueryPool queries; /* two timestamps; VK_NULL_HANDLE where the queue has none */
};

static VkResult create_layouts(struct rc_gpu_converter *gpu) {
	struct rc_vulkan *vk = &gpu->device->vk;
	const VkDescriptorSetLayoutBinding bindings[2] = {
		{.binding = 0,
			.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
			.descriptorCount = 1,
			.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT},
		{.binding = 1,
			.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
			.descriptorCount = 1,
			.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT},
	};
	const VkDescriptorSetLayoutCreateInfo set_info = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
		.bindingCount = 2,
		.pBindings = bindings,
	};
	VkResult result = vk->CreateDescriptorSetLayout(gpu->device->device, &set_info, NULL, &gpu->set_layout);
	const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = sizeof(struct push)};
	const VkPipelineLayoutCreateInfo layout_info = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
		.setLayoutCount = 1,
		.pSetLayouts = &gpu->set_layout,
		.pushConstantRangeCount = 1,
		.pPushConstantRanges = &range,
	};
	return result ? result : vk->CreatePipelineLayout(gpu->device->device, &layout_info, NULL, &gpu->pipeline_layout);
}

static VkResult create_module(struct rc_gpu_converter *gpu) {
	const VkShaderModuleCreateInfo module_info = {
		.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
		.codeSize = sizeof(rgb_to_yuv420_spv),
		.pCode = rgb_to_yuv420_spv,
	};
	return gpu->device->vk.CreateShaderModule(gpu->device->device, &module_info, NULL, &gpu->module);
}

static VkResult create_pipelines(struct rc_gpu_converter *gpu, uint32_t divisor) {
	VkResult result = VK_SUCCESS;
	for (uint32_t nv12 = 0; nv12 < 2 && result == VK_SUCCESS; nv12++) {
		const uint32_t values[2] = {nv12, divisor};
		const VkSpecializationMapEntry entries[2] = {
			{.constantID = 0, .offset = 0, .size = sizeof(values[0])},
			{.constantID = 1, .offset = sizeof(values[0]), .size = sizeof(values[1])},
		};
		const VkSpecializationInfo specialization = {
			.mapEntryCount = 2, .pMapEntries = entries, .dataSize = sizeof(values), .pData = values};
		const VkComputePipelineCreateInfo info = {
			.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
			.stage =
				{
					.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
					.stage = VK_SHADER_STAGE_COMPUTE_BIT,
					.module = gpu->module,
					.pName = "main",
					.pSpecializationInfo = &specialization,
				},
			.layout = gpu->pipeline_layout,
		};
		result = gpu->device->vk.CreateComputePipelines(
			gpu->device->device, VK_NULL_HANDLE, 1, &info, NULL, &gpu->pipelines[divisor - 1][nv12]);
	}
	return result;
}

static VkResult create_pools(struct rc_gpu_converter *gpu) {
	struct rc_vulkan *vk = &gpu->device->vk;
	VkDevice device = gpu->device->device;
	const VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = 2};
	const VkDescriptorPoolCreateInfo pool_info = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
		.maxSets = 1,
		.poolSizeCount = 1,
		.pPoolSizes = &size,
	};
	VkResult result = vk->CreateDescriptorPool(device, &pool_info, NULL, &gpu->descriptor_pool);
	const VkDescriptorSetAllocateInfo set_info = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
		.descriptorPool = gpu->descriptor_pool,
		.descriptorSetCount = 1,
		.pSetLayouts = &gpu->set_layout,
	};
	result = result ? result : vk->AllocateDescriptorSets(device, &set_info, &gpu->set);
	const VkCommandPoolCreateInfo command_info = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
		.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
		.queueFamilyIndex = gpu->device->queue_family,
	};
	result = result ? result : vk->CreateCommandPool(device, &command_info, NULL, &gpu->command_pool);
	const VkCommandBufferAllocateInfo allocate_info = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
		.commandPool = gpu->command_pool,
		.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
		.commandBufferCount = 1,
	};
	result = result ? result : vk->AllocateCommandBuffers(device, &allocate_info, &gpu->commands);
	const VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
	result = result ? result : vk->CreateFence(device, &fence_info, NULL, &gpu->fence);
	const VkQueryPoolCreateInfo query_info = {
		.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
		.queryType = VK_QUERY_TYPE_TIMESTAMP,
		.queryCount = 2,
	};
	if (result == VK_SUCCESS && gpu->device->timestamp_ns > 0) {
		result = vk->CreateQueryPool(device, &query_info, NULL, &gpu->queries);
	}
	return result;
}

struct rc_gpu_converter *rc_gpu_converter_create(struct rc_device *device) {
	struct rc_gpu_converter *gpu = calloc(1, sizeof(*gpu));
	if (!gpu) {
		return NULL;
	}
	gpu->device = device;
	VkResult result = create_layouts(gpu);
	result = result ? result : create_module(gpu);
	result = result ? result : create_pipelines(gpu, 1);
	result = result ? result : create_pools(gpu);
	if (result != VK_SUCCESS) {
		rc_log(device->log, RC_LOG_WARN, "convert: %s cannot run the convert shader (%d)", device->info.name, result);
		rc_gpu_converter_destroy(gpu);
		return NULL;
	}
	return gpu;
}

void rc_gpu_converter_destroy(struct rc_gpu_converter *gpu) {
	if (!gpu) {
		return;
	}
	struct rc_vulkan *vk = &gpu->device->vk;
	VkDevice device = gpu->device->device;
	if (gpu->device->lost) {
		free(gpu);
		return;
	}
	vk->DeviceWaitIdle(device);
	vk->DestroyQueryPool(device, gpu->queries, NULL);
	vk->DestroyFence(device, gpu->fence, NULL);
	vk->DestroyCommandPool(device, gpu->command_pool, NULL);
	vk->DestroyDescriptorPool(device, gpu->descriptor_pool, NULL);
	for (uint32_t i = 0; i < RC_MAX_DIVISOR; i++) {
		vk->DestroyPipeline(device, gpu->pipelines[i][0], NULL);
		vk->DestroyPipeline(device, gpu->pipelines[i][1], NULL);
	}
	vk->DestroyShaderModule(device, gpu->module, NULL);
	vk->DestroyPipelineLayout(device, gpu->pipeline_layout, NULL);
	vk->DestroyDescriptorSetLayout(device, gpu->set_layout, NULL);
	free(gpu);
}

static void bind_buffers(
	struct rc_gpu_converter *gpu, const struct rc_picture *picture, const struct rc_planes *planes) {
	const VkDescriptorBufferInfo from = {.buffer = picture->surface->import->buffer, .range = VK_WHOLE_SIZE};
	const VkDescriptorBufferInfo to = {
		.buffer = planes->import->buffer,
		.offset = planes->import_offset,
		.range = (VkDeviceSize)planes->stride * planes->coded_height * 3 / 2,
	};
	const VkWriteDescriptorSet writes[2] = {
		{
			.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
			.dstSet = gpu->set,
			.dstBinding = 0,
			.descriptorCount = 1,
			.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
			.pBufferInfo = &from,
		},
		{
			.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
			.dstSet = gpu->set,
			.dstBinding = 1,
			.descriptorCount = 1,
			.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
			.pBufferInfo = &to,
		},
	};
	gpu->device->vk.UpdateDescriptorSets(gpu->device->device, 2, writes, 0, NULL);
}

static void record(struct rc_gpu_converter *gpu, const struct rc_picture *picture, const struct rc_planes *planes,
	const struct rc_rect *rects, uint32_t count) {
	struct rc_vulkan *vk = &gpu->device->vk;
	struct rc_pixel_format order = rc_pixel_format(picture->format);
	vk->CmdBindPipeline(gpu->commands, VK_PIPELINE_BIND_POINT_COMPUTE,
		gpu->pipelines[planes->divisor - 1][planes->format == RC_FORMAT_NV12]);
	vk->CmdBindDescriptorSets(
		gpu->commands, VK_PIPELINE_BIND_POINT_COMPUTE, gpu->pipeline_layout, 0, 1, &gpu->set, 0, NULL);
	for (uint32_t i = 0; i < count; i++) {
		const struct push push = {
			.size = {picture->width, picture->height},
			.origin = {rects[i].x, rects[i].y},
			.extent = {rects[i].width, rects[i].height},
			.source_offset = (uint32_t)(picture->offset / 4),
			.source_stride = picture->stride / 4,
			.luma_stride = planes->stride,
			.chroma_offset = (uint32_t)rc_planes_chroma_offset(planes),
			.second_offset = (uint32_t)rc_planes_second_offset(planes),
			.shifts = 8u * order.red | 8u * order.green << 8 | 8u * order.blue << 16,
		};
		vk->CmdPushConstants(gpu->commands, gpu->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
		vk->CmdDispatch(
			gpu->commands, (rects[i].width + GROUP_X - 1) / GROUP_X, (rects[i].height + GROUP_Y - 1) / GROUP_Y, 1);
	}
	const VkMemoryBarrier to_host = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
		.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
		.dstAccessMask = VK_ACCESS_HOST_READ_BIT,
	};
	vk->CmdPipelineBarrier(gpu->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
		&to_host, 0, NULL, 0, NULL);
}

static VkResult submit_and_wait(struct rc_gpu_converter *gpu) {
	struct rc_vulkan *vk = &gpu->device->vk;
	const VkSubmitInfo submit = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &gpu->commands};
	VkResult result = vk->QueueSubmit(gpu->device->queue, 1, &submit, gpu->fence);
	if (result == VK_SUCCESS) {
		result = vk->WaitForFences(gpu->device->device, 1, &gpu->fence, VK_TRUE, wait_limit_ns);
	}
	return result == VK_SUCCESS ? vk->ResetFences(gpu->device->device, 1, &gpu->fence) : result;
}

static bool lose_device(struct rc_device *device, VkResult result) {
	device->lost = true;
	rc_log(device->log, RC_LOG_ERROR, "convert: %s does not answer any more (%d)", device->info.name, result);
	return false;
}

bool rc_gpu_converter_run(struct rc_gpu_converter *gpu, const struct rc_picture *picture,
	const struct rc_planes *planes, const struct rc_rect *rects, uint32_t count, uint64_t *gpu_ns) {
	struct rc_device *device = gpu->device;
	struct rc_vulkan *vk = &device->vk;
	if (!gpu->pipelines[planes->divisor - 1][1]) {
		VkResult created = create_pipelines(gpu, planes->divisor);
		if (created != VK_SUCCESS) {
			return lose_device(device, created);
		}
	}
	bind_buffers(gpu, picture, planes);
	const VkCommandBufferBeginInfo begin = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
		.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
	};
	VkResult result = vk->BeginCommandBuffer(gpu->commands, &begin);
	if (result != VK_SUCCESS) {
		return lose_device(device, result);
	}
	bool timed = gpu->queries && gpu_ns;
	if (timed) {
		vk->CmdResetQueryPool(gpu->commands, gpu->queries, 0, 2);
		vk->CmdWriteTimestamp(gpu->commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, gpu->queries, 0);
	}
	record(gpu, picture, planes, rects, count);
	if (timed) {
		vk->CmdWriteTimestamp(gpu->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, gpu->queries, 1);
	}
	result = vk->EndCommandBuffer(gpu->commands);
	result = result ? result : submit_and_wait(gpu);
	uint64_t stamps[2] = {0};
	if (result == VK_SUCCESS && timed) {
		vk->GetQueryPoolResults(
			device->device, gpu->queries, 0, 2, sizeof(stamps), stamps, sizeof(stamps[0]), VK_QUERY_RESULT_64_BIT);
		*gpu_ns = (uint64_t)((double)(stamps[1] - stamps[0]) * (double)device->timestamp_ns);
	}
	return result == VK_SUCCESS || lose_device(device, result);
}
