/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/limits.h"

#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* What a desktop's programs need many times over, and little enough that a handful of guests share a machine of 24 GiB, or one data-centre GPU,
 * without one of them starving the rest. docs/protocol/venus-limits.md has the reason of each number. */
struct rc_vn_limits rc_vn_limits_default(bool cpu) {
	return (struct rc_vn_limits){
		/* A CPU's "device memory" is the machine's own. Eight guests with 16 GiB each share the 141 GB of the largest GPU in use today. */
		.memory_bytes = cpu ? 4 * GIB : 16 * GIB,
		.visible_bytes = 4 * GIB,
		/* A client starts with 1.2 MiB, records through 8 MiB, uploads large commands through blocks of their own size. */
		.shared_bytes = 512 * MIB,
		/* As on the wire; a driver keeps two to three times as much. A draw takes some 40 bytes: six million draws. */
		.command_buffer_bytes = 256 * MIB,
		/* The largest commands are shader modules and pipeline caches. */
		.scratch_bytes = 64 * MIB,
		.clients = 64,
		.objects = 131072,
		/* Each takes an fd and two of the 65530 mappings that a process may have by default. Vulkan promises programs 4096 a device. */
		.memories = 16384,
		.blobs = 20480,
		/* One, and one more for each thread that compiles pipelines. */
		.rings = 64,
		.queued_submits = 256,
		/* Longer than gpu_timeout_ms, so that it is the watchdog that ends work which hangs; stock clients give up after 895 s. */
		.wait_ms = cpu ? 150000 : 40000,
		.gpu_timeout_ms = cpu ? 120000 : 30000,
	};
}

bool rc_vn_limits_set(struct rc_vn_limits *limits, const char *name, uint64_t value) {
	const struct {
		const char *name;
		uint64_t *wide;
		uint32_t *narrow;
		uint64_t least, most; /* least: a stock client can still start; most: what the code can count */
	} known[] = {
		{"memory-bytes", &limits->memory_bytes, NULL, 16 * MIB, UINT64_MAX / 4},
		{"visible-bytes", &limits->visible_bytes, NULL, 16 * MIB, UINT64_MAX / 4},
		{"shared-bytes", &limits->shared_bytes, NULL, 16 * MIB, UINT64_MAX / 4},
		{"command-buffer-bytes", &limits->command_buffer_bytes, NULL, MIB, UINT64_MAX / 4},
		{"scratch-bytes", &limits->scratch_bytes, NULL, MIB, GIB},
		{"clients", NULL, &limits->clients, 1, 4096},
		{"objects", NULL, &limits->objects, 64, 1 << 24},
		{"memories", NULL, &limits->memories, 64, 1 << 20},
		{"blobs", NULL, &limits->blobs, 64, 1 << 20},
		/* Each ring's thread reads the object table; so does the socket's. */
		{"rings", NULL, &limits->rings, 1, RC_VN_MAX_READERS - 8},
		{"queued-submits", NULL, &limits->queued_submits, 1, 1 << 16},
		{"wait-ms", NULL, &limits->wait_ms, 100, 800000},
		{"gpu-timeout-ms", NULL, &limits->gpu_timeout_ms, 100, 800000},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, name) != 0) {
			continue;
		}
		if (value < known[i].least || value > known[i].most) {
			return false;
		}
		if (known[i].wide) {
			*known[i].wide = value;
		} else {
			*known[i].narrow = (uint32_t)value;
		}
		return true;
	}
	return false;
}

bool rc_vn_usage_take64(_Atomic uint64_t *counter, uint64_t amount, uint64_t limit) {
	uint64_t used = atomic_load_explicit(counter, memory_order_relaxed);
	do {
		if (used > limit || amount > limit - used) {
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		counter, &used, used + amount, memory_order_relaxed, memory_order_relaxed));
	return true;
}

bool rc_vn_usage_take32(_Atomic uint32_t *counter, uint32_t amount, uint32_t limit) {
	uint32_t used = atomic_load_explicit(counter, memory_order_relaxed);
	do {
		if (used > limit || amount > limit - used) {
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		counter, &used, used + amount, memory_order_relaxed, memory_order_relaxed));
	return true;
}
