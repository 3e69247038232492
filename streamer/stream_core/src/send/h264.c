/* SPDX-License-Identifier: Apache-2.0
 * H.264 payloads, packetization-mode 1 (RFC 6184): a NAL unit that fits travels alone or, with neighbours that fit as well, in a STAP-A;
 * a larger one in FU-As, all of the same size but the last, so that the kernel can cut them (UDP GSO). */
#include "packetiser.h"

#include <string.h>

enum {
	NAL_TYPE_MASK = 0x1f,
	NAL_NRI_MASK = 0x60,
	NAL_FORBIDDEN = 0x80,
	NAL_TYPE_STAP_A = 24,
	NAL_TYPE_FU_A = 28,
	FU_START = 0x80,
	FU_END = 0x40,
	FU_HEADERS_BYTES = 2,
	STAP_HEADER_BYTES = 1,
	STAP_LENGTH_BYTES = 2,
	STAP_MAX_NALS = (SC_PAYLOAD_MAX_PARTS - 1) / 2,
};

struct nal {
	const uint8_t *data;
	size_t size_bytes;
};

/* NAL units that wait for others to share a packet with. */
struct aggregate {
	struct nal nals[STAP_MAX_NALS];
	uint32_t count;
	size_t size_bytes; /* as a STAP-A */
};

/* Return the next 00 00 01 at or after `at`, or `end`. */
static const uint8_t *find_start_code(const uint8_t *at, const uint8_t *end) {
	/* One byte in 256 of coded data is 1, and memchr() looks at 32 at a time. */
	const uint8_t *one = end - at > 2 ? at + 2 : end;
	while (one < end && (one = memchr(one, 1, (size_t)(end - one)))) {
		if (!one[-1] && !one[-2]) {
			return one - 2;
		}
		one++;
	}
	return end;
}

/* Take the NAL unit behind the start code at `*at` and move on to the next; false at the end. */
static bool next_nal(const uint8_t **at, const uint8_t *end, struct nal *nal) {
	if (*at >= end) {
		return false;
	}
	const uint8_t *begin = *at + 3;
	*at = find_start_code(begin, end);
	/* trailing_zero_8bits and the first byte of a start code of 4: a NAL unit never ends with 0. */
	const uint8_t *stop = *at;
	while (stop > begin && !stop[-1]) {
		stop--;
	}
	*nal = (struct nal){.data = begin, .size_bytes = (size_t)(stop - begin)};
	return true;
}

/* Whether a NAL unit may be sent: types 0 and 24 to 31 mean something else in RTP. */
static bool is_sendable(const struct nal *nal) {
	if (!nal->size_bytes || nal->data[0] & NAL_FORBIDDEN) {
		return false;
	}
	const uint8_t type = nal->data[0] & NAL_TYPE_MASK;
	return type && type < NAL_TYPE_STAP_A;
}

static bool flush(struct aggregate *aggregate, struct sc_payload_sink *sink) {
	const uint32_t count = aggregate->count;
	struct sc_payload_part parts[SC_PAYLOAD_MAX_PARTS];
	uint8_t lengths[STAP_MAX_NALS][STAP_LENGTH_BYTES];
	aggregate->count = 0;
	aggregate->size_bytes = 0;
	if (!count) {
		return true;
	}
	if (count == 1) {
		parts[0] = (struct sc_payload_part){aggregate->nals[0].data, aggregate->nals[0].size_bytes};
		return sink->take(sink, parts, 1);
	}
	/* NRI: the highest of those inside (5.7.1). */
	uint8_t nri = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct nal *nal = &aggregate->nals[i];
		const uint8_t its = nal->data[0] & NAL_NRI_MASK;
		nri = its > nri ? its : nri;
		lengths[i][0] = (uint8_t)(nal->size_bytes >> 8);
		lengths[i][1] = (uint8_t)nal->size_bytes;
		parts[1 + 2 * i] = (struct sc_payload_part){lengths[i], STAP_LENGTH_BYTES};
		parts[2 + 2 * i] = (struct sc_payload_part){nal->data, nal->size_bytes};
	}
	const uint8_t header = nri | NAL_TYPE_STAP_A;
	parts[0] = (struct sc_payload_part){&header, STAP_HEADER_BYTES};
	return sink->take(sink, parts, 1 + 2 * count);
}

static bool fragment(const struct nal *nal, size_t max_payload_bytes, struct sc_payload_sink *sink) {
	const size_t room = max_payload_bytes - FU_HEADERS_BYTES;
	const uint8_t *data = nal->data + 1;
	size_t left = nal->size_bytes - 1;
	uint8_t headers[FU_HEADERS_BYTES] = {
		(uint8_t)((nal->data[0] & NAL_NRI_MASK) | NAL_TYPE_FU_A),
		(uint8_t)(FU_START | (nal->data[0] & NAL_TYPE_MASK)),
	};
	while (left) {
		const size_t size = left < room ? left : room;
		left -= size;
		headers[1] |= left ? 0 : FU_END;
		const struct sc_payload_part parts[2] = {{headers, FU_HEADERS_BYTES}, {data, size}};
		if (!sink->take(sink, parts, 2)) {
			return false;
		}
		headers[1] &= (uint8_t)~FU_START;
		data += size;
	}
	return true;
}

enum sc_result sc_packetise_h264(
	const uint8_t *unit, size_t size_bytes, size_t max_payload_bytes, struct sc_payload_sink *sink) {
	if (!size_bytes) {
		return SC_ERROR_INVALID;
	}
	const uint8_t *end = unit + size_bytes;
	const uint8_t *at = find_start_code(unit, end);
	struct aggregate aggregate = {0};
	struct nal nal;
	bool is_empty = true;
	while (next_nal(&at, end, &nal)) {
		if (!is_sendable(&nal)) {
			continue;
		}
		is_empty = false;
		const size_t cost = STAP_LENGTH_BYTES + nal.size_bytes;
		const bool is_large = nal.size_bytes > max_payload_bytes;
		const size_t before = aggregate.count ? aggregate.size_bytes : STAP_HEADER_BYTES;
		if (is_large || aggregate.count == STAP_MAX_NALS || before + cost > max_payload_bytes) {
			if (!flush(&aggregate, sink)) {
				return SC_AGAIN;
			}
		}
		if (is_large) {
			if (!fragment(&nal, max_payload_bytes, sink)) {
				return SC_AGAIN;
			}
			continue;
		}
		aggregate.size_bytes = (aggregate.count ? aggregate.size_bytes : STAP_HEADER_BYTES) + cost;
		aggregate.nals[aggregate.count++] = nal;
	}
	if (is_empty) {
		return SC_ERROR_INVALID;
	}
	return flush(&aggregate, sink) ? SC_OK : SC_AGAIN;
}
