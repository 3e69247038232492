/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/wire.h"

#include <stdlib.h>

enum { RC_VN_FIRST_BLOCK = 64 << 10, RC_VN_KEPT_BLOCK = 1 << 20 };

struct rc_vn_scratch_block {
	struct rc_vn_scratch_block *next; /* older */
	size_t size;                      /* of `bytes` */
	_Alignas(RC_VN_SCRATCH_ALIGN) uint8_t bytes[];
};

void rc_vn_scratch_init(struct rc_vn_scratch *scratch, size_t limit) {
	*scratch = (struct rc_vn_scratch){.limit = limit};
}

static void free_blocks(struct rc_vn_scratch_block *block) {
	while (block) {
		struct rc_vn_scratch_block *next = block->next;
		free(block);
		block = next;
	}
}

void rc_vn_scratch_finish(struct rc_vn_scratch *scratch) {
	free_blocks(scratch->blocks);
	*scratch = (struct rc_vn_scratch){.limit = scratch->limit};
}

void rc_vn_scratch_reset(struct rc_vn_scratch *scratch) {
	struct rc_vn_scratch_block *block = scratch->blocks;
	scratch->used = 0;
	scratch->total = 0;
	/* A large command does not keep its memory. The oldest is the smallest. */
	while (block && (block->next || block->size > RC_VN_KEPT_BLOCK)) {
		struct rc_vn_scratch_block *next = block->next;
		free(block);
		block = next;
	}
	scratch->blocks = block;
	scratch->capacity = block ? block->size : 0;
}

static bool add_block(struct rc_vn_scratch *scratch, size_t size) {
	size_t wanted = scratch->capacity ? scratch->capacity * 2 : RC_VN_FIRST_BLOCK;
	size_t capacity = size > wanted ? size : wanted;
	struct rc_vn_scratch_block *block = malloc(sizeof(*block) + capacity);
	if (!block) {
		return false;
	}
	block->next = scratch->blocks;
	block->size = capacity;
	scratch->blocks = block;
	scratch->capacity = capacity;
	scratch->used = 0;
	return true;
}

void *rc_vn_scratch_alloc(struct rc_vn_scratch *scratch, size_t size) {
	if (size > scratch->limit - scratch->total) {
		return NULL;
	}
	size_t rounded = (size + RC_VN_SCRATCH_ALIGN - 1) & ~(size_t)(RC_VN_SCRATCH_ALIGN - 1);
	if ((!scratch->blocks || rounded > scratch->capacity - scratch->used) && !add_block(scratch, rounded)) {
		return NULL;
	}
	void *memory = scratch->blocks->bytes + scratch->used;
	scratch->used += rounded;
	scratch->total += size;
	return memset(memory, 0, size);
}

void rc_vn_decoder_fail(struct rc_vn_decoder *dec, const char *field, const char *error) {
	if (!dec->error) {
		dec->error = error;
		dec->error_field = field;
	}
	dec->cursor = dec->end;
}

void *rc_vn_get_chained(struct rc_vn_decoder *dec, uint64_t *seen, unsigned index, size_t size, const char *field) {
	uint64_t bit = 1ull << index % 64;
	if (seen[index / 64] & bit) {
		rc_vn_decoder_fail(dec, field, "a struct is in the chain twice");
		return NULL;
	}
	seen[index / 64] |= bit;
	return rc_vn_get_memory(dec, 1, size, field);
}

void rc_vn_object_wrong(
	struct rc_vn_decoder *dec, const struct rc_vn_object *object, VkObjectType type, const char *field) {
	if (!object) {
		rc_vn_decoder_fail(dec, field, "no object has this id");
	} else if (object->type != type) {
		rc_vn_decoder_fail(dec, field, "the object with this id is of another type");
	} else {
		rc_vn_decoder_fail(dec, field, "the object belongs to another device");
	}
}

const char *rc_vn_get_string(struct rc_vn_decoder *dec, const char *field) {
	uint64_t size = rc_vn_get_u64(dec, field);
	if (!size) {
		return NULL;
	}
	if (size > (size_t)(dec->end - dec->cursor)) {
		rc_vn_decoder_fail(dec, field, "the command is too short for the string");
		return NULL;
	}
	const char *value = rc_vn_get_bytes(dec, size, field);
	if (value && memchr(value, 0, size) != value + size - 1) {
		rc_vn_decoder_fail(dec, field, "the string does not end where its length says");
		return NULL;
	}
	return value;
}

const char *rc_vn_need_string(struct rc_vn_decoder *dec, const char *field) {
	const char *value = rc_vn_get_string(dec, field);
	if (!value) {
		rc_vn_decoder_fail(dec, field, "it is NULL");
	}
	return value;
}
