# SPDX-License-Identifier: Apache-2.0
"""WebGPU (wgpu-native by wgpu-py) on the guest's Vulkan: its own helpers and pipelines, results compared."""

from __future__ import annotations

import os
import sys

import numpy as np

from tests.support.guest_programs.venus.cases import Outcome, run

os.environ["WGPU_BACKEND_TYPE"] = "Vulkan"  # read at import

import wgpu
from wgpu.utils.compute import compute_with_buffers

SIZE = 192
COMPUTE = """
@group(0) @binding(0) var<storage, read> given: array<u32>;
@group(0) @binding(1) var<storage, read_write> made: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
	var x = given[at.x];
	for (var i = 0u; i < 50u; i++) { x = x * 1664525u + 1013904223u; }
	made[at.x] = x;
}
"""
DRAW = """
struct Out { @builtin(position) position: vec4<f32>, @location(0) color: vec4<f32> };
@group(0) @binding(0) var<uniform> turn: vec4<f32>;
@group(0) @binding(1) var picture: texture_2d<f32>;
@group(0) @binding(2) var taken: sampler;
@vertex fn vertex(@builtin(vertex_index) v: u32, @builtin(instance_index) i: u32) -> Out {
	let angle = f32(i) * 0.7 + f32(v) * 2.1 + turn.x;
	let center = vec2(sin(f32(i) * 1.3), cos(f32(i) * 2.7)) * 0.7;
	var out: Out;
	out.position = vec4(center + vec2(sin(angle), cos(angle)) * 0.3, fract(f32(i) * 0.37), 1.0);
	out.color = vec4(f32(v) * 0.5, f32(i) / 60.0, 0.5, 1.0);
	return out;
}
@fragment fn fragment(in: Out) -> @location(0) vec4<f32> {
	return in.color * textureSample(picture, taken, in.position.xy / 64.0);
}
"""


def _device() -> wgpu.GPUDevice:
    return wgpu.gpu.request_adapter_sync().request_device_sync()


def compute() -> Outcome:
    given = np.random.default_rng(3).integers(0, 2**32, 64 * 100, np.uint32)
    made = compute_with_buffers({0: given}, {1: (given.size, "I")}, COMPUTE, n=100)[1]
    expected = given.copy()
    for _ in range(50):
        expected = expected * np.uint32(1664525) + np.uint32(1013904223)
    assert bytes(made) == expected.tobytes()
    return Outcome(raw={"values": bytes(made)})


def drawing() -> Outcome:
    """Sixty textured triangles with depth and four samples a pixel, resolved and read back."""
    device = _device()
    usage = wgpu.TextureUsage
    rgba, depth_format = wgpu.TextureFormat.rgba8unorm, wgpu.TextureFormat.depth24plus

    def texture(flags: int, image_format: str, samples: int = 1, size: int = SIZE) -> wgpu.GPUTexture:
        return device.create_texture(size=(size, size, 1), format=image_format, sample_count=samples, usage=flags)

    drawn, depth = (texture(usage.RENDER_ATTACHMENT, each, 4) for each in (rgba, depth_format))
    resolved = texture(usage.RENDER_ATTACHMENT | usage.COPY_SRC, rgba)
    picture = texture(usage.TEXTURE_BINDING | usage.COPY_DST, rgba, 1, 32)
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 4), np.uint8)
    device.queue.write_texture({"texture": picture}, noise, {"bytes_per_row": 128}, (32, 32, 1))
    uniform = device.create_buffer_with_data(data=np.array([0.3, 0, 0, 0], np.float32), usage=wgpu.BufferUsage.UNIFORM)
    shader = device.create_shader_module(code=DRAW)
    pipeline = device.create_render_pipeline(
        layout="auto",
        vertex={"module": shader, "entry_point": "vertex"},
        primitive={"topology": wgpu.PrimitiveTopology.triangle_list},
        depth_stencil={
            "format": depth_format,
            "depth_write_enabled": True,
            "depth_compare": wgpu.CompareFunction.less,
        },
        multisample={"count": 4},
        fragment={"module": shader, "entry_point": "fragment", "targets": [{"format": rgba}]},
    )
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": 0, "resource": {"buffer": uniform}},
            {"binding": 1, "resource": picture.create_view()},
            {"binding": 2, "resource": device.create_sampler(mag_filter="linear", address_mode_u="repeat")},
        ],
    )
    encoder = device.create_command_encoder()
    draw = encoder.begin_render_pass(
        color_attachments=[
            {
                "view": drawn.create_view(),
                "resolve_target": resolved.create_view(),
                "clear_value": (0.1, 0.2, 0.3, 1.0),
                "load_op": "clear",
                "store_op": "store",
            }
        ],
        depth_stencil_attachment={
            "view": depth.create_view(),
            "depth_clear_value": 1.0,
            "depth_load_op": "clear",
            "depth_store_op": "discard",
        },
    )
    draw.set_pipeline(pipeline)
    draw.set_bind_group(0, group)
    draw.draw(3, 60)
    draw.end()
    device.queue.submit([encoder.finish()])
    pixels = device.queue.read_texture({"texture": resolved}, {"bytes_per_row": SIZE * 4}, (SIZE, SIZE, 1))
    assert len(np.unique(np.frombuffer(pixels, np.uint32))) > 500
    return Outcome(raw={"pixels": bytes(pixels)})


def adapters() -> Outcome:
    """There is one by Vulkan; its limits are the device's."""
    adapter = wgpu.gpu.request_adapter_sync()
    limits = adapter.limits
    names = ("max-texture-dimension-2d", "max-bind-groups", "max-compute-workgroup-size-x", "max-buffer-size")
    return Outcome({"backend": adapter.info["backend_type"], **{name: limits[name] for name in names}})


CASES = {"compute": compute, "drawing": drawing, "adapters": adapters}

if __name__ == "__main__":
    sys.exit(run(CASES))
