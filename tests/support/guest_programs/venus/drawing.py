# SPDX-License-Identifier: Apache-2.0
"""Offscreen drawing, whose pictures are compared byte by byte."""

from __future__ import annotations

import math

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome
from tests.support.guest_programs.venus.gpu import HOST, IGNORED, Buffer, Handle
from tests.support.guest_programs.venus.graphics import (
    COLOR_LAYOUT,
    COLOR_USAGE,
    RGBA8,
    SOURCE,
    UNDEFINED,
    WHOLE_VERTEX,
    Drawing,
    Target,
    attachment,
    blend,
    clear_color,
    graphics_pipeline,
    make_framebuffer,
    make_target,
    push_depth,
    set_view,
    vertices,
)
from tests.support.guest_programs.venus.suite import Suite

GRAPHICS = vk.VK_PIPELINE_BIND_POINT_GRAPHICS
TRIANGLE = vertices((0.0, -0.9, 1, 0, 0, 1), (0.9, 0.8, 0, 1, 0, 1), (-0.9, 0.8, 0, 0, 1, 0.5))
WIDTH, HEIGHT = 203, 151


def fan(count: int, seed: int, alpha: float = 1.0) -> bytes:
    """`count` random triangles."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        color = [*chance.uniform(0, 1, 3), alpha]
        rows += [[*chance.uniform(-1.1, 1.1, 2), *color] for _ in range(3)]
    return vertices(*rows)


class DrawingCases(Suite):
    """The cases; all on one device."""

    def _vertex_buffer(self, data: bytes) -> Buffer:
        usage = vk.VK_BUFFER_USAGE_VERTEX_BUFFER_BIT | vk.VK_BUFFER_USAGE_INDEX_BUFFER_BIT
        return self.gpu.buffer(len(data), usage | vk.VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT, HOST, data)

    def _draw(self, commands: Handle, pipeline: Handle, buffer: Buffer, count: int) -> None:
        vk.vkCmdBindPipeline(commands, GRAPHICS, pipeline)
        vk.vkCmdBindVertexBuffers(commands, 0, 1, [buffer.handle], [0])
        vk.vkCmdDraw(commands, count, 1, 0, 0)

    def triangle(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        layout = gpu.pipeline_layout([], 4)
        pipeline = graphics_pipeline(gpu, Drawing(), layout, target)
        buffer = self._vertex_buffer(TRIANGLE)

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.5)
            self._draw(commands, pipeline, buffer, 3)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        pixels = gpu.read_image(target.images[0], SOURCE)
        assert len(set(pixels[i : i + 4] for i in range(0, len(pixels), 4))) > 1000
        assert pixels[:4] == bytes((51, 102, 153, 255))
        return Outcome(raw={"pixels": pixels})

    def indexed_instanced_and_indirect(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        layout = gpu.pipeline_layout([], 4)
        spread = """
