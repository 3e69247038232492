/* SPDX-License-Identifier: Apache-2.0
 * The one place where the convert path is chosen. */
#include "convert/convert.h"

#include <stdlib.h>

#include "convert/convert_cpu.h"
#include "convert/convert_gpu.h"
#include "convert/scale.h"
#include "util/rect.h"

struct rc_converter {
	struct rc_device *device;
	struct rc_gpu_converter *gpu; /* NULL: the CPU path */
	bool forced;                  /* the GPU was asked for: it converts small damage too */
};

/* Up to this many pixels the CPU is done before a GPU has been woken: measured on an H200, a submission costs 45 µs, in which one core
 * converts some 130000 pixels (docs/decisions/0002-convert-path.md). */
enum { CPU_PIXELS = 1 << 17 };

enum rc_result rc_converter_create(struct rc_device *device, enum rc_convert_path path, struct rc_converter **out) {
	struct rc_converter *converter = calloc(1, sizeof(*converter));
	if (!converter) {
		return RC_ERROR_NOMEM;
	}
	converter->device = device;
	converter->forced = path == RC_CONVERT_GPU;
	bool gpu = path == RC_CONVERT_GPU || (path == RC_CONVERT_AUTO && device && device->info.kind == RC_DEVICE_GPU);
	gpu = gpu && device;
	if (gpu && !device->host_alignment) {
		rc_log(device->log, RC_LOG_WARN, "convert: %s cannot import host memory: pictures are converted by the CPU",
			device->info.name);
	} else if (gpu) {
		converter->gpu = rc_gpu_converter_create(device);
	}
	if (path == RC_CONVERT_GPU && !converter->gpu) {
		free(converter);
		return RC_ERROR_UNSUPPORTED;
	}
	if (device) {
		device->info.convert = rc_converter_path(converter);
	}
	*out = converter;
	return RC_OK;
}

void rc_converter_destroy(struct rc_converter *converter) {
	if (!converter) {
		return;
	}
	rc_gpu_converter_destroy(converter->gpu);
	free(converter);
}

enum rc_convert_path rc_converter_path(const struct rc_converter *converter) {
	return converter->gpu ? RC_CONVERT_GPU : RC_CONVERT_CPU;
}

struct rc_import *rc_converter_import_target(struct rc_converter *converter, uint8_t *data, uint64_t size) {
	struct rc_import *import = converter->gpu ? rc_import_host(converter->device, data, size) : NULL;
	if (converter->gpu && !import) {
		rc_log(converter->device->log, RC_LOG_WARN,
			"convert: the frame ring cannot be imported: pictures are converted by the CPU");
	}
	return import;
}

/* Grow to what a path writes at once (`step` columns, 2 rows), and over the repeated edge up to the coded size. */
static struct rc_rect align_rect(
	const struct rc_rect *rect, const struct rc_picture *picture, const struct rc_planes *planes, uint32_t step) {
	uint32_t x0 = rect->x & ~(step - 1), y0 = rect->y & ~1u;
	uint32_t x1 = rect->x + rect->width, y1 = rect->y + rect->height;
	x1 = x1 >= rc_scaled(picture->width, planes->divisor) ? planes->coded_width : (x1 + 1) & ~1u;
	y1 = y1 >= rc_scaled(picture->height, planes->divisor) ? planes->coded_height : (y1 + 1) & ~1u;
	return (struct rc_rect){x0, y0, x1 - x0, y1 - y0};
}

static bool import_source(struct rc_converter *converter, struct rc_surface *surface) {
	if (!surface->import && !surface->import_failed &&
		rc_page_align(surface->bytes) <= converter->device->max_storage) {
		surface->import = rc_import_host(converter->device, surface->map, rc_page_align(surface->bytes));
		if (!surface->import) {
			surface->import_failed = true;
			rc_log(converter->device->log, RC_LOG_WARN,
				"convert: the guest's memory cannot be imported: pictures are converted by the CPU");
		}
	}
	return surface->import != NULL;
}

static uint64_t total_area(const struct rc_rect *rects, uint32_t count) {
	uint64_t area = 0;
	for (uint32_t i = 0; i < count; i++) {
		area += rc_rect_area(&rects[i]);
	}
	return area;
}

static bool use_gpu(struct rc_converter *converter, const struct rc_picture *picture, const struct rc_planes *planes,
	const struct rc_rect *rects, uint32_t count) {
	if (!converter->gpu || !planes->import || converter->device->lost ||
		(uint64_t)planes->stride * planes->coded_height * 3 / 2 > converter->device->max_storage) {
		return false;
	}
	const uint64_t pixels = total_area(rects, count) * planes->divisor * planes->divisor;
	if (planes->data && !converter->forced && pixels <= CPU_PIXELS) {
		return false;
	}
	return import_source(converter, picture->surface);
}

enum rc_result rc_converter_run(struct rc_converter *converter, const struct rc_picture *picture,
	const struct rc_planes *planes, const struct rc_rect *rects, uint32_t count, uint64_t *gpu_ns) {
	struct rc_rect aligned[RC_MAX_DAMAGE];
	if (count > RC_MAX_DAMAGE) {
		return RC_ERROR_INVALID;
	}
	if (gpu_ns) {
		*gpu_ns = 0;
	}
	if (use_gpu(converter, picture, planes, rects, count)) {
		for (uint32_t i = 0; i < count; i++) {
			aligned[i] = align_rect(&rects[i], picture, planes, 8);
		}
		if (rc_gpu_converter_run(converter->gpu, picture, planes, aligned, count, gpu_ns)) {
			return RC_OK;
		}
	}
	if (!planes->data) {
		return RC_ERROR_DEVICE;
	}
	for (uint32_t i = 0; i < count; i++) {
		aligned[i] = align_rect(&rects[i], picture, planes, 2);
		rc_convert_cpu(picture, planes, &aligned[i]);
	}
	return RC_OK;
}
