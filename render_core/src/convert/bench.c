/* SPDX-License-Identifier: Apache-2.0
 * Conversion and handoff by themselves: what tests, benchmarks and the GPU check measure. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/scale.h"
#include "execute/import.h"
#include "execute/resource.h"
#include "handoff/frame_ring.h"
#include "util/clock.h"
#include "util/rect.h"

struct rc_bench {
	struct rc_log log;
	struct rc_device *device, *reader; /* the reader stands for another process that imports exported slots */
	struct rc_converter *converter;
	struct rc_picture picture;
	struct rc_frame_ring *ring;
	struct rc_consumer *consumer;
	enum rc_export export_type;
	struct rc_import *exported, *imported, *readback;
	uint8_t *readback_map;
	VkCommandPool command_pool;
	VkCommandBuffer commands;
};

static enum rc_result create_readback(struct rc_bench *bench) {
	struct rc_device *reader = bench->reader;
	uint64_t size = bench->ring->layout.slot_size;
	/* The ring's first slot receives the copy: host memory of the right size that is there already. */
	bench->readback_map = bench->ring->map + bench->ring->layout.slot_offset;
	bench->readback = rc_import_host(reader, bench->readback_map, size);
	const VkCommandPoolCreateInfo pool = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
		.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
		.queueFamilyIndex = reader->queue_family,
	};
	if (!bench->readback || reader->vk.CreateCommandPool(reader->device, &pool, NULL, &bench->command_pool)) {
		return RC_ERROR_DEVICE;
	}
	const VkCommandBufferAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
		.commandPool = bench->command_pool,
		.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
		.commandBufferCount = 1,
	};
	return reader->vk.AllocateCommandBuffers(reader->device, &info, &bench->commands) ? RC_ERROR_DEVICE : RC_OK;
}

static enum rc_result create_exported(struct rc_bench *bench, const char *gpu) {
	int fd = -1;
	enum rc_result ret = rc_device_create(&bench->log, gpu, &bench->reader);
	if (ret != RC_OK) {
		return ret;
	}
	bench->exported = rc_import_create_exported(bench->device, bench->ring->layout.slot_size, bench->export_type, &fd);
	if (!bench->exported) {
		return RC_ERROR_UNSUPPORTED;
	}
	bench->imported = rc_import_fd(bench->reader, bench->ring->layout.slot_size, bench->export_type, fd);
	if (!bench->imported) {
		close(fd);
		return RC_ERROR_UNSUPPORTED;
	}
	return create_readback(bench);
}

enum rc_result rc_bench_create(const struct rc_bench_params *params, struct rc_bench **out) {
	if (!params->width || !params->height || params->width > RC_MAX_SIZE || params->height > RC_MAX_SIZE ||
		!rc_format_is_known(params->source_format) ||
		(params->format != RC_FORMAT_I420 && params->format != RC_FORMAT_NV12) || params->divisor > RC_MAX_DIVISOR) {
		return RC_ERROR_INVALID;
	}
	struct rc_bench *bench = calloc(1, sizeof(*bench));
	if (!bench) {
		return RC_ERROR_NOMEM;
	}
	rc_log_init(&bench->log, params->log_fd, RC_LOG_INFO);
	bench->export_type = params->export_type;
	bench->picture = (struct rc_picture){
		.surface = rc_surface_create((uint64_t)params->width * params->height * 4),
		.stride = params->width * 4,
		.width = params->width,
		.height = params->height,
		.format = params->source_format,
	};
	const uint32_t divisor = params->divisor ? params->divisor : rc_scale_divisor(params->width, params->height);
	bench->ring = rc_frame_ring_create(params->format, params->width, params->height, divisor);
	enum rc_result ret = bench->picture.surface && bench->ring ? RC_OK : RC_ERROR_NOMEM;
	ret = ret ? ret : rc_device_create(&bench->log, params->gpu, &bench->device);
	ret = ret ? ret : rc_converter_create(bench->device, params->convert, &bench->converter);
	ret = ret ? ret : rc_consumer_create(&bench->ring->layout, bench->ring->memfd, &bench->consumer);
	if (ret == RC_OK && params->export_type != RC_EXPORT_NONE) {
		ret = create_exported(bench, params->gpu);
	} else if (ret == RC_OK) {
		bench->ring->import =
			rc_converter_import_target(bench->converter, bench->ring->map, bench->ring->layout.memfd_size);
	}
	if (ret != RC_OK) {
		rc_bench_destroy(bench);
		return ret;
	}
	*out = bench;
	return RC_OK;
}

void rc_bench_destroy(struct rc_bench *bench) {
	if (!bench) {
		return;
	}
	if (bench->command_pool) {
		bench->reader->vk.DestroyCommandPool(bench->reader->device, bench->command_pool, NULL);
	}
	rc_import_destroy(bench->readback);
	rc_import_destroy(bench->imported);
	rc_import_destroy(bench->exported);
	rc_device_destroy(bench->reader);
	rc_consumer_destroy(bench->consumer);
	rc_frame_ring_destroy(bench->ring);
	rc_surface_unref(bench->picture.surface);
	rc_converter_destroy(bench->converter);
	rc_device_destroy(bench->device);
	free(bench);
}

