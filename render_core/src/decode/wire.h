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
	/* Ids to objects; NULL: no such id. `type` is the one that is wanted: the result's is checked here. `context` is the owner's. */
	struct rc_vn_object *(*find)(void *context, uint64_t id, VkObjectType type);
	void *context;
	/* Of the command's first parameter: every device-level object that is named must be of it. NULL: not checked. */
	struct rc_vn_object *device;
	const char *error;       /* NULL: all is well; else what is wrong, in words */
	const char *error_field; /* "VkBufferCreateInfo.sharingMode" */
	bool poisoned;           /* an input names a poisoned object */
	uint32_t depth;          /* of pNext chains */
};

/* Writes one reply. What does not fit is counted in `overflow` and not written; nor is anything after it. */
struct rc_vn_encoder {
	uint8_t *cursor, *end;
	bool overflow;
};

/* Structs in pNext chains that are open at once. A client sends about 70 for vkCreateDevice. */
enum { RC_VN_MAX_CHAIN = 128 };
/* Elements of an output array: they have no bytes on the wire that would bound them. */
enum { RC_VN_MAX_OUTPUT_COUNT = 65536 };
enum { RC_VN_SCRATCH_ALIGN = 16 };

/* ---- reading: `field` is what the error names; the first error stays ---- */

/* Nothing more is read. */
void rc_vn_decoder_fail(struct rc_vn_decoder *dec, const char *field, const char *error) __attribute__((cold));

static inline bool rc_vn_has(struct rc_vn_decoder *dec, size_t size, const char *field) {
	if (__builtin_expect(size <= (size_t)(dec->end - dec->cursor), true)) {
		return true;
	}
	rc_vn_decoder_fail(dec, field, "the command ends before it");
	return false;
}

/* `size` bytes, a multiple of 4, as they are. */
static inline void rc_vn_get_block(struct rc_vn_decoder *dec, void *value, size_t size, const char *field) {
	if (rc_vn_has(dec, size, field)) {
		memcpy(value, dec->cursor, size);
		dec->cursor += size;
	}
}

static inline uint32_t rc_vn_get_u32(struct rc_vn_decoder *dec, const char *field) {
	uint32_t value = 0;
	rc_vn_get_block(dec, &value, sizeof(value), field);
	return value;
}

static inline int32_t rc_vn_get_i32(struct rc_vn_decoder *dec, const char *field) {
	return (int32_t)rc_vn_get_u32(dec, field);
}

static inline float rc_vn_get_f32(struct rc_vn_decoder *dec, const char *field) {
	float value = 0;
	rc_vn_get_block(dec, &value, sizeof(value), field);
	return value;
}

static inline uint64_t rc_vn_get_u64(struct rc_vn_decoder *dec, const char *field) {
	uint64_t value = 0;
	rc_vn_get_block(dec, &value, sizeof(value), field);
	return value;
}

static inline int64_t rc_vn_get_i64(struct rc_vn_decoder *dec, const char *field) {
	return (int64_t)rc_vn_get_u64(dec, field);
}

static inline double rc_vn_get_f64(struct rc_vn_decoder *dec, const char *field) {
	double value = 0;
	rc_vn_get_block(dec, &value, sizeof(value), field);
	return value;
}

/* Drivers trust it to be 0 or 1; applications write other true values. */
static inline VkBool32 rc_vn_get_bool(struct rc_vn_decoder *dec, const char *field) {
	return rc_vn_get_u32(dec, field) ? VK_TRUE : VK_FALSE;
}

/* What a word must be. */
static inline void rc_vn_expect_u32(
	struct rc_vn_decoder *dec, uint32_t expected, const char *field, const char *error) {
	if (rc_vn_get_u32(dec, field) != expected) {
		rc_vn_decoder_fail(dec, field, error);
	}
}

/* Whether a pointer is there. */
static inline bool rc_vn_get_pointer(struct rc_vn_decoder *dec, const char *field) {
	uint64_t there = rc_vn_get_u64(dec, field);
	if (__builtin_expect(there > 1, false)) {
		rc_vn_decoder_fail(dec, field, "the word for a pointer is neither 0 nor 1");
		return false;
	}
	return there;
}

/* A pointer that Vulkan wants, or that can only be NULL. */
static inline bool rc_vn_need_pointer(struct rc_vn_decoder *dec, const char *field) {
	bool there = rc_vn_get_pointer(dec, field);
	if (!there) {
		rc_vn_decoder_fail(dec, field, "it is NULL");
	}
	return there;
}

static inline void rc_vn_expect_null(struct rc_vn_decoder *dec, const char *field) {
	if (rc_vn_get_u64(dec, field)) {
		rc_vn_decoder_fail(dec, field, "it is not NULL, and the protocol cannot carry it");
	}
}

