/* SPDX-License-Identifier: Apache-2.0
 * A hostile Venus client's commands, as on the wire, one after the other. What is accepted must be as long when it is written again, and is read
 * through by that. Ids that are multiples of 8 name nothing, of 7 poisoned objects, of 11 another device's. */
#include "../unit/protocol/venus_codec.h"
#include "../unit/render_core/check.h"
#include "fuzz.h"

enum { ROOM = 1 << 20 };

static struct rc_vn_object *find(void *context, uint64_t id, VkObjectType type) {
	static struct rc_vn_object devices[2];
	struct rc_vn_object *object = id % 8 ? codec_find(context, id, id % 13 ? type : VK_OBJECT_TYPE_EVENT) : NULL;
	if (object) {
		object->poisoned = id % 7 == 0;
		object->handle = object->poisoned ? 0 : id;
		object->device = &devices[id % 11 == 0];
	}
	return object;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct codec codec;
	static uint8_t *out;
	if (!out) {
		out = malloc(ROOM);
		codec_init(&codec);
		codec.scratch.limit = 4 << 20;
	}
	/* Commands are 4-aligned in the core; a copy of its own size lets the sanitizer see what is read behind it. */
	size_t rest = size & ~(size_t)3;
	uint8_t *copy = malloc(rest ? rest : 1);
	memcpy(copy, data, rest);
	const uint8_t *cursor = copy;
	while (rest >= 8) {
		uint32_t number;
		memcpy(&number, cursor, sizeof(number));
		const struct rc_vn_test_command *command = codec_command(number);
		if (!command) {
			break;
		}
		codec_reset(&codec);
		struct rc_vn_decoder dec = codec_decoder(&codec, cursor + 8, rest - 8);
		dec.find = find;
		command->decode(&dec, codec.args);
		if (dec.error) {
			CHECK(dec.error_field && dec.cursor == dec.end);
			break;
		}
		CHECK(dec.depth == 0 && (uintptr_t)dec.cursor % 4 == 0);
		size_t used = (size_t)(dec.cursor - cursor - 8);
		struct rc_vn_encoder enc = {.cursor = out, .end = out + ROOM};
		command->encode_request(&enc, codec.args);
		CHECK(enc.overflow || (size_t)(enc.cursor - out) == used);
		enc = (struct rc_vn_encoder){.cursor = out, .end = out + ROOM};
		command->encode_reply(&enc, codec.args);
		cursor += 8 + used;
		rest -= 8 + used;
	}
	free(copy);
	return 0;
}
