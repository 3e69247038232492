# SPDX-License-Identifier: Apache-2.0
"""Render passes, framebuffers and graphics pipelines with defaults, for cases that draw into images."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import vulkan as vk

from tests.support.guest_programs.venus.gpu import Gpu, Handle, Image

RGBA8 = vk.VK_FORMAT_R8G8B8A8_UNORM
DEPTH = vk.VK_FORMAT_D32_SFLOAT
COLOR_LAYOUT = vk.VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL
DEPTH_LAYOUT = vk.VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL
SOURCE = vk.VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL
TARGET = vk.VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL
READ_ONLY = vk.VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL
UNDEFINED = vk.VK_IMAGE_LAYOUT_UNDEFINED
COLOR_USAGE = vk.VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT

# Vertices of two floats of position and four of colour; the depth is pushed.
VERTEX = """
layout(location = 0) in vec2 position;
layout(location = 1) in vec4 tint;
layout(push_constant) uniform Push { float depth; };
layout(location = 0) out vec4 color;
void main() { gl_Position = vec4(position, depth, 1.0); color = tint; }
"""
FRAGMENT = """
layout(location = 0) in vec4 color;
layout(location = 0) out vec4 result;
void main() { result = color; }
"""
# Two triangles over everything, without vertices; `place` goes from 0 to 1.
WHOLE_VERTEX = """
layout(location = 0) out vec2 place;
void main() {
	place = vec2(gl_VertexIndex & 1, gl_VertexIndex >> 1);
	gl_Position = vec4(place * 2.0 - 1.0, 0.0, 1.0);
}
"""


def vertices(*rows: Sequence[float]) -> bytes:
    """Pack vertices for VERTEX."""
    return b"".join(struct.pack("<6f", *row) for row in rows)


@dataclass
class Target:
    """What is drawn into: images, a render pass that clears and stores them, a framebuffer."""

    images: list[Image]
    render_pass: Handle
    framebuffer: Handle
    width: int
    height: int
    clears: list[Any] = field(default_factory=list)

    def begin(self, commands: Handle, contents: int = vk.VK_SUBPASS_CONTENTS_INLINE) -> None:
        info = vk.VkRenderPassBeginInfo(
            renderPass=self.render_pass,
            framebuffer=self.framebuffer,
            renderArea=vk.VkRect2D(vk.VkOffset2D(0, 0), vk.VkExtent2D(self.width, self.height)),
            clearValueCount=len(self.clears),
            pClearValues=self.clears,
        )
        vk.vkCmdBeginRenderPass(commands, info, contents)


def clear_color(*values: float) -> Any:
    return vk.VkClearValue(color=vk.VkClearColorValue(float32=list(values)))


def clear_depth(value: float) -> Any:
    return vk.VkClearValue(depthStencil=vk.VkClearDepthStencilValue(value, 0))


def attachment(image_format: int, samples: int, layout: int, final: int) -> Any:
    """An attachment that is cleared and stored."""
    return vk.VkAttachmentDescription(
        format=image_format,
        samples=samples,
        loadOp=vk.VK_ATTACHMENT_LOAD_OP_CLEAR,
        storeOp=vk.VK_ATTACHMENT_STORE_OP_STORE,
        stencilLoadOp=vk.VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        stencilStoreOp=vk.VK_ATTACHMENT_STORE_OP_DONT_CARE,
        initialLayout=UNDEFINED,
        finalLayout=final,
    )


def make_target(
    gpu: Gpu,
    width: int,
    height: int,
    *,
    formats: Sequence[int] = (RGBA8,),
    depth: bool = False,
    samples: int = 1,
) -> Target:
    """Colour images of these formats, a depth image and, with several samples, a resolved image for each colour.

    Images are in order: colours, depth, resolved. Colours of one sample and resolved ones end ready to be copied.
    """
    images, descriptions, clears = [], [], []
    usage = COLOR_USAGE | vk.VK_IMAGE_USAGE_SAMPLED_BIT
    for image_format in formats:
        images.append(gpu.image(width, height, usage, image_format=image_format, samples=samples))
        descriptions.append(attachment(image_format, samples, COLOR_LAYOUT, SOURCE if samples == 1 else COLOR_LAYOUT))
        clears.append(clear_color(0.2, 0.4, 0.6, 1.0))
    colors = [vk.VkAttachmentReference(i, COLOR_LAYOUT) for i in range(len(formats))]
    depth_reference, resolves = None, []
    if depth:
        depth_reference = vk.VkAttachmentReference(len(images), DEPTH_LAYOUT)
        usage = vk.VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT | vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT
        aspect = vk.VK_IMAGE_ASPECT_DEPTH_BIT
        images.append(gpu.image(width, height, usage, image_format=DEPTH, samples=samples, aspect=aspect))
        descriptions.append(attachment(DEPTH, samples, DEPTH_LAYOUT, SOURCE if samples == 1 else DEPTH_LAYOUT))
        clears.append(clear_depth(1.0))
    if samples > 1:
        for image_format in formats:
            resolves.append(vk.VkAttachmentReference(len(images), COLOR_LAYOUT))
            images.append(gpu.image(width, height, COLOR_USAGE, image_format=image_format))
            descriptions.append(attachment(image_format, 1, COLOR_LAYOUT, SOURCE))
            clears.append(clear_color(0, 0, 0, 0))
    subpass = vk.VkSubpassDescription(
        pipelineBindPoint=vk.VK_PIPELINE_BIND_POINT_GRAPHICS,
        colorAttachmentCount=len(colors),
        pColorAttachments=colors,
        pResolveAttachments=resolves or None,
        pDepthStencilAttachment=[depth_reference] if depth_reference else None,
    )
    info = vk.VkRenderPassCreateInfo(
        attachmentCount=len(descriptions), pAttachments=descriptions, subpassCount=1, pSubpasses=[subpass]
    )
    render_pass = gpu.defer(vk.vkDestroyRenderPass, vk.vkCreateRenderPass(gpu.device, info, None))
    return Target(images, render_pass, make_framebuffer(gpu, render_pass, images), width, height, clears)


def make_framebuffer(gpu: Gpu, render_pass: Handle, images: Sequence[Image]) -> Handle:
    info = vk.VkFramebufferCreateInfo(
        renderPass=render_pass,
        attachmentCount=len(images),
        pAttachments=[image.view for image in images],
        width=images[0].width,
        height=images[0].height,
        layers=1,
    )
    return gpu.defer(vk.vkDestroyFramebuffer, vk.vkCreateFramebuffer(gpu.device, info, None))


def blend(source: int = 0, target: int = 0, operation: int = 0, *, on: bool = False) -> Any:
    """One attachment's blending; alpha as colour."""
    return vk.VkPipelineColorBlendAttachmentState(
        blendEnable=on,
        srcColorBlendFactor=source,
        dstColorBlendFactor=target,
        colorBlendOp=operation,
        srcAlphaBlendFactor=source,
        dstAlphaBlendFactor=target,
        alphaBlendOp=operation,
        colorWriteMask=15,
    )


