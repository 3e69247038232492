/* SPDX-License-Identifier: Apache-2.0
 * Adding a client's objects, and what becomes of those whose creation failed. */
#ifndef RC_VN_OBJECT_H
#define RC_VN_OBJECT_H

#include "execute/venus/stream.h"

/* False: the client has limits.objects of this type. */
bool rc_vn_may_create(struct rc_vn_stream *stream, VkObjectType type);
/* The same for `more` at once. */
bool rc_vn_may_create_all(struct rc_vn_stream *stream, VkObjectType type, uint32_t more);

/* Fill in `object` (calloc'd, or NULL for a plain one) and add it under the client's id: with the host's `handle` when `ret` is VK_SUCCESS, poisoned
 * when it is an error. The object is the table's afterwards. False: the id is 0 or in use, or memory ran out; the context has failed, `object` is freed, and the host's
 * handle is still the caller's. */
bool rc_vn_add_typed_object(struct rc_vn_stream *stream, struct rc_vn_object *object, VkObjectType type, uint64_t id,
	uint64_t handle, struct rc_vn_object *parent, VkResult ret);
bool rc_vn_add_object(struct rc_vn_stream *stream, VkObjectType type, uint64_t id, uint64_t handle,
	struct rc_vn_object *parent, VkResult ret);

#endif
