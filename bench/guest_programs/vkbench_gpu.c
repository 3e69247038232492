/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vkbench.h"

void fail(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	fputs("vkbench: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void create_device(struct gpu *gpu) {
	uint32_t count = 16;
	VkQueueFamilyProperties families[16];
	gpu->GetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count, families);
	const VkQueueFlags wanted = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
	while (gpu->family < count && (families[gpu->family].queueFlags & wanted) != wanted) {
		gpu->family++;
	}
	if (gpu->family == count) {
		fail("no queue draws and computes");
	}
	const float priority = 1.0f;
	const VkDeviceQueueCreateInfo queue = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
		.queueFamilyIndex = gpu->family,
		.queueCount = 1,
		.pQueuePriorities = &priority,
	};
	const VkDeviceCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &queue,
	};
	CHECK(gpu->CreateDevice(gpu->physical, &info, NULL, &gpu->device));
}

void gpu_open(struct gpu *gpu) {
	*gpu = (struct gpu){0};
	void *library = dlopen("libvulkan.so.1", RTLD_NOW);
	PFN_vkGetInstanceProcAddr get = library ? (PFN_vkGetInstanceProcAddr)dlsym(library, "vkGetInstanceProcAddr") : NULL;
	if (!get) {
		fail("there is no Vulkan loader");
	}
	PFN_vkCreateInstance create = (PFN_vkCreateInstance)get(NULL, "vkCreateInstance");
	const VkApplicationInfo app = {
		.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
		.pApplicationName = "vkbench",
		.apiVersion = VK_API_VERSION_1_1,
	};
	const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
	CHECK(create(&info, NULL, &gpu->instance));
#define X(name) gpu->name = (PFN_vk##name)get(gpu->instance, "vk" #name);
	VKBENCH_INSTANCE_FUNCTIONS(X)
#undef X
	uint32_t count = 1;
	VkResult result = gpu->EnumeratePhysicalDevices(gpu->instance, &count, &gpu->physical);
	if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || !count) {
		fail("there is no device");
	}
	gpu->GetPhysicalDeviceProperties(gpu->physical, &gpu->properties);
	gpu->GetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
	create_device(gpu);
#define X(name) gpu->name = (PFN_vk##name)gpu->GetDeviceProcAddr(gpu->device, "vk" #name);
	VKBENCH_DEVICE_FUNCTIONS(X)
#undef X
	gpu->GetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
	const VkCommandPoolCreateInfo pool = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
		.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
		.queueFamilyIndex = gpu->family,
	};
	CHECK(gpu->CreateCommandPool(gpu->device, &pool, NULL, &gpu->pool));
	const VkCommandBufferAllocateInfo allocate = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
		.commandPool = gpu->pool,
		.commandBufferCount = 1,
	};
	CHECK(gpu->AllocateCommandBuffers(gpu->device, &allocate, &gpu->commands));
	const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
	CHECK(gpu->CreateFence(gpu->device, &fence, NULL, &gpu->fence));
}

void gpu_close(struct gpu *gpu) {
	gpu->DeviceWaitIdle(gpu->device);
	gpu->DestroyFence(gpu->device, gpu->fence, NULL);
	gpu->DestroyCommandPool(gpu->device, gpu->pool, NULL);
	gpu->DestroyDevice(gpu->device, NULL);
	gpu->DestroyInstance(gpu->instance, NULL);
}

static int find_type(const struct gpu *gpu, uint32_t bits, VkMemoryPropertyFlags wanted) {
	for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++) {
		if (bits & 1u << i && (gpu->memory.memoryTypes[i].propertyFlags & wanted) == wanted) {
			return (int)i;
		}
	}
	return -1;
}

uint32_t gpu_memory_type(const struct gpu *gpu, uint32_t bits, VkMemoryPropertyFlags wanted) {
	int found = find_type(gpu, bits, wanted);
	if (found < 0) {
		fail("no memory type of %x has %x", bits, wanted);
	}
	return (uint32_t)found;
}

void gpu_buffer_create(
	struct gpu *gpu, VkDeviceSize size, VkBufferUsageFlags usage, bool visible, struct gpu_buffer *out) {
	*out = (struct gpu_buffer){.size = size};
	const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = usage};
	CHECK(gpu->CreateBuffer(gpu->device, &info, NULL, &out->buffer));
	VkMemoryRequirements needs;
	gpu->GetBufferMemoryRequirements(gpu->device, out->buffer, &needs);
	VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
	if (visible) {
		wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
		const VkMemoryPropertyFlags cached = wanted | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
		wanted = find_type(gpu, needs.memoryTypeBits, cached) >= 0 ? cached : wanted;
	}
	const VkMemoryAllocateInfo allocate = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.allocationSize = needs.size,
		.memoryTypeIndex = gpu_memory_type(gpu, needs.memoryTypeBits, wanted),
	};
	CHECK(gpu->AllocateMemory(gpu->device, &allocate, NULL, &out->memory));
	CHECK(gpu->BindBufferMemory(gpu->device, out->buffer, out->memory, 0));
	if (visible) {
		void *map;
		CHECK(gpu->MapMemory(gpu->device, out->memory, 0, VK_WHOLE_SIZE, 0, &map));
		out->map = map;
	}
}

void gpu_buffer_destroy(struct gpu *gpu, struct gpu_buffer *buffer) {
	gpu->DestroyBuffer(gpu->device, buffer->buffer, NULL);
	if (buffer->map) {
		gpu->UnmapMemory(gpu->device, buffer->memory);
	}
	gpu->FreeMemory(gpu->device, buffer->memory, NULL);
}

VkCommandBuffer gpu_begin(struct gpu *gpu) {
	const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
	CHECK(gpu->BeginCommandBuffer(gpu->commands, &info));
	return gpu->commands;
}

void gpu_run(struct gpu *gpu) {
	CHECK(gpu->EndCommandBuffer(gpu->commands));
	gpu_submit(gpu, false);
}

void gpu_submit(struct gpu *gpu, bool empty) {
	const VkSubmitInfo info = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
		.commandBufferCount = empty ? 0 : 1,
		.pCommandBuffers = &gpu->commands,
	};
	CHECK(gpu->QueueSubmit(gpu->queue, 1, &info, gpu->fence));
	CHECK(gpu->WaitForFences(gpu->device, 1, &gpu->fence, VK_TRUE, UINT64_MAX));
	CHECK(gpu->ResetFences(gpu->device, 1, &gpu->fence));
}

VkShaderModule gpu_shader(struct gpu *gpu, const char *folder, const char *name) {
	char path[4096];
	static uint32_t code[1 << 14];
	snprintf(path, sizeof(path), "%s/%s.spv", folder, name);
	FILE *file = fopen(path, "rb");
	size_t size = file ? fread(code, 1, sizeof(code), file) : 0;
	if (!size || size == sizeof(code)) {
		fail("%s cannot be read", path);
	}
	fclose(file);
	const VkShaderModuleCreateInfo info = {
		.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
		.codeSize = size,
		.pCode = code,
	};
	VkShaderModule module;
	CHECK(gpu->CreateShaderModule(gpu->device, &info, NULL, &module));
	return module;
}

void gpu_barrier(struct gpu *gpu) {
	const VkMemoryBarrier barrier = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
		.srcAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
		.dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
	};
	const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT;
	gpu->CmdPipelineBarrier(gpu->commands, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}
