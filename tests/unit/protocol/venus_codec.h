/* SPDX-License-Identifier: Apache-2.0
 * A command's bytes through the core's decoder and encoder and back: every id names an object whose handle is the id. */
#ifndef VENUS_CODEC_H
#define VENUS_CODEC_H

#include <stdlib.h>

#include "venus_test_gen.h"

enum { CODEC_ARGS = 4096, CODEC_OBJECTS = 4096, CODEC_MEMORY = 64 << 20 };

struct codec {
	struct rc_vn_scratch scratch;
	struct rc_vn_object *objects;
	size_t object_count;
	_Alignas(16) uint8_t args[CODEC_ARGS];
};

static struct rc_vn_object *codec_find(void *context, uint64_t id, VkObjectType type) {
	struct codec *codec = context;
	if (codec->object_count == CODEC_OBJECTS) {
		return NULL;
	}
	struct rc_vn_object *object = &codec->objects[codec->object_count++];
	*object = (struct rc_vn_object){.id = id, .type = type, .handle = id};
	return object;
}

static inline void codec_init(struct codec *codec) {
	rc_vn_scratch_init(&codec->scratch, CODEC_MEMORY);
	codec->objects = malloc(CODEC_OBJECTS * sizeof(*codec->objects));
}

static inline void codec_finish(struct codec *codec) {
	rc_vn_scratch_finish(&codec->scratch);
	free(codec->objects);
}

/* Begin with a command: forgets the one before. */
static inline void codec_reset(struct codec *codec) {
	rc_vn_scratch_reset(&codec->scratch);
	codec->object_count = 0;
}

static inline struct rc_vn_decoder codec_decoder(struct codec *codec, const uint8_t *bytes, size_t size) {
	return (struct rc_vn_decoder){
		.cursor = bytes,
		.end = bytes + size,
		.scratch = &codec->scratch,
		.find = codec_find,
		.context = codec,
	};
}

static inline const struct rc_vn_test_command *codec_command(uint32_t number) {
	for (uint32_t i = 0; i < rc_vn_test_command_count; i++) {
		if (rc_vn_test_commands[i].number == number) {
			return &rc_vn_test_commands[i];
		}
	}
	return NULL;
}

#endif
