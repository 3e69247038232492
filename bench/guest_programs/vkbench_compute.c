/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "vkbench.h"

#define DISPATCHES 4000
#define PIPELINES 8
#define WORDS 1024

static struct {
	struct gpu_buffer buffer;
	VkShaderModule module;
	VkDescriptorSetLayout set_layout;
	VkDescriptorPool pool;
	VkDescriptorSet set;
	VkPipelineLayout layout;
	VkPipeline pipeline;
} compute;

/* `salt`: a specialization constant that no dispatch comes near. */
static VkPipeline compute_pipeline(uint32_t salt) {
	const VkSpecializationMapEntry entry = {0, 0, sizeof(salt)};
	const VkSpecializationInfo special = {1, &entry, sizeof(salt), &salt};
	const VkComputePipelineCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
		.stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
			.stage = VK_SHADER_STAGE_COMPUTE_BIT,
			.module = compute.module,
			.pName = "main",
			.pSpecializationInfo = &special},
		.layout = compute.layout,
	};
	VkPipeline pipeline;
	CHECK(gpu.CreateComputePipelines(gpu.device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline));
	return pipeline;
}

void compute_create(void) {
	gpu_buffer_create(
		&gpu, WORDS * 4, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT, true, &compute.buffer);
	compute.module = gpu_shader(&gpu, shaders, "vkbench_comp");
	const VkDescriptorSetLayoutBinding binding = {
		0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL};
	const VkDescriptorSetLayoutCreateInfo set = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
		.bindingCount = 1,
		.pBindings = &binding,
	};
	CHECK(gpu.CreateDescriptorSetLayout(gpu.device, &set, NULL, &compute.set_layout));
	const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1};
	const VkDescriptorPoolCreateInfo pool = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
		.maxSets = 1,
		.poolSizeCount = 1,
		.pPoolSizes = &size,
	};
	CHECK(gpu.CreateDescriptorPool(gpu.device, &pool, NULL, &compute.pool));
	const VkDescriptorSetAllocateInfo allocate = {
		.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
		.descriptorPool = compute.pool,
		.descriptorSetCount = 1,
		.pSetLayouts = &compute.set_layout,
	};
	CHECK(gpu.AllocateDescriptorSets(gpu.device, &allocate, &compute.set));
	const VkDescriptorBufferInfo whole = {compute.buffer.buffer, 0, VK_WHOLE_SIZE};
	const VkWriteDescriptorSet write = {
		.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
		.dstSet = compute.set,
		.descriptorCount = 1,
		.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
		.pBufferInfo = &whole,
	};
	gpu.UpdateDescriptorSets(gpu.device, 1, &write, 0, NULL);
	const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 4};
	const VkPipelineLayoutCreateInfo layout = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
		.setLayoutCount = 1,
		.pSetLayouts = &compute.set_layout,
		.pushConstantRangeCount = 1,
		.pPushConstantRanges = &range,
	};
	CHECK(gpu.CreatePipelineLayout(gpu.device, &layout, NULL, &compute.layout));
	compute.pipeline = compute_pipeline(0);
}

void compute_destroy(void) {
	gpu.DestroyPipeline(gpu.device, compute.pipeline, NULL);
	gpu.DestroyPipelineLayout(gpu.device, compute.layout, NULL);
	gpu.DestroyDescriptorPool(gpu.device, compute.pool, NULL);
	gpu.DestroyDescriptorSetLayout(gpu.device, compute.set_layout, NULL);
	gpu.DestroyShaderModule(gpu.device, compute.module, NULL);
	gpu_buffer_destroy(&gpu, &compute.buffer);
}

static void dispatch(VkPipeline pipeline, uint32_t count) {
	VkCommandBuffer commands = gpu_begin(&gpu);
	gpu.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
	gpu.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, compute.layout, 0, 1, &compute.set, 0, NULL);
	for (uint32_t i = 0; i < count; i++) {
		gpu.CmdPushConstants(commands, compute.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, 4, &i);
		gpu.CmdDispatch(commands, 1, 1, 1);
	}
	gpu_barrier(&gpu);
	gpu_run(&gpu);
}

double run_dispatches(void) {
	memset(compute.buffer.map, 0, WORDS * 4);
	uint64_t begin_ns = now_ns();
	dispatch(compute.pipeline, DISPATCHES);
	double taken_ns = (double)(now_ns() - begin_ns) / DISPATCHES;
	add_to_checksum(compute.buffer.map, WORDS * 4);
	return taken_ns;
}

/* Make pipelines and use the last: a driver that makes them in the background has then made all. */
double run_pipelines(void) {
	/* New in each run: a driver that has compiled it before may have kept the result in a file. */
	static uint32_t salt;
	if (salt == 0) {
		salt = 1u << 30 | (uint32_t)(now_ns() / 1000 & 0x3fffffff);
	}
	VkPipeline pipelines[PIPELINES];
	memset(compute.buffer.map, 0, WORDS * 4);
	uint64_t begin_ns = now_ns();
	for (int i = 0; i < PIPELINES; i++) {
		pipelines[i] = compute_pipeline(++salt);
	}
	dispatch(pipelines[PIPELINES - 1], 1);
	double taken_ns = (double)(now_ns() - begin_ns) / PIPELINES;
	add_to_checksum(compute.buffer.map, WORDS * 4);
	for (int i = 0; i < PIPELINES; i++) {
		gpu.DestroyPipeline(gpu.device, pipelines[i], NULL);
	}
	return taken_ns;
}
