/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/syntax.h"

enum {
	NAL_SLICE = 1,
	NAL_SPS = 7,
	NAL_PPS = 8,
	HEADER_BYTES = 24 /* more than a slice header has up to frame_num */
};

/* The next start code at or behind `at`, or `size`. */
static size_t find_start(const uint8_t *data, size_t size, size_t at) {
	while (at + 3 <= size) {
		const uint8_t *one = memchr(data + at + 2, 1, size - at - 2);
		if (!one) {
			return size;
		}
		at = (size_t)(one - data) - 2;
		if (!data[at] && !data[at + 1]) {
			return at;
		}
		at++;
	}
	return size;
}

static bool read_sps(struct sc_syntax *syntax, struct sc_bit_reader *r) {
	unsigned profile = sc_bits_get(r, 8);
	sc_bits_get(r, 16);
	if (profile != 66 && profile != 77) {
		return false;
	}
	sc_bits_get_ue(r);
	syntax->frame_num_bits = sc_bits_get_ue(r) + 4;
	return syntax->frame_num_bits <= 16 && sc_bits_get_ue(r) == 2 && sc_bits_get_ue(r) == 1 && !r->over;
}

static bool read_pps(struct sc_syntax *syntax, struct sc_bit_reader *r) {
	syntax->pps_id = sc_bits_get_ue(r);
	sc_bits_get_ue(r);
	bool cabac = sc_bits_get(r, 1);
	sc_bits_get(r, 1);
	bool groups = sc_bits_get_ue(r) != 0;
	bool references = sc_bits_get_ue(r) != 0;
	sc_bits_get_ue(r);
	bool weighted = sc_bits_get(r, 1);
	sc_bits_get(r, 2);
	syntax->pic_init_qp = 26 + sc_bits_get_se(r);
	sc_bits_get_se(r);
	syntax->chroma_qp_offset = sc_bits_get_se(r);
	syntax->deblocking_control = sc_bits_get(r, 1);
	sc_bits_get(r, 1);
	bool redundant = sc_bits_get(r, 1);
	/* Without control over it, deblocking would be on. */
	return !cabac && !groups && !references && !weighted && !redundant && syntax->deblocking_control && !r->over;
}

bool sc_syntax_read(struct sc_syntax *syntax, const uint8_t *data, size_t size) {
	*syntax = (struct sc_syntax){0};
	bool sps = false, pps = false;
	for (size_t start = find_start(data, size, 0); start < size;) {
		size_t begin = start + 3, end = find_start(data, size, begin);
		uint8_t rbsp[64];
		size_t length = end - begin < sizeof(rbsp) ? end - begin : sizeof(rbsp);
		struct sc_bit_reader reader = {.data = rbsp + 1, .size = sc_unescape(rbsp, data + begin, length)};
		if (reader.size > 1) {
			reader.size--;
			unsigned type = rbsp[0] & 31;
			sps |= type == NAL_SPS && read_sps(syntax, &reader);
			pps |= type == NAL_PPS && read_pps(syntax, &reader);
		}
		start = end;
	}
	return sps && pps;
}

void sc_syntax_put_header(const struct sc_syntax *syntax, struct sc_bits *bits, uint32_t frame_num, int qp) {
	sc_bits_ue(bits, 0); /* first_mb_in_slice */
	sc_bits_ue(bits, 5); /* slice_type: all are P */
	sc_bits_ue(bits, syntax->pps_id);
	sc_bits_put(bits, syntax->frame_num_bits, frame_num & ((1u << syntax->frame_num_bits) - 1));
	sc_bits_put(bits, 3, 0); /* references: their number and order as they are; sliding window */
	sc_bits_se(bits, qp - syntax->pic_init_qp);
	sc_bits_ue(bits, 1); /* disable_deblocking_filter_idc */
}

static size_t renumber_slice(
	const struct sc_syntax *syntax, uint8_t *out, const uint8_t *nal, size_t size, uint32_t frame_num) {
	uint8_t head[HEADER_BYTES];
	/* All but the tail is rewritten; of the tail's zeros the escape state must be that of before, so the cut is behind a byte that has none. */
	size_t cut = size < HEADER_BYTES ? size : HEADER_BYTES;
	while (cut < size && cut > 1 && (!nal[cut - 1] || (nal[cut - 1] == 3 && !nal[cut - 2]))) {
		cut--;
	}
	size_t length = sc_unescape(head, nal, cut);
	struct sc_bit_reader reader = {.data = head, .size = length, .at = 8};
	sc_bits_get_ue(&reader);
	sc_bits_get_ue(&reader);
	sc_bits_get_ue(&reader);
	size_t at = reader.at;
	sc_bits_get(&reader, syntax->frame_num_bits);
	if (reader.over) {
		return 0;
	}
	for (unsigned i = 0; i < syntax->frame_num_bits; i++, at++) {
		uint8_t bit = (uint8_t)(0x80 >> at % 8);
		bool set = frame_num >> (syntax->frame_num_bits - 1 - i) & 1;
		head[at / 8] = (uint8_t)(set ? head[at / 8] | bit : head[at / 8] & ~bit);
	}
	if (cut < size && !head[length - 1]) {
		return 0; /* the cut would hide a start code; never seen, as frame_num is not the last of a header */
	}
	size_t written = sc_escape(out, head, length);
	memcpy(out + written, nal + cut, size - cut);
	return written + size - cut;
}

size_t sc_syntax_renumber(
	const struct sc_syntax *syntax, uint8_t *out, const uint8_t *data, size_t size, uint32_t frame_num) {
	size_t written = 0;
	size_t start = find_start(data, size, 0);
	memcpy(out, data, start);
	written = start;
	while (start < size) {
		size_t begin = start + 3, end = find_start(data, size, begin);
		memcpy(out + written, data + start, 3);
		written += 3;
		if (begin < end && (data[begin] & 31) == NAL_SLICE) {
			size_t length = renumber_slice(syntax, out + written, data + begin, end - begin, frame_num);
			if (!length) {
				return 0;
			}
			written += length;
		} else {
			memcpy(out + written, data + begin, end - begin);
			written += end - begin;
		}
		start = end;
	}
	return written;
}
