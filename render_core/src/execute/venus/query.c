/* SPDX-License-Identifier: Apache-2.0
 * Results of queries, where a client asks for them (most read them from feedback memory instead). */
#include "execute/venus/query.h"

#include <stdlib.h>
#include <time.h>

#include "execute/venus/object.h"
#include "execute/venus/objects.h"
#include "execute/venus/queue.h"
#include "execute/venus/stream.h"
#include "execute/venus/teardown.h"

/* More than one query's results take: 13 pipeline statistics and availability, 8 bytes each. */
enum { QUERY_ROOM = 256, RETRY_NS = 1000000 };
/* Of one pool: drivers make room for all at once, and nobody counts it. */
enum { MAX_QUERIES = 1 << 20 };

void rc_vn_execute_CreateQueryPool(struct rc_vn_stream *stream, struct rc_vn_CreateQueryPool *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	struct rc_vn_query_pool *pool = calloc(1, sizeof(*pool));
	if (!pool) {
		rc_vn_context_fail(stream->context, "out of memory");
		return;
	}
	VkQueryPool handle = VK_NULL_HANDLE;
	pool->count = args->pCreateInfo->queryCount;
	args->ret = VK_ERROR_OUT_OF_DEVICE_MEMORY;
	if (!rc_vn_device_at_rest(device)) {
		args->ret = VK_ERROR_DEVICE_LOST;
	} else if (pool->count && pool->count <= MAX_QUERIES && rc_vn_may_create(stream, VK_OBJECT_TYPE_QUERY_POOL)) {
		args->ret = device->vk.CreateQueryPool(args->device, args->pCreateInfo, NULL, &handle);
	}
	if (!rc_vn_add_typed_object(stream, &pool->base, VK_OBJECT_TYPE_QUERY_POOL, (uint64_t)(uintptr_t)*args->pQueryPool,
			(uint64_t)(uintptr_t)handle, args->device_object, args->ret) &&
		handle) {
		device->vk.DestroyQueryPool(args->device, handle, NULL);
	}
}

bool rc_vn_queries_exist(
	struct rc_vn_stream *stream, const struct rc_vn_object *object, uint32_t first, uint32_t count) {
	const struct rc_vn_query_pool *pool = rc_vn_from(rc_vn_query_pool, object);
	if (first <= pool->count && count <= pool->count - first) {
		return true;
	}
	rc_vn_stream_fail(stream, "queryPool", "it has %u queries, not %u from %u on", pool->count, count, first);
	return false;
}

struct query_wait {
	struct rc_vn_device *device;
	const struct rc_vn_GetQueryPoolResults *args;
	void *results;
	size_t size; /* of `results` */
};

static VkResult get_results(void *data, uint64_t timeout_ns) {
	const struct query_wait *wait = data;
	const struct rc_vn_GetQueryPoolResults *args = wait->args;
	/* Without WAIT: the driver's own wait has no limit. */
	VkResult ret =
		wait->device->vk.GetQueryPoolResults(args->device, args->queryPool, args->firstQuery, args->queryCount,
			wait->size, wait->results, args->stride, args->flags & ~(VkQueryResultFlags)VK_QUERY_RESULT_WAIT_BIT);
	if (ret != VK_NOT_READY || !(args->flags & VK_QUERY_RESULT_WAIT_BIT)) {
		return ret;
	}
	long pause_ns = timeout_ns < RETRY_NS ? (long)timeout_ns : RETRY_NS;
	nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
	return VK_TIMEOUT;
}

void rc_vn_execute_GetQueryPoolResults(struct rc_vn_stream *stream, struct rc_vn_GetQueryPoolResults *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (!rc_vn_queries_exist(stream, args->queryPool_object, args->firstQuery, args->queryCount)) {
		return;
	}
	/* The driver writes a result each `stride` bytes, whatever size it is told: into memory that has room for all. */
	uint64_t size;
	if (__builtin_mul_overflow((uint64_t)args->queryCount, args->stride, &size) || size > SIZE_MAX - QUERY_ROOM) {
		size = SIZE_MAX - QUERY_ROOM; /* refused below */
	}
	size = (size > args->dataSize ? size : args->dataSize) + QUERY_ROOM;
	void *results = rc_vn_scratch_alloc(&stream->scratch, size);
	if (!results) {
		rc_vn_stream_fail(stream, "queryCount", "%u results of %llu bytes are too many", args->queryCount,
			(unsigned long long)args->stride);
		return;
	}
	struct query_wait wait = {.device = device, .args = args, .results = results, .size = size};
	args->ret = rc_vn_device_wait(device, UINT64_MAX, get_results, &wait);
	if (args->pData) {
		memcpy(args->pData, results, args->dataSize);
	}
}
