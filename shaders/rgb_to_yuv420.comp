#version 450
// SPDX-License-Identifier: Apache-2.0
// 32-bit RGB to I420 or NV12. One invocation makes 8 x 2 luma samples, 4 x 1 chroma samples, in whole 32-bit words.
#extension GL_GOOGLE_include_directive : require
#include "color.glsl"

layout(local_size_x = 16, local_size_y = 8) in;
layout(constant_id = 0) const bool NV12 = false;

layout(set = 0, binding = 0, std430) readonly buffer Source { uint pixels[]; };
layout(set = 0, binding = 1, std430) writeonly buffer Planes { uint words[]; };

layout(push_constant) uniform Push {
	uvec2 size;          // pixels of the source that are shown
	uvec2 origin;        // first luma sample of the rectangle, x a multiple of 8, y of 2
	uvec2 extent;        // samples of the rectangle
	uint source_offset;  // words
	uint source_stride;  // words
	uint luma_stride;    // words
	uint chroma_offset;  // words from the slot's begin
	uint second_offset;  // I420: the V plane
	uint shifts;         // bit positions of red | green << 8 | blue << 16
};

vec3 rgb(uvec2 at) {
	uvec2 inside = min(at, size - 1u); // the edge is repeated where the picture is odd
	uint pixel = pixels[source_offset + inside.y * source_stride + inside.x];
	return vec3((pixel >> (shifts & 31u)) & 255u, (pixel >> ((shifts >> 8) & 31u)) & 255u, (pixel >> ((shifts >> 16) & 31u)) & 255u);
}

void main() {
	uvec2 at = origin + gl_GlobalInvocationID.xy * uvec2(8, 2);
	if (any(greaterThanEqual(at, origin + extent))) {
		return;
	}
	uint first[2] = uint[](0u, 0u), second[2] = uint[](0u, 0u), u = 0u, v = 0u;
	uint both[2] = uint[](0u, 0u);
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
	uint row = at.y * luma_stride + at.x / 4u;
	words[row] = first[0];
	words[row + 1u] = first[1];
	words[row + luma_stride] = second[0];
	words[row + luma_stride + 1u] = second[1];
	if (NV12) {
		uint to = chroma_offset + (at.y / 2u) * luma_stride + at.x / 4u;
		words[to] = both[0];
		words[to + 1u] = both[1];
	} else {
		uint to = (at.y / 2u) * (luma_stride / 2u) + at.x / 8u;
		words[chroma_offset + to] = u;
		words[second_offset + to] = v;
	}
}