/* The elements that follow: none, or `expected`, of at least `size` bytes each. */
static inline size_t rc_vn_get_count(struct rc_vn_decoder *dec, uint64_t expected, size_t size, const char *field) {
	uint64_t count = rc_vn_get_u64(dec, field);
	if (__builtin_expect(!count || (count == expected && count <= (size_t)(dec->end - dec->cursor) / size), true)) {
		return count;
	}
	rc_vn_decoder_fail(dec, field,
		count == expected ? "the command is too short for so many elements" : "the array's length is not its count");
	return 0;
}

/* `count`, of an array that Vulkan wants. */
static inline size_t rc_vn_need_all(struct rc_vn_decoder *dec, size_t count, uint64_t expected, const char *field) {
	if (__builtin_expect(count != expected, false)) {
		rc_vn_decoder_fail(dec, field, "it is NULL, and its count is not 0");
	}
	return count;
}

/* Of an array that the command fills: its elements need not have bytes here. */
static inline size_t rc_vn_get_output_count(struct rc_vn_decoder *dec, uint64_t expected, const char *field) {
	uint64_t count = rc_vn_get_u64(dec, field);
	if (count && (count != expected || count > RC_VN_MAX_OUTPUT_COUNT)) {
		rc_vn_decoder_fail(dec, field,
			count == expected ? "more elements than may be asked for" : "the array's length is not its count");
		return 0;
	}
	return count;
}

/* Of an array of bytes that the command fills: the scratch's limit bounds it. */
static inline size_t rc_vn_get_output_size(struct rc_vn_decoder *dec, uint64_t expected, const char *field) {
	uint64_t size = rc_vn_get_u64(dec, field);
	if (size && size != expected) {
		rc_vn_decoder_fail(dec, field, "the array's length is not its size");
		return 0;
	}
	return size;
}

/* The length of a T[N]. */
static inline void rc_vn_expect_count(struct rc_vn_decoder *dec, uint64_t expected, const char *field) {
	if (rc_vn_get_u64(dec, field) != expected) {
		rc_vn_decoder_fail(dec, field, "the array's length is not that of its type");
	}
}

/* Zeroed memory for `count` elements; NULL after an error. */
static inline void *rc_vn_get_memory(struct rc_vn_decoder *dec, size_t count, size_t size, const char *field) {
	size_t bytes;
	void *memory = __builtin_mul_overflow(count, size, &bytes) ? NULL : rc_vn_scratch_alloc(dec->scratch, bytes);
	if (__builtin_expect(!memory, false)) {
		rc_vn_decoder_fail(dec, field, "the command needs more memory than one may have");
	}
	return memory;
}

/* An array whose bytes on the wire are those in memory: used where it lies if that is `align`ed, else copied. */
static inline const void *rc_vn_get_packed(
	struct rc_vn_decoder *dec, size_t count, size_t size, size_t align, const char *field) {
	size_t bytes;
	if (!count || __builtin_mul_overflow(count, size, &bytes) || !rc_vn_has(dec, bytes, field)) {
		return NULL;
	}
	const void *value = dec->cursor;
	if (__builtin_expect((uintptr_t)value % align, false)) {
		void *copy = rc_vn_get_memory(dec, count, size, field);
		value = copy ? memcpy(copy, value, bytes) : NULL;
	}
	dec->cursor += bytes;
	return value;
}

/* `size` bytes and their padding, where they lie: bounded before, by rc_vn_get_count(). */
static inline const void *rc_vn_get_bytes(struct rc_vn_decoder *dec, size_t size, const char *field) {
	if (!size || size > SIZE_MAX - 3 || !rc_vn_has(dec, (size + 3) & ~(size_t)3, field)) {
		return NULL;
	}
	const void *value = dec->cursor;
	dec->cursor += (size + 3) & ~(size_t)3;
	return value;
}

/* A T[N] of bytes. */
static inline void rc_vn_get_byte_array(struct rc_vn_decoder *dec, void *value, size_t size, const char *field) {
	const void *bytes = rc_vn_get_bytes(dec, size, field);
	if (bytes) {
		memcpy(value, bytes, size);
	}
}

/* A string with its NUL, where it lies; NULL for none. */
const char *rc_vn_get_string(struct rc_vn_decoder *dec, const char *field);
const char *rc_vn_need_string(struct rc_vn_decoder *dec, const char *field);

/* Whether a pNext chain goes on, and with which sType. */
static inline bool rc_vn_get_chain(struct rc_vn_decoder *dec, int32_t *type, const char *field) {
	if (__builtin_expect(!rc_vn_get_pointer(dec, field), true)) {
		return false;
	}
	if (dec->depth >= RC_VN_MAX_CHAIN) {
		rc_vn_decoder_fail(dec, field, "the chain is too long");
		return false;
	}
	*type = rc_vn_get_i32(dec, field);
	return !dec->error;
}

