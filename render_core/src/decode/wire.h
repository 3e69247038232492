/* SPDX-License-Identifier: Apache-2.0
 * The Venus wire format: little-endian words, read and written with every bound checked (docs/protocol/venus.md). What the generated code
 * is built from. */
#ifndef RC_WIRE_H
#define RC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "decode/object_table.h"

/* Memory for one command's decoded structs: freed together, at the next command. One thread. */
struct rc_vn_scratch {
	struct rc_vn_scratch_block *blocks; /* newest first; the oldest is kept */
	size_t used, capacity;              /* of the newest block */
	size_t total, limit;                /* bytes handed out for this command; at most */
};
void rc_vn_scratch_init(struct rc_vn_scratch *scratch, size_t limit);
void rc_vn_scratch_finish(struct rc_vn_scratch *scratch);
void rc_vn_scratch_reset(struct rc_vn_scratch *scratch);
/* Zeroed, 16-aligned. NULL: the limit is reached or memory ran out. Zero bytes give a pointer that is not NULL. */
void *rc_vn_scratch_alloc(struct rc_vn_scratch *scratch, size_t size);

/* Reads one command from a private copy of what the client wrote. The first thing that is wrong sticks: every read after it gives zeros and
 * the command is not executed. */
struct rc_vn_decoder {
	const uint8_t *cursor, *end;
	struct rc_vn_scratch *scratch;
	/* Ids to objects. NULL `object` results: no such id. `context` is the owner's. */
	struct rc_vn_object *(*find)(void *context, uint64_t id);
	void *context;
	struct rc_vn_object *device; /* of the command's first parameter: every device-level object named must be of it; NULL: not checked */
	const char *error;           /* NULL: all is well; else what is wrong, in words */
	const char *error_field;     /* "VkBufferCreateInfo.sharingMode" */
	bool poisoned;               /* an input names a poisoned object */
	uint32_t depth;              /* of pNext chains */
};

/* Writes one reply. What does not fit is counted in `overflow` and not written. */
struct rc_vn_encoder {
	uint8_t *cursor, *end;
	bool overflow;
};

#endif
