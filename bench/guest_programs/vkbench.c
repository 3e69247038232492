/* SPDX-License-Identifier: Apache-2.0
 * What Vulkan commands cost a program: the same binary on the host's driver and on Venus.
 * Usage: vkbench SHADERS REPEATS. SHADERS is a folder with vkbench_{vert,frag,comp}.spv. Prints one JSON object: nanoseconds of each operation,
 * REPEATS times, and a checksum of what was computed or drawn, which must not depend on the driver. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vkbench.h"

#define SUBMITS 50
#define MAPS 30
#define ALLOCATIONS 64
#define UPLOAD ((VkDeviceSize)64 << 20)
#define BLOCK ((VkDeviceSize)64 << 10)

struct gpu gpu;
const char *shaders;
uint32_t checksum;

void add_to_checksum(const void *data, size_t size) {
	const uint32_t *words = data;
	for (size_t i = 0; i < size / 4; i++) {
		checksum = (checksum ^ words[i]) * 16777619u;
	}
}

static double run_submits(void) {
	uint64_t begin_ns = now_ns();
	for (int i = 0; i < SUBMITS; i++) {
		gpu_submit(&gpu, true);
	}
	return (double)(now_ns() - begin_ns) / SUBMITS;
}

static struct gpu_buffer staging, local, back;

static double run_upload(void) {
	static uint8_t *source;
	if (!source) {
		source = malloc(UPLOAD);
		for (size_t i = 0; i < UPLOAD / 4; i++) {
			((uint32_t *)source)[i] = (uint32_t)i * 2654435761u;
		}
	}
	uint64_t begin_ns = now_ns();
	memcpy(staging.map, source, UPLOAD);
	VkCommandBuffer commands = gpu_begin(&gpu);
	const VkBufferCopy whole = {0, 0, UPLOAD};
	gpu.CmdCopyBuffer(commands, staging.buffer, local.buffer, 1, &whole);
	gpu_run(&gpu);
	double taken_ns = (double)(now_ns() - begin_ns);
	commands = gpu_begin(&gpu);
	const VkBufferCopy end = {UPLOAD - 4096, 0, 4096};
	gpu.CmdCopyBuffer(commands, local.buffer, back.buffer, 1, &end);
	gpu_barrier(&gpu);
	gpu_run(&gpu);
	add_to_checksum(back.map, 4096);
	return taken_ns;
}

static double run_maps(void) {
	uint64_t begin_ns = now_ns();
	for (int i = 0; i < MAPS; i++) {
		struct gpu_buffer buffer;
		gpu_buffer_create(&gpu, BLOCK, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, true, &buffer);
		buffer.map[0] = 1;
		gpu_buffer_destroy(&gpu, &buffer);
	}
	return (double)(now_ns() - begin_ns) / MAPS;
}

/* Allocate and free device-local memory; at the end the queue is waited for, so that a driver that only notes requests has carried them out. */
static double run_allocations(void) {
	VkDeviceMemory memories[ALLOCATIONS];
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
		.allocationSize = BLOCK,
		.memoryTypeIndex = gpu_memory_type(&gpu, ~0u, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT),
	};
	uint64_t begin_ns = now_ns();
	for (int i = 0; i < ALLOCATIONS; i++) {
		CHECK(gpu.AllocateMemory(gpu.device, &info, NULL, &memories[i]));
	}
	for (int i = 0; i < ALLOCATIONS; i++) {
		gpu.FreeMemory(gpu.device, memories[i], NULL);
	}
	gpu_submit(&gpu, true);
	return (double)(now_ns() - begin_ns) / ALLOCATIONS;
}

static void create_buffers(void) {
	gpu_buffer_create(&gpu, UPLOAD, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, true, &staging);
	gpu_buffer_create(&gpu, UPLOAD, VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT, false, &local);
	gpu_buffer_create(&gpu, 4096, VK_BUFFER_USAGE_TRANSFER_DST_BIT, true, &back);
}

static void destroy_buffers(void) {
	gpu_buffer_destroy(&gpu, &staging);
	gpu_buffer_destroy(&gpu, &local);
	gpu_buffer_destroy(&gpu, &back);
}

static const struct {
	const char *name;
	void (*begin)(void);
	double (*run)(void);
	void (*end)(void);
} operations[] = {
	{"draw", small_scene, run_draws, scene_destroy},
	{"speck", small_scene, run_specks, scene_destroy},
	{"submit", NULL, run_submits, NULL},
	{"frame", large_scene, run_frame, scene_destroy},
	{"upload", create_buffers, run_upload, destroy_buffers},
	{"map", NULL, run_maps, NULL},
	{"pipeline", compute_create, run_pipelines, compute_destroy},
	{"dispatch", compute_create, run_dispatches, compute_destroy},
	{"allocate", NULL, run_allocations, NULL},
};

int main(int argc, char **argv) {
	int repeats = argc == 3 ? atoi(argv[2]) : 0;
	if (repeats < 1) {
		fail("usage: vkbench SHADERS REPEATS");
	}
	shaders = argv[1];
	gpu_open(&gpu);
	const uint32_t version = gpu.properties.apiVersion;
	printf("{\"device\": \"%s\", \"version\": \"%u.%u.%u\", \"operations\": {", gpu.properties.deviceName,
		VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version), VK_API_VERSION_PATCH(version));
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		checksum = 2166136261u;
		if (operations[i].begin) {
			operations[i].begin();
		}
		operations[i].run(); /* warms up */
		printf("%s\"%s\": {\"ns\": [", i ? ", " : "", operations[i].name);
		for (int turn = 0; turn < repeats; turn++) {
			printf("%s%.0f", turn ? ", " : "", operations[i].run());
		}
		printf("], \"checksum\": %" PRIu32 "}", checksum);
		if (operations[i].end) {
			operations[i].end();
		}
	}
	printf("}}\n");
	gpu_close(&gpu);
	return 0;
}
