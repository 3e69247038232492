/* SPDX-License-Identifier: Apache-2.0
 * Queries by number. */
#ifndef RC_VN_QUERY_H
#define RC_VN_QUERY_H

#include "execute/venus/stream.h"

/* Before what names queries of a pool: drivers use the numbers as they are. False: there are none of these, and the context has failed. */
bool rc_vn_queries_exist(
	struct rc_vn_stream *stream, const struct rc_vn_object *object, uint32_t first, uint32_t count);

#endif
