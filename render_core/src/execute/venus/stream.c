/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "execute/venus/stream.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	HEADER_SIZE = 8, /* command number, flags */
	FLAG_REPLY = 1,
	KEPT_COPY = 2 << 20, /* stock clients' streams have up to 1 MiB */
	/* Commands in one go as a reader of the object table: entering is a full barrier, as much as a draw's decoding. */
	COMMANDS_AN_ENTRY = 32,
	/* Objects that another ring's long wait keeps from being freed: a stock client's rings wait for microseconds. */
	MAX_LIMBO = 1 << 18,
};

static struct rc_vn_object *find_object(void *context, uint64_t id, VkObjectType type) {
	(void)type;
	return rc_vn_object_find(context, id);
}

bool rc_vn_stream_init(struct rc_vn_stream *stream, struct rc_vn_context *context, struct rc_vn_ring *ring) {
	*stream = (struct rc_vn_stream){.context = context, .ring = ring, .socket_fd = -1};
	stream->reader = rc_vn_reader_register(&context->objects);
	if (stream->reader == UINT32_MAX) {
		return false;
	}
	rc_vn_scratch_init(&stream->scratch, context->guest->limits.scratch_bytes);
	return true;
}

static void enter(struct rc_vn_stream *stream) {
	if (stream->entries_left == 0) {
		rc_vn_reader_enter(&stream->context->objects, stream->reader);
		stream->entries_left = COMMANDS_AN_ENTRY;
	}
}

static void leave(struct rc_vn_stream *stream) {
	if (stream->entries_left != 0) {
		rc_vn_reader_leave(&stream->context->objects, stream->reader);
		stream->entries_left = 0;
	}
}

void rc_vn_stream_rest(struct rc_vn_stream *stream) {
	leave(stream);
}

void rc_vn_stream_finish(struct rc_vn_stream *stream) {
	leave(stream);
	rc_vn_reader_unregister(&stream->context->objects, stream->reader);
	rc_vn_scratch_finish(&stream->scratch);
	rc_vn_blob_unref(stream->reply_blob);
	free(stream->copy);
}

void rc_vn_stream_fail(struct rc_vn_stream *stream, const char *field, const char *format, ...) {
	char why[256];
	va_list args;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	const char *name = rc_vn_command_name(stream->command);
	rc_vn_context_fail(
		stream->context, "%s (%u): %s: %s", name ? name : "command", stream->command, field ? field : "command", why);
}

bool rc_vn_stream_pause(struct rc_vn_stream *stream, int timeout_ms) {
	struct rc_vn_context *context = stream->context;
	/* Not for input: the client's other threads may send more while this one's request is served. */
	struct pollfd pollers[2] = {
		{.fd = stream->socket_fd, .events = POLLRDHUP}, {.fd = context->wake_fd, .events = POLLIN}};
	if (!atomic_load(&context->failed) && !atomic_load(&context->closing) && poll(pollers, 2, timeout_ms) > 0 &&
		pollers[0].revents) {
		atomic_store(&context->closing, true);
	}
	return !atomic_load(&context->failed) && !atomic_load(&context->closing);
}

/* ---- replies ---- */

static void open_window(struct rc_vn_stream *stream) {
	stream->encoder = (struct rc_vn_encoder){.cursor = NULL};
	if (stream->reply_blob) {
		uint8_t *window = stream->reply_blob->map + stream->reply_offset;
		stream->encoder.cursor = window + stream->reply_position;
		stream->encoder.end = window + stream->reply_size;
	}
}

/* After a reply was written; also after one that was not, when a command without one was executed. */
static bool close_window(struct rc_vn_stream *stream) {
	if (stream->encoder.overflow) {
		rc_vn_stream_fail(
			stream, "reply", "does not fit its window of %zu bytes at %zu", stream->reply_size, stream->reply_position);
		return false;
	}
	if (stream->reply_blob) {
		stream->reply_position = (size_t)(stream->encoder.cursor - (stream->reply_blob->map + stream->reply_offset));
	}
	return true;
}

