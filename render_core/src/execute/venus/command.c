/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/command.h"

#include <stdlib.h>

#include "execute/venus/feedback.h"
#include "execute/venus/object.h"
#include "execute/venus/query.h"
#include "execute/venus/teardown.h"

/* Of the guest's limit: command buffers take it in portions, so that recording costs no shared counter. */
enum { BYTES_AT_ONCE = 4096 };

/* What is noted of copies that are not recorded takes nothing of the limit. */
enum { UNCOUNTED_QUERIES = 256 };

static void give_back_bytes(struct rc_vn_context *context, struct rc_vn_command_buffer *commands) {
	commands->bytes = 0;
	/* once, whichever of two rings does it */
	atomic_fetch_sub_explicit(
		&context->guest->usage.command_buffer_bytes, atomic_exchange(&commands->bytes_taken, 0), memory_order_relaxed);
}

/* Nothing is recorded any more. */
static void clear(struct rc_vn_context *context, struct rc_vn_command_buffer *commands) {
	give_back_bytes(context, commands);
	rc_vn_feedback_clear(commands);
	commands->work = 0;
	commands->begun = false;
	commands->unusable = false;
}

bool rc_vn_command_buffer_record(struct rc_vn_stream *stream, struct rc_vn_object *object) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, object);
	if (object->poisoned || stream->decoder.poisoned || commands->unusable || !commands->begun) {
		commands->unusable = true;
		return false;
	}
	commands->work++;
	commands->bytes += (uint64_t)(stream->decoder.cursor - stream->command_begin);
	if (__builtin_expect(commands->bytes <= commands->bytes_taken, true)) {
		return true;
	}
	struct rc_vn_guest *guest = stream->context->guest;
	uint64_t more = commands->bytes - commands->bytes_taken;
	more = more < BYTES_AT_ONCE ? BYTES_AT_ONCE : more;
	if (!rc_vn_usage_take64(&guest->usage.command_buffer_bytes, more, guest->limits.command_buffer_bytes)) {
		rc_vn_context_log(stream->context, RC_LOG_WARN,
			"a command buffer cannot be recorded: the guest's others hold %llu bytes (limit: command-buffer-bytes)",
			(unsigned long long)guest->limits.command_buffer_bytes);
		atomic_fetch_add_explicit(&guest->usage.refused, 1, memory_order_relaxed);
		commands->unusable = true;
		return false;
	}
	commands->bytes_taken += more;
	return true;
}

void rc_vn_command_buffer_poison(struct rc_vn_stream *stream, struct rc_vn_object *object) {
	(void)stream;
	rc_vn_from(rc_vn_command_buffer, object)->unusable = true;
}

bool rc_vn_command_buffer_remove(struct rc_vn_context *context, struct rc_vn_command_buffer *commands) {
	/* Readers on other rings may hold it until they leave: it stays whole, with nothing that they could use. */
	rc_vn_feedback_close(commands);
	clear(context, commands);
	commands->unusable = true;
	return rc_vn_object_remove(&context->objects, &commands->base);
}

void rc_vn_pool_remove_children(struct rc_vn_context *context, struct rc_vn_object *pool) {
	struct rc_vn_object *child;
	while ((child = rc_vn_object_first_child(&context->objects, pool, VK_OBJECT_TYPE_UNKNOWN))) {
		if (child->type == VK_OBJECT_TYPE_COMMAND_BUFFER) {
			rc_vn_command_buffer_remove(context, rc_vn_from(rc_vn_command_buffer, child));
		} else {
			rc_vn_object_remove(&context->objects, child);
		}
	}
}

/* ---- pools ---- */

void rc_vn_execute_DestroyCommandPool(struct rc_vn_stream *stream, struct rc_vn_DestroyCommandPool *args) {
	struct rc_vn_object *pool = args->commandPool_object;
	if (!pool) {
		return;
	}
	rc_vn_pool_remove_children(stream->context, pool);
	const VkCommandPool handle = (VkCommandPool)(uintptr_t)pool->handle;
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	if (rc_vn_object_remove(&stream->context->objects, pool) && handle && rc_vn_device_at_rest(device)) {
		device->vk.DestroyCommandPool(args->device, handle, NULL);
	}
}

struct reset {
	struct rc_vn_context *context;
};

static void reset_child(struct rc_vn_object *child, void *data) {
	const struct reset *reset = data;
	clear(reset->context, rc_vn_from(rc_vn_command_buffer, child));
}

