/* SPDX-License-Identifier: Apache-2.0
 * A Vulkan device for vkbench's operations: the first one, one queue, everything by pointers from the loader. Any failure ends the program. */
#ifndef VKBENCH_H
#define VKBENCH_H

#define VK_NO_PROTOTYPES
#include <stdbool.h>
#include <stdint.h>
#include <vulkan/vulkan.h>

#define VKBENCH_INSTANCE_FUNCTIONS(X)                                                                                  \
	X(DestroyInstance)                                                                                                 \
	X(EnumeratePhysicalDevices)                                                                                        \
	X(GetPhysicalDeviceProperties)                                                                                     \
	X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties) X(CreateDevice)                     \
		X(GetDeviceProcAddr)
#define VKBENCH_DEVICE_FUNCTIONS(X)                                                                                    \
	X(DestroyDevice)                                                                                                   \
	X(GetDeviceQueue)                                                                                                  \
	X(DeviceWaitIdle)                                                                                                  \
	X(QueueSubmit) X(CreateFence) X(DestroyFence) X(WaitForFences) X(ResetFences) X(CreateCommandPool)                 \
		X(DestroyCommandPool) X(AllocateCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) X(CreateBuffer)      \
			X(DestroyBuffer) X(GetBufferMemoryRequirements) X(BindBufferMemory) X(AllocateMemory) X(FreeMemory)        \
				X(MapMemory) X(UnmapMemory) X(CreateImage) X(DestroyImage) X(GetImageMemoryRequirements)               \
					X(BindImageMemory) X(CreateImageView) X(DestroyImageView) X(CreateRenderPass) X(DestroyRenderPass) \
						X(CreateFramebuffer) X(DestroyFramebuffer) X(CreateShaderModule) X(DestroyShaderModule)        \
							X(CreatePipelineLayout) X(DestroyPipelineLayout) X(CreateDescriptorSetLayout)              \
								X(DestroyDescriptorSetLayout) X(CreateDescriptorPool) X(DestroyDescriptorPool)         \
									X(AllocateDescriptorSets) X(UpdateDescriptorSets) X(CreateGraphicsPipelines)       \
										X(CreateComputePipelines) X(DestroyPipeline) X(CmdBeginRenderPass)             \
											X(CmdEndRenderPass) X(CmdBindPipeline) X(CmdBindDescriptorSets)            \
												X(CmdPushConstants) X(CmdDraw) X(CmdDispatch) X(CmdCopyBuffer)         \
													X(CmdCopyImageToBuffer) X(CmdFillBuffer) X(CmdPipelineBarrier)

struct gpu {
	VkInstance instance;
	VkPhysicalDevice physical;
	VkPhysicalDeviceProperties properties;
	VkPhysicalDeviceMemoryProperties memory;
	VkDevice device;
	VkQueue queue;
	uint32_t family;
	VkCommandPool pool;
	VkCommandBuffer commands;
	VkFence fence;
#define X(name) PFN_vk##name name;
	VKBENCH_INSTANCE_FUNCTIONS(X) VKBENCH_DEVICE_FUNCTIONS(X)
#undef X
};

struct gpu_buffer {
	VkBuffer buffer;
	VkDeviceMemory memory;
	VkDeviceSize size;
	uint8_t *map; /* NULL: not host-visible */
};

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);
#define CHECK(call)                                                                                                    \
	do {                                                                                                               \
		VkResult result_ = (call);                                                                                     \
		if (result_ != VK_SUCCESS) {                                                                                   \
			fail("%s gave %d", #call, (int)result_);                                                                   \
		}                                                                                                              \
	} while (0)

uint64_t now_ns(void);

void gpu_open(struct gpu *gpu);
void gpu_close(struct gpu *gpu);
uint32_t gpu_memory_type(const struct gpu *gpu, uint32_t bits, VkMemoryPropertyFlags wanted);
/* Host-visible buffers are mapped, and cached where the device has such memory. */
void gpu_buffer_create(
	struct gpu *gpu, VkDeviceSize size, VkBufferUsageFlags usage, bool visible, struct gpu_buffer *out);
void gpu_buffer_destroy(struct gpu *gpu, struct gpu_buffer *buffer);
/* The one command buffer: begin, record, run to its end. */
VkCommandBuffer gpu_begin(struct gpu *gpu);
void gpu_run(struct gpu *gpu);
/* Submit the recorded command buffer (or nothing) and wait. */
void gpu_submit(struct gpu *gpu, bool empty);
VkShaderModule gpu_shader(struct gpu *gpu, const char *folder, const char *name);
/* All memory accesses before and after, the host's included. */
void gpu_barrier(struct gpu *gpu);

/* ---- vkbench.c ---- */
extern struct gpu gpu;
extern const char *shaders;
extern uint32_t checksum; /* of what the operation's repeats computed */
void add_to_checksum(const void *data, size_t size);

/* ---- operations: begin, run (returns nanoseconds), end ---- */
void small_scene(void);
void large_scene(void);
void scene_destroy(void);
double run_draws(void);
double run_specks(void);
double run_frame(void);
void compute_create(void);
void compute_destroy(void);
double run_dispatches(void);
double run_pipelines(void);

#endif