static bool seek_reply(struct rc_vn_stream *stream, const char *field, size_t position) {
	if (position > stream->reply_size || position % 4 != 0) {
		rc_vn_stream_fail(stream, field, "%zu of %zu bytes", position, stream->reply_size);
		return false;
	}
	stream->reply_position = position;
	open_window(stream);
	return true;
}

/* A referenced blob that holds the stream; NULL: the context has failed. */
static struct rc_vn_blob *get_stream(
	struct rc_vn_stream *stream, const VkCommandStreamDescriptionMESA *description, const char *field) {
	struct rc_vn_blob *blob = rc_vn_blob_table_get(&stream->context->blobs, description->resourceId);
	if (!blob) {
		rc_vn_stream_fail(stream, field, "there is no resource %u", description->resourceId);
		return NULL;
	}
	if (description->offset % 4 != 0 || description->offset > blob->size ||
		description->size > blob->size - description->offset) {
		rc_vn_stream_fail(
			stream, field, "%zu bytes at %zu of a resource of %zu", description->size, description->offset, blob->size);
		rc_vn_blob_unref(blob);
		return NULL;
	}
	return blob;
}

void rc_vn_execute_SetReplyCommandStreamMESA(
	struct rc_vn_stream *stream, struct rc_vn_SetReplyCommandStreamMESA *args) {
	if (!args->pStream) {
		rc_vn_stream_fail(stream, "pStream", "NULL");
		return;
	}
	struct rc_vn_blob *blob = get_stream(stream, args->pStream, "pStream");
	if (!blob) {
		return;
	}
	rc_vn_blob_unref(stream->reply_blob);
	stream->reply_blob = blob;
	stream->reply_offset = args->pStream->offset;
	stream->reply_size = args->pStream->size;
	stream->reply_position = 0;
	open_window(stream);
}

void rc_vn_execute_SeekReplyCommandStreamMESA(
	struct rc_vn_stream *stream, struct rc_vn_SeekReplyCommandStreamMESA *args) {
	seek_reply(stream, "position", args->position);
}

/* ---- commands ---- */

bool rc_vn_stream_step(struct rc_vn_stream *stream, const uint8_t **cursor, const uint8_t *end) {
	struct rc_vn_context *context = stream->context;
	if (atomic_load_explicit(&context->failed, memory_order_relaxed)) {
		return false;
	}
	uint32_t header[2] = {0, 0};
	if ((size_t)(end - *cursor) < HEADER_SIZE) {
		rc_vn_context_fail(context, "%zu bytes are no command", (size_t)(end - *cursor));
		return false;
	}
	memcpy(header, *cursor, HEADER_SIZE);
	stream->command = header[0];
	stream->command_begin = *cursor;
	stream->replying = header[1] & FLAG_REPLY;
	if (stream->replying && !stream->reply_blob) {
		rc_vn_stream_fail(stream, "reply", "asked for before vkSetReplyCommandStreamMESA");
		return false;
	}
	rc_vn_scratch_reset(&stream->scratch);
	stream->decoder = (struct rc_vn_decoder){
		.cursor = *cursor + HEADER_SIZE,
		.end = end,
		.scratch = &stream->scratch,
		.find = find_object,
		.context = &context->objects,
	};
	open_window(stream);
	if (stream->ring) { /* commands of the socket name no objects, and some wait for rings */
		enter(stream);
	}
	rc_vn_dispatch(stream, header[0], stream->replying, &stream->encoder);
	if (stream->entries_left != 0 && (--stream->entries_left == 0 || stream->decoder.cursor == end)) {
		stream->entries_left = 1;
		leave(stream);
		if (atomic_load_explicit(&context->objects.limbo_count, memory_order_relaxed) > MAX_LIMBO) {
			rc_vn_stream_fail(stream, "command", "too many objects destroyed while another ring waits");
		}
	}
	if (atomic_load_explicit(&context->failed, memory_order_relaxed) || !close_window(stream)) {
		leave(stream);
		return false;
	}
	*cursor = stream->decoder.cursor;
	if (stream->scratch.total > KEPT_COPY) { /* now: the next command may be long in coming */
		rc_vn_scratch_reset(&stream->scratch);
	}
	return true;
}

