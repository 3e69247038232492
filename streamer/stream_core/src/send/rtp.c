/* SPDX-License-Identifier: Apache-2.0 */
#include "rtp.h"

#include <string.h>

enum {
	VERSION_AND_EXTENSION = 0x90,
	FIXED_HEADER_BYTES = 12,
	EXTENSION_HEADER_BYTES = 4,
	ONE_BYTE_PROFILE = 0xbede,
	MAX_MID_BYTES = 16,
	MAX_ID = 14,
};

static void put_u16(uint8_t *out, uint16_t value) {
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
}

static void put_u32(uint8_t *out, uint32_t value) {
	put_u16(out, (uint16_t)(value >> 16));
	put_u16(out + 2, (uint16_t)value);
}

/* Append an extension; returns where its data is, 0 when it was not negotiated. */
static uint8_t append(struct sc_rtp_template *form, uint8_t id, size_t size_bytes) {
	if (!id) {
		return 0;
	}
	form->header[form->size_bytes++] = (uint8_t)(id << 4 | (size_bytes - 1));
	const uint8_t at = (uint8_t)form->size_bytes;
	form->size_bytes += size_bytes;
	return at;
}

static bool are_ids_valid(const struct sc_extension_ids *ids) {
	const uint8_t all[] = {ids->mid, ids->abs_send_time, ids->playout_delay, ids->transport_cc, ids->abs_capture_time};
	uint32_t seen = 0;
	for (size_t i = 0; i < sizeof(all); i++) {
		if (all[i] > MAX_ID || (all[i] && seen & 1u << all[i])) {
			return false;
		}
		seen |= 1u << all[i];
	}
	return true;
}

bool sc_rtp_template_init(struct sc_rtp_template *out, const struct sc_extension_ids *ids, const char *mid) {
	const size_t mid_bytes = ids->mid ? strnlen(mid, MAX_MID_BYTES + 1) : 0;
	if (!are_ids_valid(ids) || mid_bytes > MAX_MID_BYTES || (ids->mid && !mid_bytes)) {
		return false;
	}
	/* playout-delay stays at 0: minimum 0, maximum 0. So does the padding. */
	*out = (struct sc_rtp_template){.size_bytes = FIXED_HEADER_BYTES + EXTENSION_HEADER_BYTES};
	const uint8_t mid_at = append(out, ids->mid, mid_bytes);
	if (mid_at) {
		memcpy(out->header + mid_at, mid, mid_bytes);
	}
	out->abs_send_time_at = append(out, ids->abs_send_time, 3);
	append(out, ids->playout_delay, 3);
	out->transport_cc_at = append(out, ids->transport_cc, 2);
	out->abs_capture_time_at = append(out, ids->abs_capture_time, 8);
	const size_t words = (out->size_bytes - FIXED_HEADER_BYTES - EXTENSION_HEADER_BYTES + 3) / 4;
	if (!words) {
		out->header[0] = VERSION_AND_EXTENSION & 0xe0;
		out->size_bytes = FIXED_HEADER_BYTES;
		return true;
	}
	out->header[0] = VERSION_AND_EXTENSION;
	put_u16(out->header + FIXED_HEADER_BYTES, ONE_BYTE_PROFILE);
	put_u16(out->header + FIXED_HEADER_BYTES + 2, (uint16_t)words);
	out->size_bytes = FIXED_HEADER_BYTES + EXTENSION_HEADER_BYTES + 4 * words;
	return true;
}

void sc_rtp_write_header(const struct sc_rtp_template *form, const struct sc_rtp_fields *fields, uint8_t *out) {
	memcpy(out, form->header, form->size_bytes);
	out[1] = (uint8_t)((fields->is_marked ? 0x80 : 0) | fields->payload_type);
	put_u16(out + 2, fields->sequence);
	put_u32(out + 4, fields->rtp_time);
	put_u32(out + 8, fields->ssrc);
	if (form->abs_send_time_at) {
		uint8_t *at = out + form->abs_send_time_at;
		at[0] = (uint8_t)(fields->abs_send_time >> 16);
		put_u16(at + 1, (uint16_t)fields->abs_send_time);
	}
	if (form->transport_cc_at) {
		put_u16(out + form->transport_cc_at, fields->transport_sequence);
	}
	if (form->abs_capture_time_at) {
		put_u32(out + form->abs_capture_time_at, (uint32_t)(fields->capture_ntp >> 32));
		put_u32(out + form->abs_capture_time_at + 4, (uint32_t)fields->capture_ntp);
	}
}

uint32_t sc_rtp_abs_send_time(uint64_t now_ns) {
	const uint64_t second = now_ns / 1000000000u % 64u;
	return (uint32_t)(second << 18 | (now_ns % 1000000000u << 18) / 1000000000u);
}