void rc_vn_execute_ResetCommandPool(struct rc_vn_stream *stream, struct rc_vn_ResetCommandPool *args) {
	struct rc_vn_object *pool = args->commandPool_object;
	if (!pool || pool->poisoned) {
		args->ret = VK_ERROR_INITIALIZATION_FAILED;
		return;
	}
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	args->ret = VK_ERROR_OUT_OF_DEVICE_MEMORY;
	if (rc_vn_device_at_rest(device)) {
		args->ret = device->vk.ResetCommandPool(args->device, args->commandPool, args->flags);
	}
	struct reset reset = {stream->context};
	rc_vn_object_each_child(&stream->context->objects, pool, reset_child, &reset);
}

/* ---- command buffers ---- */

void rc_vn_execute_AllocateCommandBuffers(struct rc_vn_stream *stream, struct rc_vn_AllocateCommandBuffers *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	VkCommandBufferAllocateInfo info = *args->pAllocateInfo;
	struct rc_vn_object *pool = (struct rc_vn_object *)(uintptr_t)info.commandPool;
	const uint32_t count = args->pCommandBuffers ? info.commandBufferCount : 0;
	VkCommandBuffer *handles = rc_vn_scratch_alloc(&stream->scratch, count * sizeof(*handles));
	if (!pool || !handles) {
		rc_vn_stream_fail(stream, "VkCommandBufferAllocateInfo.commandPool", pool ? "too many" : "is 0");
		return;
	}
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!pool->poisoned && count && rc_vn_may_create_all(stream, VK_OBJECT_TYPE_COMMAND_BUFFER, count)) {
		info.commandPool = (VkCommandPool)(uintptr_t)pool->handle;
		args->ret = device->vk.AllocateCommandBuffers(args->device, &info, handles);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct rc_vn_command_buffer *commands = calloc(1, sizeof(*commands));
		if (!commands) {
			rc_vn_context_fail(stream->context, "out of memory"); /* the host's go with their pool */
			return;
		}
		commands->device = device;
		commands->level = info.level;
		rc_list_init(&commands->feedback_link);
		if (!rc_vn_add_typed_object(stream, &commands->base, VK_OBJECT_TYPE_COMMAND_BUFFER,
				(uint64_t)(uintptr_t)args->pCommandBuffers[i], (uint64_t)(uintptr_t)handles[i], pool, args->ret)) {
			return;
		}
	}
}

void rc_vn_execute_FreeCommandBuffers(struct rc_vn_stream *stream, struct rc_vn_FreeCommandBuffers *args) {
	struct rc_vn_device *device = rc_vn_from(rc_vn_device, args->device_object);
	for (uint32_t i = 0; i < args->commandBufferCount; i++) {
		struct rc_vn_object *object = args->pCommandBuffers_objects ? args->pCommandBuffers_objects[i] : NULL;
		if (!object) {
			continue;
		}
		if (object->parent != args->commandPool_object) {
			rc_vn_stream_fail(stream, "pCommandBuffers", "[%u] is of another pool", i);
			return;
		}
		const VkCommandBuffer handle = (VkCommandBuffer)(uintptr_t)object->handle;
		const bool removed = rc_vn_command_buffer_remove(stream->context, rc_vn_from(rc_vn_command_buffer, object));
		if (removed && handle && rc_vn_device_at_rest(device)) {
			device->vk.FreeCommandBuffers(args->device, args->commandPool, 1, &handle);
		}
	}
}

void rc_vn_execute_BeginCommandBuffer(struct rc_vn_stream *stream, struct rc_vn_BeginCommandBuffer *args) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!commands) {
		return;
	}
	clear(stream->context, commands);
	if (commands->base.poisoned) {
		return;
	}
	commands->unusable = true;
	if (commands->level != VK_COMMAND_BUFFER_LEVEL_PRIMARY && !args->pBeginInfo->pInheritanceInfo) {
		return; /* drivers look there */
	}
	/* The inheritance's render pass or framebuffer may be poisoned. */
	if (!stream->decoder.poisoned && rc_vn_device_at_rest(commands->device)) {
		args->ret = commands->device->vk.BeginCommandBuffer(args->commandBuffer, args->pBeginInfo);
	}
	commands->begun = args->ret == VK_SUCCESS;
	commands->unusable = !commands->begun;
}

void rc_vn_execute_EndCommandBuffer(struct rc_vn_stream *stream, struct rc_vn_EndCommandBuffer *args) {
	(void)stream;
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (!commands || commands->base.poisoned || !commands->begun) {
		return;
	}
	commands->begun = false;
	args->ret = commands->device->vk.EndCommandBuffer(args->commandBuffer);
	commands->unusable |= args->ret != VK_SUCCESS;
	args->ret = commands->unusable ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

void rc_vn_execute_ResetCommandBuffer(struct rc_vn_stream *stream, struct rc_vn_ResetCommandBuffer *args) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	args->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
	if (commands && !commands->base.poisoned) {
		clear(stream->context, commands);
		if (rc_vn_device_at_rest(commands->device)) {
			args->ret = commands->device->vk.ResetCommandBuffer(args->commandBuffer, args->flags);
		}
	}
}