/* A private copy of the bytes; NULL: the context has failed. */
static const uint8_t *copy_stream(struct rc_vn_stream *stream, const uint8_t *bytes, size_t size) {
	if (size > stream->context->guest->limits.scratch_bytes) {
		rc_vn_stream_fail(stream, "pStreams", "%zu bytes, the limit is %llu", size,
			(unsigned long long)stream->context->guest->limits.scratch_bytes);
		return NULL;
	}
	if (size > stream->copy_capacity) {
		free(stream->copy);
		stream->copy_capacity = size;
		stream->copy = malloc(size);
	}
	if (!stream->copy) {
		stream->copy_capacity = 0;
		rc_vn_stream_fail(stream, "pStreams", "out of memory");
		return NULL;
	}
	memcpy(stream->copy, bytes, size);
	return stream->copy;
}

static bool execute_stream(struct rc_vn_stream *stream, const VkCommandStreamDescriptionMESA *description) {
	if (description->size == 0) {
		return true;
	}
	struct rc_vn_blob *blob = get_stream(stream, description, "pStreams");
	if (!blob) {
		return false;
	}
	const uint8_t *cursor = copy_stream(stream, blob->map + description->offset, description->size);
	rc_vn_blob_unref(blob);
	const uint8_t *end = cursor ? cursor + description->size : NULL;
	bool fine = cursor != NULL;
	while (fine && cursor < end) {
		fine = !atomic_load_explicit(&stream->context->closing, memory_order_relaxed) &&
			   rc_vn_stream_step(stream, &cursor, end);
	}
	if (stream->copy_capacity > KEPT_COPY) {
		free(stream->copy);
		stream->copy = NULL;
		stream->copy_capacity = 0;
	}
	return fine;
}

void rc_vn_execute_ExecuteCommandStreamsMESA(
	struct rc_vn_stream *stream, struct rc_vn_ExecuteCommandStreamsMESA *args) {
	if (stream->nested) {
		rc_vn_stream_fail(stream, "command", "inside a command stream");
		return;
	}
	if (args->streamCount == 0 || !args->pStreams) {
		return;
	}
	/* Steps take the decoder and the scratch memory, where the arguments are. */
	const uint32_t count = args->streamCount;
	VkCommandStreamDescriptionMESA *streams = calloc(count, sizeof(*streams));
	size_t *positions = args->pReplyPositions ? calloc(count, sizeof(*positions)) : NULL;
	if (!streams || (args->pReplyPositions && !positions)) {
		rc_vn_stream_fail(stream, "pStreams", "out of memory");
		goto out;
	}
	memcpy(streams, args->pStreams, count * sizeof(*streams));
	if (positions) {
		memcpy(positions, args->pReplyPositions, count * sizeof(*positions));
	}
	args->pStreams = NULL;
	args->pReplyPositions = NULL;
	args->pDependencies = NULL;
	const struct rc_vn_decoder decoder = stream->decoder;
	const uint32_t command = stream->command;
	const uint8_t *command_begin = stream->command_begin;
	const bool replying = stream->replying;
	stream->nested = true;
	leave(stream); /* each step enters for itself */
	for (uint32_t i = 0; i < count; i++) {
		if ((positions && !seek_reply(stream, "pReplyPositions", positions[i])) ||
			!execute_stream(stream, &streams[i])) {
			break;
		}
		stream->command = command; /* for error lines */
	}
	enter(stream);
	stream->nested = false;
	stream->decoder = decoder;
	stream->command = command;
	stream->command_begin = command_begin;
	stream->replying = replying;
	open_window(stream);
out:
	free(streams);
	free(positions);
}