@dataclass
class Drawing:
    """What of a graphics pipeline differs between cases."""

    vertex: str = VERTEX
    fragment: str = FRAGMENT
    topology: int = vk.VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST
    has_vertices: bool = True
    samples: int = 1
    depth: int | None = None  # the compare operation; None: no test
    blends: Sequence[Any] = ()
    polygon_mode: int = vk.VK_POLYGON_MODE_FILL
    cull: int = vk.VK_CULL_MODE_NONE
    subpass: int = 0
    dynamic: Sequence[int] = ()
    chain: Any = None  # for dynamic rendering, without a render pass


def graphics_pipeline(
    gpu: Gpu, drawing: Drawing, layout: Handle, target: Target | None, cache: Handle = None
) -> Handle:
    """A pipeline; viewport and scissor are always dynamic."""
    stages = [
        vk.VkPipelineShaderStageCreateInfo(stage=stage, module=gpu.module(name, source), pName="main")
        for stage, name, source in (
            (vk.VK_SHADER_STAGE_VERTEX_BIT, "vert", drawing.vertex),
            (vk.VK_SHADER_STAGE_FRAGMENT_BIT, "frag", drawing.fragment),
        )
    ]
    bindings = [vk.VkVertexInputBindingDescription(0, 24, vk.VK_VERTEX_INPUT_RATE_VERTEX)]
    attributes = [
        vk.VkVertexInputAttributeDescription(0, 0, vk.VK_FORMAT_R32G32_SFLOAT, 0),
        vk.VkVertexInputAttributeDescription(1, 0, vk.VK_FORMAT_R32G32B32A32_SFLOAT, 8),
    ]
    if not drawing.has_vertices:
        bindings, attributes = [], []
    dynamic = [vk.VK_DYNAMIC_STATE_VIEWPORT, vk.VK_DYNAMIC_STATE_SCISSOR, *drawing.dynamic]
    blends = list(drawing.blends) or [blend()]
    info = vk.VkGraphicsPipelineCreateInfo(
        pNext=drawing.chain,
        stageCount=2,
        pStages=stages,
        pVertexInputState=vk.VkPipelineVertexInputStateCreateInfo(
            vertexBindingDescriptionCount=len(bindings),
            pVertexBindingDescriptions=bindings,
            vertexAttributeDescriptionCount=len(attributes),
            pVertexAttributeDescriptions=attributes,
        ),
        pInputAssemblyState=vk.VkPipelineInputAssemblyStateCreateInfo(topology=drawing.topology),
        pViewportState=vk.VkPipelineViewportStateCreateInfo(viewportCount=1, scissorCount=1),
        pRasterizationState=vk.VkPipelineRasterizationStateCreateInfo(
            polygonMode=drawing.polygon_mode,
            cullMode=drawing.cull,
            frontFace=vk.VK_FRONT_FACE_CLOCKWISE,
            lineWidth=1.0,
        ),
        pMultisampleState=vk.VkPipelineMultisampleStateCreateInfo(
            rasterizationSamples=drawing.samples, sampleShadingEnable=False, minSampleShading=0.0
        ),
        pDepthStencilState=vk.VkPipelineDepthStencilStateCreateInfo(
            depthTestEnable=drawing.depth is not None,
            depthWriteEnable=drawing.depth is not None,
            depthCompareOp=drawing.depth or 0,
        ),
        pColorBlendState=vk.VkPipelineColorBlendStateCreateInfo(
            attachmentCount=len(blends), pAttachments=blends, blendConstants=[0.5, 0.25, 0.75, 0.5]
        ),
        pDynamicState=vk.VkPipelineDynamicStateCreateInfo(dynamicStateCount=len(dynamic), pDynamicStates=dynamic),
        layout=layout,
        renderPass=target.render_pass if target else None,
        subpass=drawing.subpass,
        basePipelineIndex=-1,
    )
    made = vk.vkCreateGraphicsPipelines(gpu.device, cache, 1, [info], None)
    return gpu.defer(vk.vkDestroyPipeline, made[0])


def set_view(commands: Handle, width: int, height: int, x: int = 0, y: int = 0) -> None:
    """Set viewport and scissor."""
    vk.vkCmdSetViewport(commands, 0, 1, [vk.VkViewport(x, y, width, height, 0.0, 1.0)])
    vk.vkCmdSetScissor(commands, 0, 1, [vk.VkRect2D(vk.VkOffset2D(x, y), vk.VkExtent2D(width, height))])


def push_depth(commands: Handle, layout: Handle, depth: float) -> None:
    """Push VERTEX's depth."""
    pushed = vk.ffi.new("float[1]", [depth])
    vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, pushed)
