#version 450
// SPDX-License-Identifier: Apache-2.0
// 32-bit RGB to I420 or NV12. One invocation makes 8 x 2 luma samples and 4 x 1 chroma samples, and stores each row at once, so that 32
// neighbours fill whole lines: over PCIe that is what decides (docs/decisions/0002-convert-path.md).
#extension GL_GOOGLE_include_directive : require
#include "color.glsl"

layout(local_size_x = 32, local_size_y = 4) in;
layout(constant_id = 0) const bool NV12 = false;
layout(constant_id = 1) const uint DIVISOR = 1; // a sample covers DIVISOR x DIVISOR pixels and is their mean

layout(set = 0, binding = 0, std430) readonly buffer Source { uint pixels[]; };
// One slot, seen in units of 8 and of 4 bytes.
layout(set = 0, binding = 1, std430) writeonly buffer Planes8 { uvec2 pairs[]; };
layout(set = 0, binding = 1, std430) writeonly buffer Planes4 { uint words[]; };

layout(push_constant) uniform Push {
	uvec2 size;          // pixels of the source that are shown
	uvec2 origin;        // first luma sample of the rectangle, x a multiple of 8, y of 2
	uvec2 extent;        // samples of the rectangle
	uint source_offset;  // words
	uint source_stride;  // words
	uint luma_stride;    // bytes, a multiple of 64
	uint chroma_offset;  // bytes from the slot's begin, a multiple of 8
	uint second_offset;  // bytes, a multiple of 4: I420's V plane
	uint shifts;         // bit positions of red | green << 8 | blue << 16
};

vec3 pixel_at(uvec2 at) {
	uvec2 inside = min(at, size - 1u); // the edge is repeated where the picture is odd
	uint pixel = pixels[source_offset + inside.y * source_stride + inside.x];
	return vec3((pixel >> (shifts & 31u)) & 255u, (pixel >> ((shifts >> 8) & 31u)) & 255u, (pixel >> ((shifts >> 16) & 31u)) & 255u);
}

vec3 rgb(uvec2 at) {
	if (DIVISOR == 1u) {
		return pixel_at(at);
	}
	vec3 sum = vec3(0.0);
	for (uint y = 0u; y < DIVISOR; y++) {
		for (uint x = 0u; x < DIVISOR; x++) {
			sum += pixel_at(at * DIVISOR + uvec2(x, y));
		}
	}
	return sum / float(DIVISOR * DIVISOR);
}

void main() {
	uvec2 at = origin + gl_GlobalInvocationID.xy * uvec2(8, 2);
	if (any(greaterThanEqual(at, origin + extent))) {
		return;
	}
	uvec2 first = uvec2(0), second = uvec2(0), both = uvec2(0);
	uint u = 0u, v = 0u;
	for (uint i = 0u; i < 4u; i++) {
		uvec2 block = at + uvec2(2u * i, 0u);
		vec3 a = rgb(block), b = rgb(block + uvec2(1, 0)), c = rgb(block + uvec2(0, 1)), d = rgb(block + uvec2(1, 1));
		uint shift = 16u * (i & 1u);
		first[i >> 1] |= (uint(luma(a) + 0.5) | uint(luma(b) + 0.5) << 8) << shift;
		second[i >> 1] |= (uint(luma(c) + 0.5) | uint(luma(d) + 0.5) << 8) << shift;
		uvec2 uv = uvec2(chroma((a + b + c + d) * 0.25) + 0.5);
		u |= uv.x << (8u * i);
		v |= uv.y << (8u * i);
		both[i >> 1] |= (uv.x | uv.y << 8) << shift;
	}
	uint row = at.y * luma_stride + at.x;
	pairs[row / 8u] = first;
	pairs[(row + luma_stride) / 8u] = second;
	if (NV12) {
		pairs[(chroma_offset + (at.y / 2u) * luma_stride + at.x) / 8u] = both;
	} else {
		uint to = (at.y / 2u) * (luma_stride / 2u) + at.x / 2u;
		words[(chroma_offset + to) / 4u] = u;
		words[(second_offset + to) / 4u] = v;
	}
}
