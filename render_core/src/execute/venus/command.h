/* SPDX-License-Identifier: Apache-2.0
 * Command buffers: recorded on the host as they arrive. What cannot be recorded makes the buffer unusable until it is begun again; it is
 * left out of submissions. */
#ifndef RC_VN_COMMAND_H
#define RC_VN_COMMAND_H

#include "execute/venus/objects.h"
#include "execute/venus/stream.h"

/* Before each vkCmd*: count it. False: the buffer is unusable (nothing is called). */
bool rc_vn_command_buffer_record(struct rc_vn_stream *stream, struct rc_vn_object *object);

/* A vkCmd* named a poisoned object. */
void rc_vn_command_buffer_poison(struct rc_vn_stream *stream, struct rc_vn_object *object);

/* Take a command buffer out of the table and give back what it holds; the host's is freed by the caller or with its pool. False: it was out
 * already, and is another's to free. */
bool rc_vn_command_buffer_remove(struct rc_vn_context *context, struct rc_vn_command_buffer *commands);

/* Remove all of a pool's command buffers or descriptor sets from the table: the host frees them with the pool. */
void rc_vn_pool_remove_children(struct rc_vn_context *context, struct rc_vn_object *pool);

#endif
