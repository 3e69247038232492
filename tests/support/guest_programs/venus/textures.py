# SPDX-License-Identifier: Apache-2.0
"""Images that are copied, blitted, cleared, sampled and written by shaders."""

from __future__ import annotations

import numpy as np
import vulkan as vk

from tests.support.guest_programs.venus.cases import Outcome
from tests.support.guest_programs.venus.gpu import COPY, HOST, Gpu, Handle, Image
from tests.support.guest_programs.venus.graphics import (
    READ_ONLY,
    RGBA8,
    SOURCE,
    TARGET,
    UNDEFINED,
    WHOLE_VERTEX,
    Drawing,
    graphics_pipeline,
    make_target,
    set_view,
)
from tests.support.guest_programs.venus.suite import Suite

COLOR = vk.VK_IMAGE_ASPECT_COLOR_BIT
TEXTURE_USAGE = vk.VK_IMAGE_USAGE_SAMPLED_BIT | vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT | vk.VK_IMAGE_USAGE_TRANSFER_DST_BIT
SAMPLE = """
layout(location = 0) in vec2 place;
layout(location = 0) out vec4 result;
layout(set = 0, binding = 0) uniform sampler2D picture;
layout(push_constant) uniform Push { float lod; };
void main() { result = textureLod(picture, place * 1.5 - 0.25, lod); }
"""
GRADIENT = """
layout(location = 0) in vec2 place;
layout(location = 0) out vec4 result;
layout(set = 0, binding = 0) uniform sampler2D picture;
void main() { result = texture(picture, place * (1.0 + 20.0 * place.y)); }
"""


