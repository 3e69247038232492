/* SPDX-License-Identifier: Apache-2.0
 * Stock clients do not ask whether a fence or a timeline semaphore is done: with each submission they send a small command buffer that
 * writes the answer to memory they poll. These command buffers are recognised when they are recorded, so that a client can also be told when the GPU never will. */
#ifndef RC_VN_FEEDBACK_H
#define RC_VN_FEEDBACK_H

#include "execute/venus/objects.h"

/* Recorded: a fill of 4 bytes, a copy of 8 bytes, a copy of queries' results with availability, 64 bits each. */
void rc_vn_feedback_note_fill(
	struct rc_vn_command_buffer *commands, struct rc_vn_buffer *buffer, uint64_t offset, uint32_t value);
void rc_vn_feedback_note_copy(struct rc_vn_command_buffer *commands, struct rc_vn_buffer *source,
	uint64_t source_offset, struct rc_vn_buffer *destination, uint64_t destination_offset);
void rc_vn_feedback_note_queries(struct rc_vn_command_buffer *commands, struct rc_vn_buffer *buffer, uint64_t offset,
	uint64_t stride, uint32_t count);
/* It is being freed: nothing is noted any more. What is noted already is cleared as ever. */
void rc_vn_feedback_close(struct rc_vn_command_buffer *commands);
/* Begin, reset, free. */
void rc_vn_feedback_clear(struct rc_vn_command_buffer *commands);

/* What the command buffer would do, done here: a fence's only. */
void rc_vn_feedback_fill(struct rc_vn_command_buffer *commands);

/* The device is lost: fences get VK_ERROR_DEVICE_LOST, timelines the value they wait for, queries become available. */
void rc_vn_feedback_end(struct rc_vn_command_buffer *commands);
void rc_vn_feedback_end_all(struct rc_vn_device *device);

#endif
