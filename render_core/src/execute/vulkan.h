/* SPDX-License-Identifier: Apache-2.0
 * libvulkan, opened at run time: the entry points that the core uses. */
#ifndef RC_VULKAN_H
#define RC_VULKAN_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#define RC_VK_INSTANCE_FUNCTIONS(X)                                                                                    \
	X(DestroyInstance)                                                                                                 \
	X(EnumeratePhysicalDevices)                                                                                        \
	X(GetPhysicalDeviceProperties2)                                                                                    \
	X(GetPhysicalDeviceFeatures2)                                                                                      \
	X(GetPhysicalDeviceMemoryProperties)                                                                               \
	X(GetPhysicalDeviceQueueFamilyProperties)                                                                          \
	X(GetPhysicalDeviceExternalBufferProperties)                                                                       \
	X(EnumerateDeviceExtensionProperties)                                                                              \
	X(CreateDevice)                                                                                                    \
	X(GetDeviceProcAddr)

#define RC_VK_DEVICE_FUNCTIONS(X)                                                                                      \
	X(DestroyDevice)                                                                                                   \
	X(GetDeviceQueue)                                                                                                  \
	X(DeviceWaitIdle)                                                                                                  \
	X(QueueSubmit)                                                                                                     \
	X(CreateFence)                                                                                                     \
	X(DestroyFence)                                                                                                    \
	X(ResetFences)                                                                                                     \
	X(WaitForFences)                                                                                                   \
	X(CreateBuffer)                                                                                                    \
	X(DestroyBuffer)                                                                                                   \
	X(GetBufferMemoryRequirements)                                                                                     \
	X(AllocateMemory)                                                                                                  \
	X(FreeMemory)                                                                                                      \
	X(MapMemory)                                                                                                       \
	X(BindBufferMemory)                                                                                                \
	X(CreateShaderModule)                                                                                              \
	X(DestroyShaderModule)                                                                                             \
	X(CreateDescriptorSetLayout)                                                                                       \
	X(DestroyDescriptorSetLayout)                                                                                      \
	X(CreateDescriptorPool)                                                                                            \
	X(DestroyDescriptorPool)                                                                                           \
	X(AllocateDescriptorSets)                                                                                          \
	X(UpdateDescriptorSets)                                                                                            \
	X(CreatePipelineLayout)                                                                                            \
	X(DestroyPipelineLayout)                                                                                           \
	X(CreateComputePipelines)                                                                                          \
	X(DestroyPipeline)                                                                                                 \
	X(CreateCommandPool)                                                                                               \
	X(DestroyCommandPool)                                                                                              \
	X(AllocateCommandBuffers)                                                                                          \
	X(BeginCommandBuffer)                                                                                              \
	X(EndCommandBuffer)                                                                                                \
	X(CmdBindPipeline)                                                                                                 \
	X(CmdBindDescriptorSets)                                                                                           \
	X(CmdPushConstants)                                                                                                \
	X(CmdDispatch)                                                                                                     \
	X(CmdPipelineBarrier)                                                                                              \
	X(CmdCopyBuffer)                                                                                                   \
	X(CreateQueryPool)                                                                                                 \
	X(DestroyQueryPool)                                                                                                \
	X(CmdResetQueryPool)                                                                                               \
	X(CmdWriteTimestamp)                                                                                               \
	X(GetQueryPoolResults)

/* Extensions: NULL where the device lacks them. */
#define RC_VK_OPTIONAL_FUNCTIONS(X)                                                                                    \
	X(GetMemoryHostPointerPropertiesEXT)                                                                               \
	X(GetMemoryFdKHR)

struct rc_vulkan {
	void *library;
	PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define X(name) PFN_vk##name name;
	RC_VK_INSTANCE_FUNCTIONS(X)
	RC_VK_DEVICE_FUNCTIONS(X)
	RC_VK_OPTIONAL_FUNCTIONS(X)
#undef X
};

#endif