def picture(width: int, height: int, seed: int) -> bytes:
    """Noise on a gradient."""
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 4), np.uint8)
    noise[..., 0] += (np.arange(width) * 190 // width).astype(np.uint8)
    noise[..., 1] += (np.arange(height) * 190 // height).astype(np.uint8)[:, None]
    return noise.tobytes()


def layers(level: int) -> object:
    return vk.VkImageSubresourceLayers(COLOR, level, 0, 1)


def upload(gpu: Gpu, image: Image, data: bytes) -> None:
    """Fill level 0 and leave all levels as a transfer's target."""
    with gpu.scope():
        buffer = gpu.buffer(len(data), COPY, HOST, data)
        region = vk.VkBufferImageCopy(
            imageSubresource=layers(0), imageExtent=vk.VkExtent3D(image.width, image.height, 1)
        )

        def record(commands: Handle) -> None:
            gpu.to_layout(commands, image, UNDEFINED, TARGET)
            vk.vkCmdCopyBufferToImage(commands, buffer.handle, image.handle, TARGET, 1, [region])

        gpu.run(record)


def corners(image: Image, level: int) -> list[object]:
    return [
        vk.VkOffset3D(0, 0, 0),
        vk.VkOffset3D(max(1, image.width >> level), max(1, image.height >> level), 1),
    ]


class Textures(Suite):
    """The cases; all on one device."""

    def _mipmapped(self, width: int, height: int) -> Image:
        """A texture whose levels are made by blits; ready to be sampled."""
        gpu = self.gpu
        levels = max(width, height).bit_length()
        image = gpu.image(width, height, TEXTURE_USAGE, levels=levels)
        upload(gpu, image, picture(width, height, 5))

        def record(commands: Handle) -> None:
            for level in range(1, levels):
                gpu.to_layout(commands, image, TARGET, SOURCE, level - 1, 1)
                blit = vk.VkImageBlit(
                    srcSubresource=layers(level - 1),
                    srcOffsets=corners(image, level - 1),
                    dstSubresource=layers(level),
                    dstOffsets=corners(image, level),
                )
                linear = vk.VK_FILTER_LINEAR
                vk.vkCmdBlitImage(commands, image.handle, SOURCE, image.handle, TARGET, 1, [blit], linear)
            gpu.to_layout(commands, image, TARGET, SOURCE, levels - 1, 1)
            gpu.to_layout(commands, image, SOURCE, READ_ONLY)

        gpu.run(record)
        return image

    def _sampler(self, linear: bool, mode: int, anisotropy: float = 0.0) -> Handle:
        each = vk.VK_FILTER_LINEAR if linear else vk.VK_FILTER_NEAREST
        info = vk.VkSamplerCreateInfo(
            magFilter=each,
            minFilter=each,
            mipmapMode=vk.VK_SAMPLER_MIPMAP_MODE_LINEAR if linear else vk.VK_SAMPLER_MIPMAP_MODE_NEAREST,
            addressModeU=mode,
            addressModeV=mode,
            addressModeW=mode,
            anisotropyEnable=anisotropy > 1,
            maxAnisotropy=anisotropy,
            maxLod=100.0,
            borderColor=vk.VK_BORDER_COLOR_FLOAT_OPAQUE_WHITE,
        )
        return self.gpu.defer(vk.vkDestroySampler, vk.vkCreateSampler(self.gpu.device, info, None))

    def _draw_sampled(self, fragment: str, image: Image, samplers: list[Handle], lods: list[float]) -> bytes:
        """Draw all of a picture with each sampler, in stripes."""
        gpu = self.gpu
        size = 160
        target = make_target(gpu, size, size)
        types = [vk.VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER]
        set_layout = gpu.set_layout(types)
        layout = gpu.pipeline_layout([set_layout], 4)
        sets = gpu.descriptor_sets(gpu.descriptor_pool(len(samplers), types), [set_layout] * len(samplers))
        writes = [
            vk.VkWriteDescriptorSet(
                dstSet=each,
                dstBinding=0,
                descriptorCount=1,
                descriptorType=types[0],
                pImageInfo=[vk.VkDescriptorImageInfo(sampler, image.view, READ_ONLY)],
            )
            for each, sampler in zip(sets, samplers, strict=True)
        ]
        vk.vkUpdateDescriptorSets(gpu.device, len(writes), writes, 0, None)
        strip = vk.VK_PRIMITIVE_TOPOLOGY_TRIANGLE_STRIP
        pipeline = graphics_pipeline(gpu, Drawing(WHOLE_VERTEX, fragment, strip, False), layout, target)

        def record(commands: Handle) -> None:
            target.begin(commands)
            vk.vkCmdBindPipeline(commands, vk.VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline)
            for i, (each, lod) in enumerate(zip(sets, lods, strict=True)):
                set_view(commands, size // len(sets), size, i * (size // len(sets)))
                bind_point = vk.VK_PIPELINE_BIND_POINT_GRAPHICS
                vk.vkCmdBindDescriptorSets(commands, bind_point, layout, 0, 1, [each], 0, None)
                pushed = vk.ffi.new("float[1]", [lod])
                vk.vkCmdPushConstants(commands, layout, vk.VK_SHADER_STAGE_ALL, 0, 4, pushed)
                vk.vkCmdDraw(commands, 4, 1, 0, 0)
            vk.vkCmdEndRenderPass(commands)

        gpu.run(record)
        return gpu.read_image(target.images[0], SOURCE)

    def mipmaps_by_blits(self) -> Outcome:
        image = self._mipmapped(130, 67)
        raw = {f"level{level}": self.gpu.read_image(image, READ_ONLY, level) for level in range(image.levels)}
        assert raw["level0"] == picture(130, 67, 5)
        return Outcome(raw=raw)

    def samplers(self) -> Outcome:
        image = self._mipmapped(64, 64)
        modes = (
            vk.VK_SAMPLER_ADDRESS_MODE_REPEAT,
            vk.VK_SAMPLER_ADDRESS_MODE_MIRRORED_REPEAT,
            vk.VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
            vk.VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_BORDER,
        )
        samplers = [self._sampler(linear, mode) for linear in (False, True) for mode in modes]
        lods = [0.0, 1.0, 2.5, 0.3, 0.0, 1.0, 2.5, 0.3]
        return Outcome(raw={"pixels": self._draw_sampled(SAMPLE, image, samplers, lods)})

    def anisotropy(self) -> Outcome:
        self.gpu.need(samplerAnisotropy=bool(self.gpu.features.samplerAnisotropy))
        image = self._mipmapped(64, 64)
        samplers = [self._sampler(True, vk.VK_SAMPLER_ADDRESS_MODE_REPEAT, each) for each in (0.0, 4.0)]
        return Outcome(raw={"pixels": self._draw_sampled(GRADIENT, image, samplers, [0.0, 0.0])})

    def copies_and_clears(self) -> Outcome:
        gpu = self.gpu
        first, second = (gpu.image(90, 70, TEXTURE_USAGE) for _ in range(2))
        upload(gpu, first, picture(90, 70, 1))
        upload(gpu, second, picture(90, 70, 2))
        parts = [
            vk.VkImageCopy(
                layers(0), vk.VkOffset3D(x, y, 0), layers(0), vk.VkOffset3D(y, x, 0), vk.VkExtent3D(17, 9, 1)
            )
            for x, y in ((3, 5), (40, 33), (61, 50))
        ]
        whole = vk.VkImageSubresourceRange(COLOR, 0, 1, 0, 1)
        cleared = gpu.image(31, 29, TEXTURE_USAGE)
        flip = vk.VkImageBlit(
            srcSubresource=layers(0),
            srcOffsets=[vk.VkOffset3D(90, 0, 0), vk.VkOffset3D(0, 70, 1)],
            dstSubresource=layers(0),
            dstOffsets=[vk.VkOffset3D(2, 3, 0), vk.VkOffset3D(20, 25, 1)],
        )

        def record(commands: Handle) -> None:
            gpu.to_layout(commands, first, TARGET, SOURCE)
            vk.vkCmdCopyImage(commands, first.handle, SOURCE, second.handle, TARGET, len(parts), parts)
            gpu.to_layout(commands, second, TARGET, SOURCE)
            gpu.to_layout(commands, cleared, UNDEFINED, TARGET)
            color = vk.VkClearColorValue(float32=[0.2, 0.4, 0.6, 0.8])
            vk.vkCmdClearColorImage(commands, cleared.handle, TARGET, color, 1, [whole])
            gpu.to_layout(commands, cleared, TARGET, TARGET)
            nearest = vk.VK_FILTER_NEAREST
            vk.vkCmdBlitImage(commands, second.handle, SOURCE, cleared.handle, TARGET, 1, [flip], nearest)
            gpu.to_layout(commands, cleared, TARGET, SOURCE)

        gpu.run(record)
        expected = np.frombuffer(picture(90, 70, 2), np.uint8).reshape(70, 90, 4).copy()
        given = np.frombuffer(picture(90, 70, 1), np.uint8).reshape(70, 90, 4)
        for x, y in ((3, 5), (40, 33), (61, 50)):
            expected[x : x + 9, y : y + 17] = given[y : y + 9, x : x + 17]
        found = gpu.read_image(second, SOURCE)
        assert found == expected.tobytes()
        return Outcome(raw={"copied": found, "cleared": gpu.read_image(cleared, SOURCE)})

    def storage_images(self) -> Outcome:
        gpu = self.gpu
        general = vk.VK_IMAGE_LAYOUT_GENERAL
        usage = vk.VK_IMAGE_USAGE_STORAGE_BIT | TEXTURE_USAGE
        image = gpu.image(67, 45, usage, image_format=vk.VK_FORMAT_R32_UINT)
        types = [vk.VK_DESCRIPTOR_TYPE_STORAGE_IMAGE]
        set_layout = gpu.set_layout(types)
        layout = gpu.pipeline_layout([set_layout])
        target = gpu.descriptor_sets(gpu.descriptor_pool(1, types), [set_layout])[0]
        write = vk.VkWriteDescriptorSet(
            dstSet=target,
            dstBinding=0,
            descriptorCount=1,
            descriptorType=types[0],
            pImageInfo=[vk.VkDescriptorImageInfo(None, image.view, general)],
        )
        vk.vkUpdateDescriptorSets(gpu.device, 1, [write], 0, None)
        source = """
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0, r32ui) uniform uimage2D target;
void main() {
	ivec2 at = ivec2(gl_GlobalInvocationID.xy);
	if (all(lessThan(at, imageSize(target)))) {
		imageStore(target, at, uvec4(at.x * 1000 + at.y));
		imageAtomicAdd(target, ivec2(0, 0), 1);
	}
}
"""
        pipeline = gpu.compute_pipeline(source, layout)

        def record(commands: Handle) -> None:
            gpu.to_layout(commands, image, UNDEFINED, general)
            point = vk.VK_PIPELINE_BIND_POINT_COMPUTE
            vk.vkCmdBindPipeline(commands, point, pipeline)
            vk.vkCmdBindDescriptorSets(commands, point, layout, 0, 1, [target], 0, None)
            vk.vkCmdDispatch(commands, 9, 6, 1)

        gpu.run(record)
        found = np.frombuffer(gpu.read_image(image, general), np.uint32).reshape(45, 67).copy()
        found[0, 0] = 0  # whether its store comes before or after the others' additions is open
        assert (found == np.arange(67) * 1000 + np.arange(45)[:, None]).all()
        return Outcome(raw={"values": found.tobytes()})

    def linear_images_in_mapped_memory(self) -> Outcome:
        """An image that the host reads in place, by the layout that the driver says."""
        gpu = self.gpu
        info = vk.VkImageCreateInfo(
            imageType=vk.VK_IMAGE_TYPE_2D,
            format=RGBA8,
            extent=vk.VkExtent3D(53, 21, 1),
            mipLevels=1,
            arrayLayers=1,
            samples=1,
            tiling=vk.VK_IMAGE_TILING_LINEAR,
            usage=vk.VK_IMAGE_USAGE_TRANSFER_DST_BIT,
            initialLayout=UNDEFINED,
        )
        handle = gpu.defer(vk.vkDestroyImage, vk.vkCreateImage(gpu.device, info, None))
        needs = vk.vkGetImageMemoryRequirements(gpu.device, handle)
        memory = gpu.allocate(needs.size, gpu.memory_type(needs.memoryTypeBits, HOST))
        vk.vkBindImageMemory(gpu.device, handle, memory, 0)
        image = Image(handle, memory, None, 53, 21, 1, COLOR)
        upload(gpu, image, picture(53, 21, 9))
        place = vk.vkGetImageSubresourceLayout(gpu.device, handle, [vk.VkImageSubresource(COLOR, 0, 0)])
        mapped = np.frombuffer(vk.vkMapMemory(gpu.device, memory, 0, needs.size, 0), np.uint8)
        rows = [mapped[place.offset + y * place.rowPitch :][: 53 * 4].tobytes() for y in range(21)]
        assert b"".join(rows) == picture(53, 21, 9)
        return Outcome({"size": needs.size, "offset": place.offset, "pitch": place.rowPitch})

    def requirements_and_formats(self) -> Outcome:
        """What the driver says about images and formats, asked in several ways."""
        gpu = self.gpu
        values: dict[str, object] = {}
        for name in ("RGBA8", "BC1", "D32"):
            each = {"RGBA8": RGBA8, "BC1": vk.VK_FORMAT_BC1_RGBA_UNORM_BLOCK, "D32": vk.VK_FORMAT_D32_SFLOAT}[name]
            found = vk.vkGetPhysicalDeviceFormatProperties(gpu.physical, each)
            values[name] = [found.linearTilingFeatures, found.optimalTilingFeatures, found.bufferFeatures]
        for width, height, levels in ((1, 1, 1), (1000, 3, 4), (256, 256, 9)):
            image = gpu.image(width, height, TEXTURE_USAGE, levels=levels)
            needs = vk.vkGetImageMemoryRequirements(gpu.device, image.handle)
            values[f"{width}x{height}"] = [needs.size, needs.alignment]
        return Outcome(values)  # type: ignore[arg-type]


if __name__ == "__main__":
    Textures.main()
