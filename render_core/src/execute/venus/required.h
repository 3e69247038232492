/* SPDX-License-Identifier: Apache-2.0
 * Pointers that Vulkan says are never NULL, but that a client can leave out on the wire. */
#ifndef RC_VN_REQUIRED_H
#define RC_VN_REQUIRED_H

#include "execute/venus/stream.h"

/* False: `pointer` is NULL, and the context has failed for it. */
static inline bool rc_vn_required(struct rc_vn_stream *stream, const void *pointer, const char *field) {
	if (!pointer) {
		rc_vn_stream_fail(stream, field, "is missing");
	}
	return pointer != NULL;
}

#endif
