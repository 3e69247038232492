/* SPDX-License-Identifier: Apache-2.0
 * Executes commands in order: one for each ring, one for the commands on the socket. Owned by the ring's (the socket's) thread. */
#ifndef RC_VN_STREAM_H
#define RC_VN_STREAM_H

#include "decode/wire.h"
#include "execute/venus/context.h"
#include "transport/blob.h"

struct rc_vn_stream {
	struct rc_vn_context *context;
	struct rc_vn_ring *ring; /* NULL: the socket's stream */
	uint32_t reader;         /* of context->objects */
	uint32_t entries_left;   /* commands until it leaves the table for a moment; 0: it is outside */
	struct rc_vn_scratch scratch;
	struct rc_vn_decoder decoder;
	/* the reply window: vkSetReplyCommandStreamMESA */
	struct rc_vn_blob *reply_blob; /* referenced; NULL: none set */
	size_t reply_offset, reply_size, reply_position;
	bool nested;                  /* inside vkExecuteCommandStreamsMESA */
	uint32_t command;             /* the number being executed */
	const uint8_t *command_begin; /* its first byte; decoder.cursor is behind its last when it is executed */
	bool replying;                /* it asks for a reply */
	struct rc_vn_encoder encoder; /* what is left of the reply window */
	uint8_t *copy;                /* private copy of a command stream; kept between streams unless it is large */
	size_t copy_capacity;
	int socket_fd; /* the socket's stream: the client's connection, borrowed; -1: none */
};

bool rc_vn_stream_init(struct rc_vn_stream *stream, struct rc_vn_context *context, struct rc_vn_ring *ring);
void rc_vn_stream_finish(struct rc_vn_stream *stream);

/* Execute the command at *cursor (private memory, 4-aligned, nobody else writes it) and move *cursor behind it; its reply is complete in shared
 * memory when this returns. False: the context has failed (the reason is logged). */
bool rc_vn_stream_step(struct rc_vn_stream *stream, const uint8_t **cursor, const uint8_t *end);

/* Of the thread that steps: no object is held until the next step. It is so already when a step has come to its `end`. */
void rc_vn_stream_rest(struct rc_vn_stream *stream);

/* Sleep for `timeout_ms` (0: only look), less when there are news. False: the client is gone (context->closing is set) or the context has failed.
 * The socket's stream only. */
bool rc_vn_stream_pause(struct rc_vn_stream *stream, int timeout_ms);

/* ---- for the generated dispatcher and the executors ---- */

/* Logs "vkCreateBuffer (50): VkBufferCreateInfo.size: WHY" and fails the context. */
__attribute__((format(printf, 3, 4))) void rc_vn_stream_fail(
	struct rc_vn_stream *stream, const char *field, const char *format, ...);

#endif
