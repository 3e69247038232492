/* SPDX-License-Identifier: Apache-2.0
 * Access units of any bytes, in payloads of any size: what is cut fits, and holds the bytes of the unit in their order.
 * Input: u8 payload size - 64, the unit. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "send/packetiser.h"

struct sink {
	struct sc_payload_sink base;
	const uint8_t *begin, *end;
	size_t max_payload_bytes;
	size_t packets;
	const uint8_t *at; /* nothing before it may come any more */
};

static bool take(struct sc_payload_sink *base, const struct sc_payload_part *parts, uint32_t part_count) {
	struct sink *sink = (struct sink *)base;
	size_t size = 0;
	if (!part_count || part_count > SC_PAYLOAD_MAX_PARTS) {
		abort();
	}
	for (uint32_t i = 0; i < part_count; i++) {
		const struct sc_payload_part part = parts[i];
		size += part.size_bytes;
		/* Headers lie elsewhere. */
		if (part.data >= sink->begin && part.data < sink->end) {
			if (part.data < sink->at || part.size_bytes > (size_t)(sink->end - part.data)) {
				abort();
			}
			sink->at = part.data + part.size_bytes;
		} else if (part.size_bytes > 2) {
			abort();
		}
	}
	if (!size || size > sink->max_payload_bytes) {
		abort();
	}
	const uint8_t type = parts[0].data[0] & 0x1f;
	if (!type || type > 28 || (type > 23 && type != 24 && type != 28)) {
		abort();
	}
	sink->packets++;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (!size) {
		return 0;
	}
	/* A copy of its own size: reads beyond it are seen. */
	uint8_t *unit = malloc(size);
	memcpy(unit, data + 1, size - 1);
	struct sink sink = {.base = {.take = take},
		.begin = unit,
		.end = unit + size - 1,
		.at = unit,
		.max_payload_bytes = SC_PAYLOAD_MIN_BYTES + data[0]};
	const enum sc_result ret = sc_packetise_h264(unit, size - 1, sink.max_payload_bytes, &sink.base);
	if (ret != (sink.packets ? SC_OK : SC_ERROR_INVALID)) {
		abort();
	}
	free(unit);
	return 0;
}
