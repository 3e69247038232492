/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "vkbench.h"

#define DRAWS 4000
#define WIDTH 1280
#define HEIGHT 720
#define FRAME_TRIANGLES 500

static struct {
	uint32_t width, height;
	VkImage image;
	VkDeviceMemory memory;
	VkImageView view;
	VkRenderPass pass;
	VkFramebuffer framebuffer;
	VkPipelineLayout layout;
	VkPipeline pipeline;
	struct gpu_buffer pixels;
} scene;

static void create_target(void) {
	const VkFormat format = VK_FORMAT_R8G8B8A8_UNORM;
	const VkImageCreateInfo image = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
		.imageType = VK_IMAGE_TYPE_2D,
		.format = format,
		.extent = {scene.width, scene.height, 1},
		.mipLevels = 1,
		.arrayLayers = 1,
		.samples = VK_SAMPLE_COUNT_1_BIT,
		.usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT,
	};
	CHECK(gpu.CreateImage(gpu.device, &image, NULL, &scene.image));
	VkMemoryRequirements needs;
	gpu.GetImageMemoryRequirements(gpu.device, scene.image, &needs);
	const VkMemoryAllocateInfo allocate = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.allocationSize = needs.size,
		.memoryTypeIndex = gpu_memory_type(&gpu, needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT),
	};
	CHECK(gpu.AllocateMemory(gpu.device, &allocate, NULL, &scene.memory));
	CHECK(gpu.BindImageMemory(gpu.device, scene.image, scene.memory, 0));
	const VkImageViewCreateInfo view = {
		.sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
		.image = scene.image,
		.viewType = VK_IMAGE_VIEW_TYPE_2D,
		.format = format,
		.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1},
	};
	CHECK(gpu.CreateImageView(gpu.device, &view, NULL, &scene.view));
	const VkAttachmentDescription attachment = {
		.format = format,
		.samples = VK_SAMPLE_COUNT_1_BIT,
		.loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
		.storeOp = VK_ATTACHMENT_STORE_OP_STORE,
		.finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
	};
	const VkAttachmentReference reference = {0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
	const VkSubpassDescription subpass = {.colorAttachmentCount = 1, .pColorAttachments = &reference};
	const VkRenderPassCreateInfo pass = {
		.sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
		.attachmentCount = 1,
		.pAttachments = &attachment,
		.subpassCount = 1,
		.pSubpasses = &subpass,
	};
	CHECK(gpu.CreateRenderPass(gpu.device, &pass, NULL, &scene.pass));
	const VkFramebufferCreateInfo framebuffer = {
		.sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
		.renderPass = scene.pass,
		.attachmentCount = 1,
		.pAttachments = &scene.view,
		.width = scene.width,
		.height = scene.height,
		.layers = 1,
	};
	CHECK(gpu.CreateFramebuffer(gpu.device, &framebuffer, NULL, &scene.framebuffer));
}

static void create_drawing(void) {
	VkShaderModule modules[] = {gpu_shader(&gpu, shaders, "vkbench_vert"), gpu_shader(&gpu, shaders, "vkbench_frag")};
	const VkPipelineShaderStageCreateInfo stages[] = {
		{.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
			.stage = VK_SHADER_STAGE_VERTEX_BIT,
			.module = modules[0],
			.pName = "main"},
		{.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
			.stage = VK_SHADER_STAGE_FRAGMENT_BIT,
			.module = modules[1],
			.pName = "main"},
	};
	const VkPushConstantRange range = {VK_SHADER_STAGE_VERTEX_BIT, 0, 16};
	const VkPipelineLayoutCreateInfo layout = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
		.pushConstantRangeCount = 1,
		.pPushConstantRanges = &range,
	};
	CHECK(gpu.CreatePipelineLayout(gpu.device, &layout, NULL, &scene.layout));
	const VkPipelineVertexInputStateCreateInfo vertices = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO};
	const VkPipelineInputAssemblyStateCreateInfo assembly = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
		.topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST,
	};
	const VkViewport viewport = {0, 0, (float)scene.width, (float)scene.height, 0, 1};
	const VkRect2D scissor = {{0, 0}, {scene.width, scene.height}};
	const VkPipelineViewportStateCreateInfo view = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
		.viewportCount = 1,
		.pViewports = &viewport,
		.scissorCount = 1,
		.pScissors = &scissor,
	};
	const VkPipelineRasterizationStateCreateInfo raster = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO,
		.lineWidth = 1,
	};
	const VkPipelineMultisampleStateCreateInfo samples = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
		.rasterizationSamples = VK_SAMPLE_COUNT_1_BIT,
	};
	const VkPipelineColorBlendAttachmentState attachment = {.colorWriteMask = 15};
	const VkPipelineColorBlendStateCreateInfo blend = {
		.sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
		.attachmentCount = 1,
		.pAttachments = &attachment,
	};
	const VkGraphicsPipelineCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
		.stageCount = 2,
		.pStages = stages,
		.pVertexInputState = &vertices,
		.pInputAssemblyState = &assembly,
		.pViewportState = &view,
		.pRasterizationState = &raster,
		.pMultisampleState = &samples,
		.pColorBlendState = &blend,
		.layout = scene.layout,
		.renderPass = scene.pass,
	};
	CHECK(gpu.CreateGraphicsPipelines(gpu.device, VK_NULL_HANDLE, 1, &info, NULL, &scene.pipeline));
	gpu.DestroyShaderModule(gpu.device, modules[0], NULL);
	gpu.DestroyShaderModule(gpu.device, modules[1], NULL);
}