void rc_bench_device_info(const struct rc_bench *bench, struct rc_device_info *out) {
	*out = bench->device->info;
}

uint8_t *rc_bench_source(struct rc_bench *bench, size_t *size) {
	*size = bench->picture.surface->bytes;
	return bench->picture.surface->map;
}

void rc_bench_layout(const struct rc_bench *bench, struct rc_ring_layout *out) {
	*out = bench->ring->layout;
}

/* Copy the imported slot to host memory, as a consumer on another device would. */
static enum rc_result read_imported(struct rc_bench *bench) {
	struct rc_device *reader = bench->reader;
	const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
	const VkBufferCopy copy = {.size = bench->ring->layout.slot_size};
	const VkSubmitInfo submit = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &bench->commands};
	if (reader->vk.BeginCommandBuffer(bench->commands, &begin)) {
		return RC_ERROR_DEVICE;
	}
	reader->vk.CmdCopyBuffer(bench->commands, bench->imported->buffer, bench->readback->buffer, 1, &copy);
	if (reader->vk.EndCommandBuffer(bench->commands) ||
		reader->vk.QueueSubmit(reader->queue, 1, &submit, VK_NULL_HANDLE)) {
		return RC_ERROR_DEVICE;
	}
	return reader->vk.DeviceWaitIdle(reader->device) ? RC_ERROR_DEVICE : RC_OK;
}

static enum rc_result run_exported(struct rc_bench *bench, const struct rc_rect *rects, uint32_t count, uint8_t *planes,
	size_t bytes, struct rc_bench_result *out) {
	const struct rc_ring_layout *layout = &bench->ring->layout;
	const struct rc_planes target = {
		.format = (enum rc_format)layout->format,
		.import = bench->exported,
		.coded_width = layout->coded_width,
		.coded_height = layout->coded_height,
		.stride = layout->stride,
		.divisor = layout->divisor,
	};
	uint64_t begin = rc_now_ns();
	enum rc_result ret = rc_converter_run(bench->converter, &bench->picture, &target, rects, count, &out->gpu_ns);
	out->convert_ns = rc_now_ns() - begin;
	if (ret != RC_OK || !planes) {
		return ret;
	}
	begin = rc_now_ns();
	ret = read_imported(bench);
	out->readback_ns = rc_now_ns() - begin;
	memcpy(planes, bench->readback_map, bytes);
	return ret;
}

static enum rc_result run_ring(struct rc_bench *bench, const struct rc_damage *damage, uint8_t *planes, size_t bytes,
	struct rc_bench_result *out) {
	struct rc_planes target;
	struct rc_damage stale;
	struct rc_frame frame;
	rc_frame_ring_damage(bench->ring, damage);
	if (!rc_frame_ring_begin(bench->ring, &target, &stale)) {
		return RC_AGAIN;
	}
	uint64_t begin = rc_now_ns();
	enum rc_result ret =
		rc_converter_run(bench->converter, &bench->picture, &target, stale.rects, stale.count, &out->gpu_ns);
	uint64_t converted = rc_now_ns();
	out->convert_ns = converted - begin;
	if (ret != RC_OK) {
		rc_frame_ring_cancel(bench->ring);
		return ret;
	}
	const struct rc_trace trace = {.flush_ns = begin, .convert_begin_ns = begin, .gpu_done_ns = converted};
	rc_frame_ring_publish(bench->ring, damage, &trace);
	ret = rc_consumer_acquire(bench->consumer, &frame);
	if (ret != RC_OK) {
		return ret;
	}
	uint64_t acquired = rc_now_ns();
	if (planes) {
		memcpy(planes, rc_consumer_planes(bench->consumer, frame.slot), bytes);
	}
	uint64_t copied = rc_now_ns();
	rc_consumer_release(bench->consumer, frame.slot);
	out->handoff_ns = acquired - converted + (rc_now_ns() - copied);
	return RC_OK;
}

enum rc_result rc_bench_run(
	struct rc_bench *bench, const struct rc_rect *rects, uint32_t count, uint8_t *planes, struct rc_bench_result *out) {
	const struct rc_ring_layout *layout = &bench->ring->layout;
	struct rc_damage source = {0}, damage;
	const struct rc_rect all = {0, 0, layout->source_width, layout->source_height};
	if (count == 0) {
		rc_damage_add(&source, &all);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!rc_rect_inside(&rects[i], layout->source_width, layout->source_height)) {
			return RC_ERROR_INVALID;
		}
		rc_damage_add(&source, &rects[i]);
	}
	rc_damage_scale(&source, layout->divisor, &damage);
	*out = (struct rc_bench_result){0};
	size_t bytes = (size_t)layout->stride * layout->coded_height * 3 / 2;
	if (bench->export_type != RC_EXPORT_NONE) {
		return run_exported(bench, damage.rects, damage.count, planes, bytes, out);
	}
	return run_ring(bench, &damage, planes, bytes, out);
}
