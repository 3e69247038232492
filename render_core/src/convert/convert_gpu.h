/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_CONVERT_GPU_H
#define RC_CONVERT_GPU_H

#include "convert/convert.h"
#include "execute/import.h"

/* The compute pipelines and one submission at a time. */
struct rc_gpu_converter;

/* NULL: the device refuses (logged). */
struct rc_gpu_converter *rc_gpu_converter_create(struct rc_device *device);
void rc_gpu_converter_destroy(struct rc_gpu_converter *gpu);

/* Convert rectangles whose x is a multiple of 8 and y of 2, and wait. The picture's surface and the planes are imported. `gpu_ns` may be NULL.
 * False: the device is lost, or did not finish in time; it is not used again. */
bool rc_gpu_converter_run(struct rc_gpu_converter *gpu, const struct rc_picture *picture,
	const struct rc_planes *planes, const struct rc_rect *rects, uint32_t count, uint64_t *gpu_ns);

#endif
