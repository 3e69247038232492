/* SPDX-License-Identifier: Apache-2.0
 * RGB pictures to the video planes of a ring slot. BT.709 limited range, chroma is the mean of 2×2 pixels, the edge is repeated up to the
 * coded size. A divisor makes the picture smaller first: a sample covers divisor × divisor pixels and is their mean. */
#ifndef RC_CONVERT_H
#define RC_CONVERT_H

#include "execute/device.h"
#include "execute/surface.h"
#include "render_core.h"

/* What is read: a rectangle of a surface. Checked: offset + (height - 1) * stride + width * 4 is inside the surface; offset and
 * stride are multiples of 4. */
struct rc_picture {
	struct rc_surface *surface;
	uint64_t offset; /* first byte of the first pixel */
	uint32_t stride; /* bytes */
	uint32_t width, height;
	uint32_t format; /* enum virtio_gpu_formats */
	uint32_t x, y;   /* where it begins in its resource */
};

/* What is written: one slot. */
struct rc_planes {
	enum rc_format format;
	uint8_t *data;            /* NULL: device memory, reached by the import alone */
	struct rc_import *import; /* the same memory for the GPU path, or NULL */
	uint64_t import_offset;   /* of the slot in it */
	uint32_t coded_width, coded_height, stride;
	uint32_t divisor; /* 1..RC_MAX_DIVISOR: pixels of the source to a sample, each way */
};

static inline uint64_t rc_planes_chroma_offset(const struct rc_planes *planes) {
	return (uint64_t)planes->stride * planes->coded_height;
}

/* I420's V plane. */
static inline uint64_t rc_planes_second_offset(const struct rc_planes *planes) {
	return rc_planes_chroma_offset(planes) + (uint64_t)planes->stride / 2 * (planes->coded_height / 2);
}

/* Converts on the path that was chosen; falls back to the CPU where the GPU cannot. One serves all scanouts. Core thread only. */
struct rc_converter;

/* `device` NULL: no Vulkan, the CPU path alone (tests of what lies around it). RC_ERROR_UNSUPPORTED: RC_CONVERT_GPU was asked for and
 * cannot be. */
enum rc_result rc_converter_create(struct rc_device *device, enum rc_convert_path path, struct rc_converter **out);
void rc_converter_destroy(struct rc_converter *converter);
enum rc_convert_path rc_converter_path(const struct rc_converter *converter);

/* Import the memory that slots lie in, for rc_planes::import: `size` bytes at `data`, both multiples of 4096. NULL on the CPU path and where
 * the device refuses (logged). The caller ends it with rc_import_destroy() before the memory goes. */
struct rc_import *rc_converter_import_target(struct rc_converter *converter, uint8_t *data, uint64_t size);

/* Convert `count` rectangles (in the slot's samples, inside the picture divided by the planes' divisor) into the slot. Returns when the planes are written. `gpu_ns` may be NULL.
 * RC_ERROR_DEVICE: only where planes->data is NULL; else the CPU takes over. */
enum rc_result rc_converter_run(struct rc_converter *converter, const struct rc_picture *picture,
	const struct rc_planes *planes, const struct rc_rect *rects, uint32_t count, uint64_t *gpu_ns);

#endif