static void scene_create(uint32_t width, uint32_t height) {
	scene.width = width;
	scene.height = height;
	create_target();
	create_drawing();
	gpu_buffer_create(&gpu, (VkDeviceSize)width * height * 4, VK_BUFFER_USAGE_TRANSFER_DST_BIT, true, &scene.pixels);
}

void scene_destroy(void) {
	gpu_buffer_destroy(&gpu, &scene.pixels);
	gpu.DestroyPipeline(gpu.device, scene.pipeline, NULL);
	gpu.DestroyPipelineLayout(gpu.device, scene.layout, NULL);
	gpu.DestroyFramebuffer(gpu.device, scene.framebuffer, NULL);
	gpu.DestroyRenderPass(gpu.device, scene.pass, NULL);
	gpu.DestroyImageView(gpu.device, scene.view, NULL);
	gpu.DestroyImage(gpu.device, scene.image, NULL);
	gpu.FreeMemory(gpu.device, scene.memory, NULL);
}

/* Draw `count` triangles of `size` (of the picture's height) over the picture and wait; read it back if told so. */
static void draw(uint32_t count, float size, bool read) {
	VkCommandBuffer commands = gpu_begin(&gpu);
	const VkClearValue clear = {.color = {.float32 = {0.2f, 0.4f, 0.6f, 1}}};
	const VkRenderPassBeginInfo begin = {
		.sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
		.renderPass = scene.pass,
		.framebuffer = scene.framebuffer,
		.renderArea = {{0, 0}, {scene.width, scene.height}},
		.clearValueCount = 1,
		.pClearValues = &clear,
	};
	gpu.CmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
	gpu.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, scene.pipeline);
	for (uint32_t i = 0; i < count; i++) {
		const float place[4] = {
			(float)(i * 37 % 100) / 50 - 1, (float)(i * 61 % 100) / 50 - 1, size, (float)i / (float)count};
		gpu.CmdPushConstants(commands, scene.layout, VK_SHADER_STAGE_VERTEX_BIT, 0, sizeof(place), place);
		gpu.CmdDraw(commands, 3, 1, 0, 0);
	}
	gpu.CmdEndRenderPass(commands);
	if (read) {
		const VkBufferImageCopy region = {
			.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
			.imageExtent = {scene.width, scene.height, 1},
		};
		gpu_barrier(&gpu);
		gpu.CmdCopyImageToBuffer(
			commands, scene.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, scene.pixels.buffer, 1, &region);
		gpu_barrier(&gpu);
	}
	gpu_run(&gpu);
}

double run_draws(void) {
	uint64_t begin_ns = now_ns();
	draw(DRAWS, 0.25f, false);
	return (double)(now_ns() - begin_ns) / DRAWS;
}

double run_specks(void) {
	uint64_t begin_ns = now_ns();
	draw(DRAWS, 0.02f, false);
	return (double)(now_ns() - begin_ns) / DRAWS;
}

double run_frame(void) {
	static uint8_t picture[WIDTH * HEIGHT * 4];
	uint64_t begin_ns = now_ns();
	draw(FRAME_TRIANGLES, 0.2f, true);
	memcpy(picture, scene.pixels.map, sizeof(picture));
	double taken_ns = (double)(now_ns() - begin_ns);
	add_to_checksum(picture, sizeof(picture));
	return taken_ns;
}

void small_scene(void) {
	scene_create(256, 256);
}

void large_scene(void) {
	scene_create(WIDTH, HEIGHT);
}