layout(location = 0) in vec2 position;
layout(location = 1) in vec4 tint;
layout(location = 0) out vec4 color;
void main() {
	float turn = float(gl_InstanceIndex);
	gl_Position = vec4(position * 0.2 + vec2(sin(turn), cos(turn)) * 0.7, 0.0, 1.0);
	color = tint / (1.0 + 0.1 * turn);
}
"""
        pipeline = graphics_pipeline(gpu, Drawing(vertex=spread), layout, target)
        buffer = self._vertex_buffer(TRIANGLE + fan(3, 5))
        indices = self._vertex_buffer(np.array([0, 1, 2, 2, 4, 5, 0, 8, 3], np.uint16).tobytes())
        calls = np.array([[3, 2, 0, 0, 7], [6, 1, 3, 1, 9]], np.uint32)
        indirect = self._vertex_buffer(calls.tobytes())

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            vk.vkCmdBindPipeline(commands, GRAPHICS, pipeline)
            vk.vkCmdBindVertexBuffers(commands, 0, 1, [buffer.handle], [0])
            vk.vkCmdBindIndexBuffer(commands, indices.handle, 0, vk.VK_INDEX_TYPE_UINT16)
            vk.vkCmdDrawIndexed(commands, 9, 5, 0, 0, 0)
            vk.vkCmdDrawIndexed(commands, 3, 2, 3, 3, 5)
            for i in range(2):
                vk.vkCmdDrawIndexedIndirect(commands, indirect.handle, 20 * i, 1, 20)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(target.images[0], SOURCE)})

    def depth_test(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT, depth=True)
        layout = gpu.pipeline_layout([], 4)
        pipeline = graphics_pipeline(gpu, Drawing(depth=vk.VK_COMPARE_OP_LESS), layout, target)
        buffer = self._vertex_buffer(fan(30, 3))

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            vk.vkCmdBindPipeline(commands, GRAPHICS, pipeline)
            vk.vkCmdBindVertexBuffers(commands, 0, 1, [buffer.handle], [0])
            for i in range(30):
                push_depth(commands, layout, (i * 7 % 30) / 30)
                vk.vkCmdDraw(commands, 3, 1, 3 * i, 0)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(
            raw={"pixels": gpu.read_image(target.images[0], SOURCE), "depth": gpu.read_image(target.images[1], SOURCE)}
        )

    def blending(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        layout = gpu.pipeline_layout([], 4)
        equations = [
            blend(vk.VK_BLEND_FACTOR_SRC_ALPHA, vk.VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA, vk.VK_BLEND_OP_ADD, on=True),
            blend(vk.VK_BLEND_FACTOR_ONE, vk.VK_BLEND_FACTOR_ONE, vk.VK_BLEND_OP_REVERSE_SUBTRACT, on=True),
            blend(vk.VK_BLEND_FACTOR_CONSTANT_COLOR, vk.VK_BLEND_FACTOR_DST_COLOR, vk.VK_BLEND_OP_ADD, on=True),
            blend(vk.VK_BLEND_FACTOR_ONE, vk.VK_BLEND_FACTOR_ONE, vk.VK_BLEND_OP_MAX, on=True),
        ]
        pipelines = [graphics_pipeline(gpu, Drawing(blends=[each]), layout, target) for each in equations]
        buffer = self._vertex_buffer(fan(24, 8, 0.4))

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            vk.vkCmdBindVertexBuffers(commands, 0, 1, [buffer.handle], [0])
            push_depth(commands, layout, 0.0)
            for i in range(24):
                vk.vkCmdBindPipeline(commands, GRAPHICS, pipelines[i % 4])
                vk.vkCmdDraw(commands, 3, 1, 3 * i, 0)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(target.images[0], SOURCE)})

    def multisample_resolve(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT, samples=4, depth=True)
        layout = gpu.pipeline_layout([], 4)
        drawing = Drawing(samples=4, depth=vk.VK_COMPARE_OP_LESS_OR_EQUAL)
        pipeline = graphics_pipeline(gpu, drawing, layout, target)
        buffer = self._vertex_buffer(fan(12, 21))

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.25)
            self._draw(commands, pipeline, buffer, 36)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(target.images[-1], SOURCE)})

    def several_attachments(self) -> Outcome:
        """Formats of other sizes, numbers that are no colours."""
        gpu = self.gpu
        formats = (RGBA8, vk.VK_FORMAT_R16G16B16A16_SFLOAT, vk.VK_FORMAT_R32_UINT)
        target = make_target(gpu, 64, 48, formats=formats)
        target.clears[2] = vk.VkClearValue(color=vk.VkClearColorValue(uint32=[77, 0, 0, 0]))
        fragment = """