/* Memory for struct number `index` of those that may be in a chain; NULL: it is in it already, or memory ran out. */
void *rc_vn_get_chained(struct rc_vn_decoder *dec, uint64_t *seen, unsigned index, size_t size, const char *field);

void rc_vn_object_wrong(struct rc_vn_decoder *dec, const struct rc_vn_object *object, VkObjectType type,
	const char *field) __attribute__((cold));

/* What an id names, of the right type and device, poisoned or not; NULL for id 0. */
static inline struct rc_vn_object *rc_vn_get_any_object(
	struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	uint64_t id = rc_vn_get_u64(dec, field);
	if (!id) {
		return NULL;
	}
	struct rc_vn_object *object = dec->find(dec->context, id, type);
	if (__builtin_expect(
			!object || object->type != type || (dec->device && object->device && object->device != dec->device),
			false)) {
		rc_vn_object_wrong(dec, object, type, field);
		return NULL;
	}
	return object;
}

static inline struct rc_vn_object *rc_vn_get_object(struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	struct rc_vn_object *object = rc_vn_get_any_object(dec, type, field);
	dec->poisoned |= object && object->poisoned;
	return object;
}

/* A parameter that Vulkan wants. */
static inline struct rc_vn_object *rc_vn_need_object(struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	struct rc_vn_object *object = rc_vn_get_object(dec, type, field);
	if (__builtin_expect(!object, false)) {
		rc_vn_decoder_fail(dec, field, "the handle is 0");
	}
	return object;
}

/* The first parameter: whose device all others must be of. */
static inline struct rc_vn_object *rc_vn_get_owner(struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	dec->device = NULL;
	struct rc_vn_object *object = rc_vn_need_object(dec, type, field);
	dec->device = object ? object->device : NULL;
	/* Sequentially consistent: see rc_vn_readers_wait(). */
	if (__builtin_expect(dec->device && atomic_load(&dec->device->ending), false)) {
		rc_vn_decoder_fail(dec, field, "its device is being destroyed");
	}
	return object;
}

/* The host's handle, as a number. */
static inline uintptr_t rc_vn_object_handle(const struct rc_vn_object *object) {
	return object ? (uintptr_t)object->handle : 0;
}

static inline uintptr_t rc_vn_get_handle(struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	return rc_vn_object_handle(rc_vn_get_object(dec, type, field));
}

static inline uintptr_t rc_vn_need_handle(struct rc_vn_decoder *dec, VkObjectType type, const char *field) {
	return rc_vn_object_handle(rc_vn_need_object(dec, type, field));
}

/* ---- writing ---- */

static inline void rc_vn_put_block(struct rc_vn_encoder *enc, const void *value, size_t size) {
	if (__builtin_expect(size <= (size_t)(enc->end - enc->cursor), true)) {
		if (size) { /* arrays without elements are NULL */
			memcpy(enc->cursor, value, size);
		}
		enc->cursor += size;
	} else {
		enc->overflow = true;
		enc->end = enc->cursor;
	}
}

static inline void rc_vn_put_u32(struct rc_vn_encoder *enc, uint32_t value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

static inline void rc_vn_put_i32(struct rc_vn_encoder *enc, int32_t value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

static inline void rc_vn_put_f32(struct rc_vn_encoder *enc, float value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

static inline void rc_vn_put_u64(struct rc_vn_encoder *enc, uint64_t value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

static inline void rc_vn_put_i64(struct rc_vn_encoder *enc, int64_t value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

static inline void rc_vn_put_f64(struct rc_vn_encoder *enc, double value) {
	rc_vn_put_block(enc, &value, sizeof(value));
}

/* The word for a pointer. */
static inline bool rc_vn_put_pointer(struct rc_vn_encoder *enc, const void *value) {
	rc_vn_put_u64(enc, value != NULL);
	return value != NULL;
}

/* The length of an array: 0 where it is NULL. */
static inline size_t rc_vn_put_count(struct rc_vn_encoder *enc, const void *value, uint64_t count) {
	count = value ? count : 0;
	rc_vn_put_u64(enc, count);
	return count;
}

static inline void rc_vn_put_bytes(struct rc_vn_encoder *enc, const void *value, size_t size) {
	static const uint8_t zeros[4];
	rc_vn_put_block(enc, value, size);
	rc_vn_put_block(enc, zeros, -size & 3);
}

static inline void rc_vn_put_string(struct rc_vn_encoder *enc, const char *value) {
	size_t size = value ? strlen(value) + 1 : 0;
	rc_vn_put_u64(enc, size);
	if (size) {
		rc_vn_put_bytes(enc, value, size);
	}
}

#endif
