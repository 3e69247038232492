/* SPDX-License-Identifier: Apache-2.0
 * The H.264 packetiser against access units made by hand: what comes out, put together again, is what went in. */
#include "../../render_core/check.h"
#include "send/packetiser.h"

#include <string.h>

enum { MAX_PAYLOAD = 100, MAX_PACKETS = 64, MAX_NALS = 64 };

struct collector {
	struct sc_payload_sink base;
	uint8_t payloads[MAX_PACKETS][MAX_PAYLOAD];
	size_t sizes[MAX_PACKETS];
	uint32_t count;
	uint32_t room;
};

static bool collect(struct sc_payload_sink *sink, const struct sc_payload_part *parts, uint32_t part_count) {
	struct collector *collector = (struct collector *)sink;
	if (collector->count == collector->room) {
		return false;
	}
	size_t size = 0;
	for (uint32_t i = 0; i < part_count; i++) {
		CHECK(size + parts[i].size_bytes <= MAX_PAYLOAD);
		memcpy(collector->payloads[collector->count] + size, parts[i].data, parts[i].size_bytes);
		size += parts[i].size_bytes;
	}
	CHECK(size);
	collector->sizes[collector->count++] = size;
	return true;
}

static enum sc_result packetise(struct collector *collector, const uint8_t *unit, size_t size) {
	*collector = (struct collector){.base = {.take = collect}, .room = MAX_PACKETS};
	return sc_packetise_h264(unit, size, MAX_PAYLOAD, &collector->base);
}

/* Undo RFC 6184: write the NAL units one behind the other, each with a start code of 3 bytes. */
static size_t depacketise(const struct collector *collector, uint8_t *out) {
	size_t size = 0;
	for (uint32_t i = 0; i < collector->count; i++) {
		const uint8_t *payload = collector->payloads[i];
		const size_t length = collector->sizes[i];
		const uint8_t type = payload[0] & 0x1f;
		if (type == 24) {
			CHECK(length > 3);
			for (size_t at = 1; at < length;) {
				const size_t nal = (size_t)payload[at] << 8 | payload[at + 1];
				CHECK(nal && at + 2 + nal <= length);
				memcpy(out + size, "\0\0\1", 3);
				memcpy(out + size + 3, payload + at + 2, nal);
				size += 3 + nal;
				at += 2 + nal;
			}
		} else if (type == 28) {
			CHECK(length > 2);
			if (payload[1] & 0x80) {
				memcpy(out + size, "\0\0\1", 3);
				out[size + 3] = (payload[0] & 0xe0) | (payload[1] & 0x1f);
				size += 4;
			}
			memcpy(out + size, payload + 2, length - 2);
			size += length - 2;
		} else {
			memcpy(out + size, "\0\0\1", 3);
			memcpy(out + size + 3, payload, length);
			size += 3 + length;
		}
	}
	return size;
}

/* Append a start code and a NAL unit of `size` bytes, header included. */
static size_t put_nal(uint8_t *out, bool is_long, uint8_t header, size_t size) {
	size_t at = 0;
	if (is_long) {
		out[at++] = 0;
	}
	out[at++] = 0;
	out[at++] = 0;
	out[at++] = 1;
	for (size_t i = 0; i < size; i++) {
		/* No zeros: no start codes. */
		out[at + i] = i ? (uint8_t)(i % 255 + 1) : header;
	}
	return at + size;
}

static void test_sizes_around_the_limit(void) {
	static struct collector collector;
	for (size_t size = 1; size < 5 * MAX_PAYLOAD; size++) {
		uint8_t unit[6 * MAX_PAYLOAD], back[6 * MAX_PAYLOAD];
		const size_t total = put_nal(unit, size % 2, 0x65, size);
		CHECK(packetise(&collector, unit, total) == SC_OK);
		const size_t begin = size % 2;
		CHECK(depacketise(&collector, back) == total - begin);
		CHECK(!memcmp(back, unit + begin, total - begin));
		if (size <= MAX_PAYLOAD) {
			CHECK(collector.count == 1 && collector.sizes[0] == size && collector.payloads[0][0] == 0x65);
			continue;
		}
		CHECK(collector.count == (size - 1 + MAX_PAYLOAD - 3) / (MAX_PAYLOAD - 2));
		for (uint32_t i = 0; i < collector.count; i++) {
			const bool is_last = i + 1 == collector.count;
			CHECK(collector.payloads[i][0] == (0x60 | 28));
			CHECK(collector.payloads[i][1] == (5 | (i ? 0 : 0x80) | (is_last ? 0x40 : 0)));
			/* One size: the kernel can cut them. */
			CHECK(is_last || collector.sizes[i] == MAX_PAYLOAD);
		}
	}
}