/* ---- commands that are looked at ---- */

void rc_vn_execute_CmdPipelineBarrier(struct rc_vn_stream *stream, struct rc_vn_CmdPipelineBarrier *args) {
	if (!rc_vn_command_buffer_record(stream, args->commandBuffer_object)) {
		return;
	}
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	commands->work -= args->imageMemoryBarrierCount == 0; /* nothing happens but an order */
	commands->device->vk.CmdPipelineBarrier(args->commandBuffer, args->srcStageMask, args->dstStageMask,
		args->dependencyFlags, args->memoryBarrierCount, args->pMemoryBarriers, args->bufferMemoryBarrierCount,
		args->pBufferMemoryBarriers, args->imageMemoryBarrierCount, args->pImageMemoryBarriers);
}

/* Feedback is noted whether it can be recorded or not: its submission ends in an answer in either case. */

void rc_vn_execute_CmdFillBuffer(struct rc_vn_stream *stream, struct rc_vn_CmdFillBuffer *args) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	if (rc_vn_command_buffer_record(stream, args->commandBuffer_object)) {
		commands->device->vk.CmdFillBuffer(
			args->commandBuffer, args->dstBuffer, args->dstOffset, args->size, args->data);
	}
	if (args->size == sizeof(uint32_t) && args->data == VK_SUCCESS && args->dstBuffer_object) {
		rc_vn_feedback_note_fill(
			commands, rc_vn_from(rc_vn_buffer, args->dstBuffer_object), args->dstOffset, args->data);
	}
}

void rc_vn_execute_CmdCopyBuffer(struct rc_vn_stream *stream, struct rc_vn_CmdCopyBuffer *args) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	if (rc_vn_command_buffer_record(stream, args->commandBuffer_object)) {
		commands->device->vk.CmdCopyBuffer(
			args->commandBuffer, args->srcBuffer, args->dstBuffer, args->regionCount, args->pRegions);
	}
	if (args->regionCount == 1 && args->pRegions && args->pRegions[0].size == sizeof(uint64_t) &&
		args->srcBuffer_object && args->dstBuffer_object) {
		rc_vn_feedback_note_copy(commands, rc_vn_from(rc_vn_buffer, args->srcBuffer_object),
			args->pRegions[0].srcOffset, rc_vn_from(rc_vn_buffer, args->dstBuffer_object), args->pRegions[0].dstOffset);
	}
}

void rc_vn_execute_CmdCopyQueryPoolResults(struct rc_vn_stream *stream, struct rc_vn_CmdCopyQueryPoolResults *args) {
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	if (!rc_vn_queries_exist(stream, args->queryPool_object, args->firstQuery, args->queryCount)) {
		return;
	}
	const bool recorded = rc_vn_command_buffer_record(stream, args->commandBuffer_object);
	if (recorded) {
		commands->device->vk.CmdCopyQueryPoolResults(args->commandBuffer, args->queryPool, args->firstQuery,
			args->queryCount, args->dstBuffer, args->dstOffset, args->stride, args->flags);
	}
	const VkQueryResultFlags feedback = VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT;
	if ((args->flags & feedback) == feedback && args->dstBuffer_object &&
		(recorded || commands->query_count < UNCOUNTED_QUERIES)) {
		rc_vn_feedback_note_queries(commands, rc_vn_from(rc_vn_buffer, args->dstBuffer_object), args->dstOffset,
			args->stride, args->queryCount);
	}
}

void rc_vn_execute_CmdExecuteCommands(struct rc_vn_stream *stream, struct rc_vn_CmdExecuteCommands *args) {
	if (!rc_vn_command_buffer_record(stream, args->commandBuffer_object)) {
		return;
	}
	struct rc_vn_command_buffer *commands = rc_vn_from(rc_vn_command_buffer, args->commandBuffer_object);
	for (uint32_t i = 0; i < args->commandBufferCount; i++) {
		const struct rc_vn_object *object = args->pCommandBuffers_objects ? args->pCommandBuffers_objects[i] : NULL;
		const struct rc_vn_command_buffer *executed = rc_vn_from(rc_vn_command_buffer, object);
		/* Levels are kept apart: a driver that runs one that executes itself does not come to an end. */
		if (!object || object->poisoned || executed->unusable || executed->begun ||
			executed->level != VK_COMMAND_BUFFER_LEVEL_SECONDARY ||
			commands->level != VK_COMMAND_BUFFER_LEVEL_PRIMARY) {
			commands->unusable = true;
			return;
		}
	}
	commands->device->vk.CmdExecuteCommands(args->commandBuffer, args->commandBufferCount, args->pCommandBuffers);
}
