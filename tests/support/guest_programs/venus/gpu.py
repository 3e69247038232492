# SPDX-License-Identifier: Apache-2.0
"""A device and what every case needs of it. Everything is destroyed by the scope in which it was made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import vulkan as vk

from tests.support.guest_programs.venus.cases import Unsupported
from tests.support.guest_programs.venus.shaders import compile_glsl

Handle = Any  # a cffi handle
FOREVER_NS = 2**64 - 1
WHOLE = 2**64 - 1  # the package's own VK_WHOLE_SIZE is negative
IGNORED = 2**32 - 1
HOST = vk.VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | vk.VK_MEMORY_PROPERTY_HOST_COHERENT_BIT
COPY = vk.VK_BUFFER_USAGE_TRANSFER_SRC_BIT | vk.VK_BUFFER_USAGE_TRANSFER_DST_BIT
# The package knows these two under no name.
DEVICE_ADDRESS_USAGE = 0x00020000
DEVICE_ADDRESS_MEMORY = 0x00000002
STORAGE = vk.VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | COPY
_CORE = (
    "fillModeNonSolid",
    "fragmentStoresAndAtomics",
    "independentBlend",
    "multiDrawIndirect",
    "occlusionQueryPrecise",
    "pipelineStatisticsQuery",
    "sampleRateShading",
    "samplerAnisotropy",
    "shaderInt64",
    "vertexPipelineStoresAndAtomics",
)
_CORE_12 = (
    "bufferDeviceAddress",
    "descriptorIndexing",
    "drawIndirectCount",
    "hostQueryReset",
    "imagelessFramebuffer",
    "timelineSemaphore",
)
_CORE_13 = ("dynamicRendering", "synchronization2", "maintenance4")
_OPTIONAL = ("VK_KHR_push_descriptor", "VK_EXT_extended_dynamic_state3", "VK_EXT_multi_draw")


def check(result: int) -> None:
    """Raise when a function that was called past the wrappers failed."""
    if result != vk.VK_SUCCESS:
        raise vk.exception_codes[result]()


@dataclass
class Buffer:
    """A buffer with memory of its own; `map` when the host sees it."""

    handle: Handle
    memory: Handle
    size: int
    map: Any

    def read(self, size: int | None = None) -> bytes:
        return bytes(self.map[: self.size if size is None else size])

    def write(self, data: bytes, offset: int = 0) -> None:
        self.map[offset : offset + len(data)] = data


@dataclass
class Image:
    """An image with memory of its own and a view of all of it."""

    handle: Handle
    memory: Handle
    view: Handle
    width: int
    height: int
    levels: int
    aspect: int


class Gpu:
    """The first physical device, one device, its first queue of graphics and compute."""

    def __init__(self, api_version: int = vk.VK_MAKE_VERSION(1, 3, 0), queues: int = 1) -> None:
        self._ends: list[Callable[[], None]] = []
        app = vk.VkApplicationInfo(pApplicationName="guest", apiVersion=api_version)
        self.instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=app), None)
        self._ends.append(lambda: vk.vkDestroyInstance(self.instance, None))
        found = vk.vkEnumeratePhysicalDevices(self.instance)
        if not found:
            raise RuntimeError("there is no device")
        self.physical = found[0]
        self.properties = vk.vkGetPhysicalDeviceProperties(self.physical)
        self.features = vk.vkGetPhysicalDeviceFeatures(self.physical)
        self.memory_properties = vk.vkGetPhysicalDeviceMemoryProperties(self.physical)
        self.extensions = {e.extensionName for e in vk.vkEnumerateDeviceExtensionProperties(self.physical, None)}
        self.family = self._family(vk.VK_QUEUE_GRAPHICS_BIT | vk.VK_QUEUE_COMPUTE_BIT)
        self.device = self._create_device(queues)
        self._ends.append(lambda: vk.vkDestroyDevice(self.device, None))
        self.queue = vk.vkGetDeviceQueue(self.device, self.family, 0)
        self.pool = vk.vkCreateCommandPool(
            self.device,
            vk.VkCommandPoolCreateInfo(
                flags=vk.VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, queueFamilyIndex=self.family
            ),
            None,
        )
        self.defer(vk.vkDestroyCommandPool, self.pool)

    def _family(self, wanted: int) -> int:
        self.families = vk.vkGetPhysicalDeviceQueueFamilyProperties(self.physical)
        return next(i for i, family in enumerate(self.families) if family.queueFlags & wanted == wanted)

    def _create_device(self, queues: int) -> Handle:
        core = vk.VkPhysicalDeviceFeatures()
        for name in _CORE:
            setattr(core, name, getattr(self.features, name))
        newer = vk.VkPhysicalDeviceVulkan13Features()
        new = vk.VkPhysicalDeviceVulkan12Features(pNext=newer)
        query = vk.VkPhysicalDeviceFeatures2(pNext=new)
        vk.vkGetPhysicalDeviceFeatures2(self.physical, vk.ffi.addressof(query))
        self.features_12 = {name: bool(getattr(new, name)) for name in _CORE_12}
        self.features_13 = {name: bool(getattr(newer, name)) for name in _CORE_13}
        chain = vk.VkPhysicalDeviceVulkan13Features(**self.features_13)
        chain = vk.VkPhysicalDeviceVulkan12Features(pNext=chain, **self.features_12)
        self.enabled = [name for name in _OPTIONAL if name in self.extensions]
        if "VK_EXT_multi_draw" in self.enabled:
            chain = vk.VkPhysicalDeviceMultiDrawFeaturesEXT(pNext=chain, multiDraw=1)
        self.queue_count = min(queues, self.families[self.family].queueCount)
        queue = vk.VkDeviceQueueCreateInfo(
            queueFamilyIndex=self.family, queueCount=self.queue_count, pQueuePriorities=[1.0] * self.queue_count
        )
        info = vk.VkDeviceCreateInfo(
            pNext=chain,
            queueCreateInfoCount=1,
            pQueueCreateInfos=[queue],
            enabledExtensionCount=len(self.enabled),
            ppEnabledExtensionNames=self.enabled,
            pEnabledFeatures=core,
        )
        return vk.vkCreateDevice(self.physical, info, None)

    # ---- lifetimes ----

    def defer(self, destroy: Callable[..., None], handle: Handle) -> Handle:
        """Destroy `handle` at the end of the scope; returns it."""
        self._ends.append(lambda: destroy(self.device, handle, None))
        return handle

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Destroy at the end what is made inside, last first."""
        outer, self._ends = self._ends, []
        try:
            yield
        finally:
            vk.vkDeviceWaitIdle(self.device)
            for end in reversed(self._ends):
                end()
            self._ends = outer

    def close(self) -> None:
        """Destroy everything that is left."""
        vk.vkDeviceWaitIdle(self.device)
        for end in reversed(self._ends):
            end()
        self._ends = []

    def __enter__(self) -> Gpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def proc(self, name: str, extension: str) -> Any:
        """Return a function of an extension, or raise Unsupported."""
        if extension not in self.enabled:
            raise Unsupported(extension)
        return vk.vkGetDeviceProcAddr(self.device, name)

    def need(self, **features: bool) -> None:
        """Raise Unsupported unless all are true."""
        for name, there in features.items():
            if not there:
                raise Unsupported(name)

    # ---- memory ----

    def memory_type(self, bits: int, wanted: int) -> int:
        for index in range(self.memory_properties.memoryTypeCount):
            flags = self.memory_properties.memoryTypes[index].propertyFlags
            if bits & 1 << index and flags & wanted == wanted:
                return index
        raise Unsupported(f"a memory type of {bits:x} with {wanted:x}")

    def allocate(self, size: int, type_index: int, chain: Any = None) -> Handle:
        """Allocate memory that the scope frees."""
        info = vk.VkMemoryAllocateInfo(pNext=chain, allocationSize=size, memoryTypeIndex=type_index)
        return self.defer(vk.vkFreeMemory, vk.vkAllocateMemory(self.device, info, None))

    def buffer(self, size: int, usage: int = STORAGE, properties: int = HOST, data: bytes = b"") -> Buffer:
        """Make a buffer; host-visible ones are mapped."""
        handle = vk.vkCreateBuffer(self.device, vk.VkBufferCreateInfo(size=size, usage=usage), None)
        self.defer(vk.vkDestroyBuffer, handle)
        needs = vk.vkGetBufferMemoryRequirements(self.device, handle)
        chain = None
        if usage & DEVICE_ADDRESS_USAGE:
            chain = vk.VkMemoryAllocateFlagsInfo(flags=DEVICE_ADDRESS_MEMORY)
        memory = self.allocate(needs.size, self.memory_type(needs.memoryTypeBits, properties), chain)
        vk.vkBindBufferMemory(self.device, handle, memory, 0)
        visible = properties & vk.VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT
        buffer = Buffer(handle, memory, size, vk.vkMapMemory(self.device, memory, 0, size, 0) if visible else None)
        if data:
            buffer.write(data)
        return buffer

    def image(
        self,
        width: int,
        height: int,
        usage: int,
        *,
        image_format: int = vk.VK_FORMAT_R8G8B8A8_UNORM,
        levels: int = 1,
        samples: int = 1,
        aspect: int = vk.VK_IMAGE_ASPECT_COLOR_BIT,
    ) -> Image:
        """Make an image in device memory with a view."""
        info = vk.VkImageCreateInfo(
            imageType=vk.VK_IMAGE_TYPE_2D,
            format=image_format,
            extent=vk.VkExtent3D(width, height, 1),
            mipLevels=levels,
            arrayLayers=1,
            samples=samples,
            tiling=vk.VK_IMAGE_TILING_OPTIMAL,
            usage=usage,
            initialLayout=vk.VK_IMAGE_LAYOUT_UNDEFINED,
        )
        handle = self.defer(vk.vkDestroyImage, vk.vkCreateImage(self.device, info, None))
        needs = vk.vkGetImageMemoryRequirements(self.device, handle)
        device_local = vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
        memory = self.allocate(needs.size, self.memory_type(needs.memoryTypeBits, device_local))
        vk.vkBindImageMemory(self.device, handle, memory, 0)
        whole = vk.VkImageSubresourceRange(aspect, 0, levels, 0, 1)
        view_info = vk.VkImageViewCreateInfo(
            image=handle, viewType=vk.VK_IMAGE_VIEW_TYPE_2D, format=image_format, subresourceRange=whole
        )
        view = self.defer(vk.vkDestroyImageView, vk.vkCreateImageView(self.device, view_info, None))
        return Image(handle, memory, view, width, height, levels, aspect)

    # ---- commands ----

    def command_buffer(self, *, secondary: bool = False, pool: Handle = None) -> Handle:
        """Allocate one from a pool (the device's own), which frees it."""
        level = vk.VK_COMMAND_BUFFER_LEVEL_SECONDARY if secondary else vk.VK_COMMAND_BUFFER_LEVEL_PRIMARY
        info = vk.VkCommandBufferAllocateInfo(commandPool=pool or self.pool, level=level, commandBufferCount=1)
        return vk.vkAllocateCommandBuffers(self.device, info)[0]

    @contextlib.contextmanager
    def recording(self, commands: Handle = None, flags: int = 0) -> Iterator[Handle]:
        """Record into `commands` (or a new one, which is yielded)."""
        commands = commands or self.command_buffer()
        vk.vkBeginCommandBuffer(commands, vk.VkCommandBufferBeginInfo(flags=flags))
        yield commands
        vk.vkEndCommandBuffer(commands)

    def fence(self) -> Handle:
        return self.defer(vk.vkDestroyFence, vk.vkCreateFence(self.device, vk.VkFenceCreateInfo(), None))

    def submit(self, *commands: Handle, fence: Handle = None, queue: Handle = None) -> None:
        """Submit in one batch; waits unless a fence is given."""
        waits = fence is None
        fence = fence or vk.vkCreateFence(self.device, vk.VkFenceCreateInfo(), None)
        info = vk.VkSubmitInfo(commandBufferCount=len(commands), pCommandBuffers=list(commands))
        vk.vkQueueSubmit(queue or self.queue, 1, [info], fence)
        if waits:
            vk.vkWaitForFences(self.device, 1, [fence], vk.VK_TRUE, FOREVER_NS)
            vk.vkDestroyFence(self.device, fence, None)

    def run(self, record: Callable[[Handle], None]) -> None:
        """Record, submit, wait, free."""
        with self.recording() as commands:
            record(commands)
        self.submit(commands)
        vk.vkFreeCommandBuffers(self.device, self.pool, 1, [commands])

    @staticmethod
    def barrier(commands: Handle) -> None:
        """Order all memory accesses before and after, the host's included."""
        everything = vk.VK_ACCESS_MEMORY_READ_BIT | vk.VK_ACCESS_MEMORY_WRITE_BIT
        barrier = vk.VkMemoryBarrier(srcAccessMask=everything, dstAccessMask=everything)
        stages = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | vk.VK_PIPELINE_STAGE_HOST_BIT
        vk.vkCmdPipelineBarrier(commands, stages, stages, 0, 1, [barrier], 0, None, 0, None)

    @staticmethod
    def to_layout(commands: Handle, image: Image, old: int, new: int, level: int = 0, levels: int = 0) -> None:
        """Change an image's layout, `levels` of it from `level` on (0: all), and order all accesses."""
        everything = vk.VK_ACCESS_MEMORY_READ_BIT | vk.VK_ACCESS_MEMORY_WRITE_BIT
        barrier = vk.VkImageMemoryBarrier(
            srcAccessMask=everything,
            dstAccessMask=everything,
            oldLayout=old,
            newLayout=new,
            srcQueueFamilyIndex=IGNORED,
            dstQueueFamilyIndex=IGNORED,
            image=image.handle,
            subresourceRange=vk.VkImageSubresourceRange(image.aspect, level, levels or image.levels, 0, 1),
        )
        stages = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT
        vk.vkCmdPipelineBarrier(commands, stages, stages, 0, 0, None, 0, None, 1, [barrier])

    def read_image(self, image: Image, layout: int, level: int = 0, pixel_bytes: int = 4) -> bytes:
        """Return the pixels of one level, rows without padding."""
        width, height = max(1, image.width >> level), max(1, image.height >> level)
        size = width * height * pixel_bytes
        with self.scope():
            buffer = self.buffer(size, COPY)
            region = vk.VkBufferImageCopy(
                imageSubresource=vk.VkImageSubresourceLayers(image.aspect, level, 0, 1),
                imageExtent=vk.VkExtent3D(width, height, 1),
            )
            source = vk.VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL

            def copy(commands: Handle) -> None:
                self.to_layout(commands, image, layout, source, level, 1)
                vk.vkCmdCopyImageToBuffer(commands, image.handle, source, buffer.handle, 1, [region])
                self.to_layout(commands, image, source, layout, level, 1)
                self.barrier(commands)

            self.run(copy)
            return buffer.read()

    # ---- pipelines ----

    def module(self, stage: str, source: str) -> Handle:
        """Compile a shader module."""
        code = compile_glsl(stage, source)
        info = vk.VkShaderModuleCreateInfo(codeSize=len(code), pCode=code)
        return self.defer(vk.vkDestroyShaderModule, vk.vkCreateShaderModule(self.device, info, None))

    def set_layout(self, types: Sequence[int], flags: int = 0) -> Handle:
        """A set layout of one descriptor a binding, seen by all stages."""
        bindings = [
            vk.VkDescriptorSetLayoutBinding(i, kind, 1, vk.VK_SHADER_STAGE_ALL, None) for i, kind in enumerate(types)
        ]
        info = vk.VkDescriptorSetLayoutCreateInfo(flags=flags, bindingCount=len(bindings), pBindings=bindings)
        layout = vk.vkCreateDescriptorSetLayout(self.device, info, None)
        return self.defer(vk.vkDestroyDescriptorSetLayout, layout)

    def pipeline_layout(self, sets: Sequence[Handle] = (), push_bytes: int = 0) -> Handle:
        ranges = [vk.VkPushConstantRange(vk.VK_SHADER_STAGE_ALL, 0, push_bytes)] if push_bytes else []
        info = vk.VkPipelineLayoutCreateInfo(
            setLayoutCount=len(sets),
            pSetLayouts=list(sets),
            pushConstantRangeCount=len(ranges),
            pPushConstantRanges=ranges,
        )
        return self.defer(vk.vkDestroyPipelineLayout, vk.vkCreatePipelineLayout(self.device, info, None))

    def compute_pipeline(
        self, source: str, layout: Handle, constants: Sequence[int] = (), cache: Handle = None
    ) -> Handle:
        """A compute pipeline; `constants` are the uint32 specialization constants 0, 1, ..."""
        data = vk.ffi.new("uint32_t[]", list(constants) or [0])
        entries = [vk.VkSpecializationMapEntry(i, 4 * i, 4) for i in range(len(constants))]
        special = vk.VkSpecializationInfo(
            mapEntryCount=len(entries), pMapEntries=entries, dataSize=4 * len(constants), pData=data
        )
        stage = vk.VkPipelineShaderStageCreateInfo(
            stage=vk.VK_SHADER_STAGE_COMPUTE_BIT,
            module=self.module("comp", source),
            pName="main",
            pSpecializationInfo=special if constants else None,
        )
        info = vk.VkComputePipelineCreateInfo(stage=stage, layout=layout, basePipelineIndex=-1)
        made = vk.vkCreateComputePipelines(self.device, cache, 1, [info], None)
        return self.defer(vk.vkDestroyPipeline, made[0])

    def descriptor_pool(self, sets: int, types: Sequence[int], flags: int = 0) -> Handle:
        """A pool for `sets` sets of one descriptor of each type."""
        sizes = [vk.VkDescriptorPoolSize(kind, sets) for kind in types]
        info = vk.VkDescriptorPoolCreateInfo(flags=flags, maxSets=sets, poolSizeCount=len(sizes), pPoolSizes=sizes)
        return self.defer(vk.vkDestroyDescriptorPool, vk.vkCreateDescriptorPool(self.device, info, None))

    def descriptor_sets(self, pool: Handle, layouts: Sequence[Handle]) -> list[Handle]:
        info = vk.VkDescriptorSetAllocateInfo(
            descriptorPool=pool, descriptorSetCount=len(layouts), pSetLayouts=list(layouts)
        )
        return list(vk.vkAllocateDescriptorSets(self.device, info))

    @staticmethod
    def storage_write(target: Handle, binding: int, buffer: Buffer) -> Any:
        """One VkWriteDescriptorSet of a storage buffer."""
        return vk.VkWriteDescriptorSet(
            dstSet=target,
            dstBinding=binding,
            descriptorCount=1,
            descriptorType=vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            pBufferInfo=[vk.VkDescriptorBufferInfo(buffer.handle, 0, WHOLE)],
        )

    def storage_set(self, *buffers: Buffer) -> tuple[Handle, Handle]:
        """A set (and its layout) whose bindings are these storage buffers."""
        types = [vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER] * len(buffers)
        layout = self.set_layout(types)
        made = self.descriptor_sets(self.descriptor_pool(1, types), [layout])[0]
        writes = [self.storage_write(made, i, buffer) for i, buffer in enumerate(buffers)]
        vk.vkUpdateDescriptorSets(self.device, len(writes), writes, 0, None)
        return made, layout