static void test_parameter_sets_share_a_packet(void) {
	static struct collector collector;
	uint8_t unit[1000], back[1000];
	size_t size = put_nal(unit, true, 0x67, 20);
	size += put_nal(unit + size, true, 0x28, 6);
	size += put_nal(unit + size, false, 0x65, 300);
	CHECK(packetise(&collector, unit, size) == SC_OK);
	CHECK(collector.count == 1 + 4);
	/* The higher NRI of the two. */
	CHECK(collector.payloads[0][0] == (0x60 | 24) && collector.sizes[0] == 1 + 2 + 20 + 2 + 6);
	CHECK(depacketise(&collector, back) == size - 2);

	/* They do not fit together: each goes alone. */
	size = put_nal(unit, true, 0x67, 60);
	size += put_nal(unit + size, true, 0x68, 60);
	CHECK(packetise(&collector, unit, size) == SC_OK);
	CHECK(collector.count == 2 && collector.payloads[0][0] == 0x67 && collector.payloads[1][0] == 0x68);

	/* To the byte: 1 + 2 + 50 + 2 + 45. */
	size = put_nal(unit, false, 0x67, 50);
	size += put_nal(unit + size, false, 0x68, 45);
	CHECK(packetise(&collector, unit, size) == SC_OK);
	CHECK(collector.count == 1 && collector.sizes[0] == MAX_PAYLOAD);

	/* More than one packet takes. */
	size = 0;
	for (int i = 0; i < 20; i++) {
		size += put_nal(unit + size, false, 0x06, 2);
	}
	CHECK(packetise(&collector, unit, size) == SC_OK);
	CHECK(collector.count == 3 && depacketise(&collector, back) == size);
}

static void test_empty_and_forbidden_nals_are_left_out(void) {
	static struct collector collector;
	/* Two start codes in a row, zeros behind a NAL unit, one that ends with a start code. */
	static const uint8_t odd[] = {0, 0, 1, 0, 0, 0, 1, 0x41, 9, 0, 0, 0, 0, 0, 1, 0x61, 7, 0, 0, 1};
	CHECK(packetise(&collector, odd, sizeof(odd)) == SC_OK);
	CHECK(collector.count == 1 && collector.payloads[0][0] == (0x60 | 24) && collector.sizes[0] == 9);
	/* Types that mean something else in RTP, and the forbidden bit. */
	static const uint8_t wrong[] = {
		0, 0, 1, 0x78, 1, 0, 0, 1, 0x7c, 0x85, 0, 0, 1, 0x60, 2, 0, 0, 1, 0xe5, 3, 0, 0, 1, 0x41, 5};
	CHECK(packetise(&collector, wrong, sizeof(wrong)) == SC_OK);
	CHECK(collector.count == 1 && collector.sizes[0] == 2 && collector.payloads[0][0] == 0x41);
	/* What stands before the first start code is nothing. */
	static const uint8_t late[] = {9, 9, 9, 0, 0, 1, 0x41, 5};
	CHECK(packetise(&collector, late, sizeof(late)) == SC_OK);
	CHECK(collector.count == 1 && collector.sizes[0] == 2);
}

static void test_nothing_to_send_is_an_error(void) {
	static struct collector collector;
	static const uint8_t units[][8] = {
		{0}, {0, 0, 1}, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 1, 0, 0, 1, 0, 0}, {0, 0, 1, 0x78, 1, 1, 1, 1}};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		for (size_t size = 0; size <= 8; size++) {
			CHECK(packetise(&collector, units[i], size) == SC_ERROR_INVALID && !collector.count);
		}
	}
	CHECK(packetise(&collector, NULL, 0) == SC_ERROR_INVALID);
}

static void test_a_full_sink_ends_the_work(void) {
	static struct collector collector;
	uint8_t unit[1000];
	const size_t size = put_nal(unit, false, 0x65, 900);
	for (uint32_t room = 0; room < 10; room++) {
		collector = (struct collector){.base = {.take = collect}, .room = room};
		CHECK(sc_packetise_h264(unit, size, MAX_PAYLOAD, &collector.base) == SC_AGAIN);
		CHECK(collector.count == room);
	}
}

static void test_no_other_codec_is_known(void) {
	CHECK(sc_packetiser_of(SC_CODEC_H264) == sc_packetise_h264);
	CHECK(!sc_packetiser_of((enum sc_codec)7));
}

int main(void) {
	test_sizes_around_the_limit();
	test_parameter_sets_share_a_packet();
	test_empty_and_forbidden_nals_are_left_out();
	test_nothing_to_send_is_an_error();
	test_a_full_sink_ends_the_work();
	test_no_other_codec_is_known();
	return 0;
}