layout(location = 0) in vec4 color;
layout(location = 0) out vec4 first;
layout(location = 1) out vec4 second;
layout(location = 2) out uint third;
void main() { first = color; second = color * 1000.0; third = uint(gl_FragCoord.x * 1000.0 + gl_FragCoord.y); }
"""
        layout = gpu.pipeline_layout([], 4)
        pipeline = graphics_pipeline(gpu, Drawing(fragment=fragment, blends=[blend()] * 3), layout, target)
        buffer = self._vertex_buffer(TRIANGLE)

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, 64, 48)
            push_depth(commands, layout, 0.0)
            self._draw(commands, pipeline, buffer, 3)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        sizes = (4, 8, 4)
        return Outcome(
            raw={
                f"image{i}": gpu.read_image(image, SOURCE, pixel_bytes=size)
                for i, (image, size) in enumerate(zip(target.images, sizes, strict=True))
            }
        )

    def secondary_command_buffers(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        layout = gpu.pipeline_layout([], 4)
        pipeline = graphics_pipeline(gpu, Drawing(), layout, target)
        buffer = self._vertex_buffer(fan(8, 30))
        inherited = vk.VkCommandBufferInheritanceInfo(renderPass=target.render_pass, subpass=0, framebuffer=None)
        seconds = []
        for part in range(4):
            second = gpu.command_buffer(secondary=True)
            flags = vk.VK_COMMAND_BUFFER_USAGE_RENDER_PASS_CONTINUE_BIT
            vk.vkBeginCommandBuffer(second, vk.VkCommandBufferBeginInfo(flags=flags, pInheritanceInfo=inherited))
            x, y = WIDTH // 2 * (part % 2), HEIGHT // 2 * (part // 2)
            set_view(second, WIDTH // 2, HEIGHT // 2, x, y)
            push_depth(second, layout, 0.0)
            self._draw(second, pipeline, buffer, 6 * (part + 1))
            vk.vkEndCommandBuffer(second)
            seconds.append(second)

        def record(commands: Handle) -> None:
            target.begin(commands, vk.VK_SUBPASS_CONTENTS_SECONDARY_COMMAND_BUFFERS)
            vk.vkCmdExecuteCommands(commands, 4, seconds)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        vk.vkFreeCommandBuffers(gpu.device, gpu.pool, 4, seconds)
        return Outcome(raw={"pixels": gpu.read_image(target.images[0], SOURCE)})

    def subpasses_with_input_attachments(self) -> Outcome:
        gpu = self.gpu
        input_usage = COLOR_USAGE | vk.VK_IMAGE_USAGE_INPUT_ATTACHMENT_BIT
        images = [gpu.image(WIDTH, HEIGHT, usage) for usage in (input_usage, COLOR_USAGE)]
        first = vk.VkSubpassDescription(
            pipelineBindPoint=GRAPHICS,
            colorAttachmentCount=1,
            pColorAttachments=[vk.VkAttachmentReference(0, COLOR_LAYOUT)],
        )
        second = vk.VkSubpassDescription(
            pipelineBindPoint=GRAPHICS,
            inputAttachmentCount=1,
            pInputAttachments=[vk.VkAttachmentReference(0, vk.VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL)],
            colorAttachmentCount=1,
            pColorAttachments=[vk.VkAttachmentReference(1, COLOR_LAYOUT)],
        )
        between = vk.VkSubpassDependency(
            srcSubpass=0,
            dstSubpass=1,
            srcStageMask=vk.VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
            dstStageMask=vk.VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT,
            srcAccessMask=vk.VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
            dstAccessMask=vk.VK_ACCESS_INPUT_ATTACHMENT_READ_BIT,
            dependencyFlags=vk.VK_DEPENDENCY_BY_REGION_BIT,
        )
        info = vk.VkRenderPassCreateInfo(
            attachmentCount=2,
            pAttachments=[attachment(RGBA8, 1, COLOR_LAYOUT, SOURCE)] * 2,
            subpassCount=2,
            pSubpasses=[first, second],
            dependencyCount=1,
            pDependencies=[between],
        )
        render_pass = gpu.defer(vk.vkDestroyRenderPass, vk.vkCreateRenderPass(gpu.device, info, None))
        target = Target(images, render_pass, make_framebuffer(gpu, render_pass, images), WIDTH, HEIGHT)
        target.clears = [clear_color(0.5, 0, 0, 1), clear_color(0, 0.5, 0, 1)]
        types = [vk.VK_DESCRIPTOR_TYPE_INPUT_ATTACHMENT]
        bindings = [vk.VkDescriptorSetLayoutBinding(0, types[0], 1, vk.VK_SHADER_STAGE_FRAGMENT_BIT, None)]
        set_info = vk.VkDescriptorSetLayoutCreateInfo(bindingCount=1, pBindings=bindings)
        made = vk.vkCreateDescriptorSetLayout(gpu.device, set_info, None)
        set_layout = gpu.defer(vk.vkDestroyDescriptorSetLayout, made)
        descriptors = gpu.descriptor_sets(gpu.descriptor_pool(1, types), [set_layout])[0]
        write = vk.VkWriteDescriptorSet(
            dstSet=descriptors,
            dstBinding=0,
            descriptorCount=1,
            descriptorType=types[0],
            pImageInfo=[vk.VkDescriptorImageInfo(None, images[0].view, vk.VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL)],
        )
        vk.vkUpdateDescriptorSets(gpu.device, 1, [write], 0, None)
        layout = gpu.pipeline_layout([set_layout], 4)
        draw = graphics_pipeline(gpu, Drawing(), layout, target)
        fragment = """
layout(input_attachment_index = 0, set = 0, binding = 0) uniform subpassInput before;
layout(location = 0) in vec2 place;
layout(location = 0) out vec4 result;
void main() { result = vec4(1.0 - subpassLoad(before).rgb, place.x); }
"""
        strip = vk.VK_PRIMITIVE_TOPOLOGY_TRIANGLE_STRIP
        whole = Drawing(WHOLE_VERTEX, fragment, strip, has_vertices=False, subpass=1)
        invert = graphics_pipeline(gpu, whole, layout, target)
        buffer = self._vertex_buffer(TRIANGLE)

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.0)
            self._draw(commands, draw, buffer, 3)
            vk.vkCmdNextSubpass(commands, vk.VK_SUBPASS_CONTENTS_INLINE)
            vk.vkCmdBindPipeline(commands, GRAPHICS, invert)
            vk.vkCmdBindDescriptorSets(commands, GRAPHICS, layout, 0, 1, [descriptors], 0, None)
            vk.vkCmdDraw(commands, 4, 1, 0, 0)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={f"image{i}": gpu.read_image(image, SOURCE) for i, image in enumerate(images)})

    def dynamic_rendering(self) -> Outcome:
        """Without render passes, with barriers of synchronization2 and states that are set while recording."""
        gpu = self.gpu
        gpu.need(**gpu.features_13)
        image = gpu.image(WIDTH, HEIGHT, COLOR_USAGE)
        layout = gpu.pipeline_layout([], 4)
        chain = vk.VkPipelineRenderingCreateInfo(colorAttachmentCount=1, pColorAttachmentFormats=[RGBA8])
        states = [vk.VK_DYNAMIC_STATE_CULL_MODE, vk.VK_DYNAMIC_STATE_FRONT_FACE, vk.VK_DYNAMIC_STATE_PRIMITIVE_TOPOLOGY]
        pipeline = graphics_pipeline(gpu, Drawing(dynamic=states, chain=chain), layout, None)
        buffer = self._vertex_buffer(fan(9, 77))

        def barrier(commands: Handle, old: int, new: int) -> None:
            everything = vk.VK_ACCESS_2_MEMORY_READ_BIT | vk.VK_ACCESS_2_MEMORY_WRITE_BIT
            change = vk.VkImageMemoryBarrier2(
                srcStageMask=vk.VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
                srcAccessMask=everything,
                dstStageMask=vk.VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
                dstAccessMask=everything,
                oldLayout=old,
                newLayout=new,
                srcQueueFamilyIndex=IGNORED,
                dstQueueFamilyIndex=IGNORED,
                image=image.handle,
                subresourceRange=vk.VkImageSubresourceRange(image.aspect, 0, 1, 0, 1),
            )
            info = vk.VkDependencyInfo(imageMemoryBarrierCount=1, pImageMemoryBarriers=[change])
            vk.vkCmdPipelineBarrier2(commands, info)

        def record(commands: Handle) -> None:
            barrier(commands, UNDEFINED, COLOR_LAYOUT)
            color = vk.VkRenderingAttachmentInfo(
                imageView=image.view,
                imageLayout=COLOR_LAYOUT,
                loadOp=vk.VK_ATTACHMENT_LOAD_OP_CLEAR,
                storeOp=vk.VK_ATTACHMENT_STORE_OP_STORE,
                clearValue=clear_color(0.9, 0.8, 0.7, 0.6),
            )
            area = vk.VkRect2D(vk.VkOffset2D(0, 0), vk.VkExtent2D(WIDTH, HEIGHT))
            info = vk.VkRenderingInfo(renderArea=area, layerCount=1, colorAttachmentCount=1, pColorAttachments=[color])
            vk.vkCmdBeginRendering(commands, info)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.0)
            vk.vkCmdSetFrontFace(commands, vk.VK_FRONT_FACE_CLOCKWISE)
            vk.vkCmdSetPrimitiveTopology(commands, vk.VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST)
            vk.vkCmdBindPipeline(commands, GRAPHICS, pipeline)
            vk.vkCmdBindVertexBuffers2(commands, 0, 1, [buffer.handle], [0], None, None)
            for i, cull in enumerate((vk.VK_CULL_MODE_NONE, vk.VK_CULL_MODE_FRONT_BIT, vk.VK_CULL_MODE_BACK_BIT)):
                vk.vkCmdSetCullMode(commands, cull)
                vk.vkCmdDraw(commands, 9, 1, 9 * i, 0)
            clear = vk.VkClearAttachment(image.aspect, 0, clear_color(0, 1, 1, 1))
            corner = vk.VkClearRect(vk.VkRect2D(vk.VkOffset2D(10, 10), vk.VkExtent2D(13, 11)), 0, 1)
            vk.vkCmdClearAttachments(commands, 1, [clear], 1, [corner])
            vk.vkCmdEndRendering(commands)
            barrier(commands, COLOR_LAYOUT, SOURCE)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(image, SOURCE)})

    def imageless_framebuffer(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        image = target.images[0]
        about = vk.VkFramebufferAttachmentImageInfo(
            usage=COLOR_USAGE | vk.VK_IMAGE_USAGE_SAMPLED_BIT,
            width=WIDTH,
            height=HEIGHT,
            layerCount=1,
            viewFormatCount=1,
            pViewFormats=[RGBA8],
        )
        chain = vk.VkFramebufferAttachmentsCreateInfo(attachmentImageInfoCount=1, pAttachmentImageInfos=[about])
        features = vk.VkPhysicalDeviceVulkan12Features()
        query = vk.VkPhysicalDeviceFeatures2(pNext=features)
        vk.vkGetPhysicalDeviceFeatures2(gpu.physical, vk.ffi.addressof(query))
        gpu.need(imagelessFramebuffer=bool(features.imagelessFramebuffer) and gpu.features_12["imagelessFramebuffer"])
        info = vk.VkFramebufferCreateInfo(
            pNext=chain,
            flags=1,  # VK_FRAMEBUFFER_CREATE_IMAGELESS_BIT
            renderPass=target.render_pass,
            attachmentCount=1,
            width=WIDTH,
            height=HEIGHT,
            layers=1,
        )
        target.framebuffer = gpu.defer(vk.vkDestroyFramebuffer, vk.vkCreateFramebuffer(gpu.device, info, None))
        layout = gpu.pipeline_layout([], 4)
        pipeline = graphics_pipeline(gpu, Drawing(), layout, target)
        buffer = self._vertex_buffer(TRIANGLE)

        def record(commands: Handle) -> None:
            begin = vk.VkRenderPassBeginInfo(
                pNext=vk.VkRenderPassAttachmentBeginInfo(attachmentCount=1, pAttachments=[image.view]),
                renderPass=target.render_pass,
                framebuffer=target.framebuffer,
                renderArea=vk.VkRect2D(vk.VkOffset2D(0, 0), vk.VkExtent2D(WIDTH, HEIGHT)),
                clearValueCount=1,
                pClearValues=target.clears,
            )
            vk.vkCmdBeginRenderPass(commands, begin, vk.VK_SUBPASS_CONTENTS_INLINE)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.5)
            self._draw(commands, pipeline, buffer, 3)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(image, SOURCE)})

    def lines_and_points(self) -> Outcome:
        gpu = self.gpu
        target = make_target(gpu, WIDTH, HEIGHT)
        layout = gpu.pipeline_layout([], 4)
        circle = [(0.9 * math.cos(i / 5), 0.9 * math.sin(i / 5), i / 40, 1 - i / 40, 0.5, 1) for i in range(40)]
        buffer = self._vertex_buffer(vertices(*circle))
        line = vk.VK_PRIMITIVE_TOPOLOGY_LINE_STRIP
        pipelines = [
            graphics_pipeline(gpu, Drawing(topology=line), layout, target),
            graphics_pipeline(gpu, Drawing(polygon_mode=vk.VK_POLYGON_MODE_LINE), layout, target),
        ]

        def record(commands: Handle) -> None:
            target.begin(commands)
            set_view(commands, WIDTH, HEIGHT)
            push_depth(commands, layout, 0.0)
            for pipeline in pipelines:
                self._draw(commands, pipeline, buffer, 39)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return Outcome(raw={"pixels": gpu.read_image(target.images[0], SOURCE)})


if __name__ == "__main__":
    DrawingCases.main()
