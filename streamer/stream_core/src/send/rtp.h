/* SPDX-License-Identifier: Apache-2.0
 * RTP headers (RFC 3550, 5.1) with one-byte header extensions (RFC 8285, 4.2). All headers of a stream have the same size. */
#ifndef SC_SEND_RTP_H
#define SC_SEND_RTP_H

#include "sc_sender.h"

enum {
	/* 12, 4 of the extension's own header, and mid 17, abs-send-time 4, playout-delay 4, transport-cc 3, abs-capture-time 9, padded. */
	SC_RTP_MAX_HEADER_BYTES = 56,
};

/* The header as it is on each packet, and where in it the extensions that change are; 0: not there. */
struct sc_rtp_template {
	uint8_t header[SC_RTP_MAX_HEADER_BYTES];
	size_t size_bytes;
	uint8_t abs_send_time_at;
	uint8_t transport_cc_at;
	uint8_t abs_capture_time_at;
};

struct sc_rtp_fields {
	uint32_t ssrc;
	uint32_t rtp_time;
	uint16_t sequence;
	uint8_t payload_type;
	bool is_marked;
	uint16_t transport_sequence;
	uint32_t abs_send_time; /* 6.18 bits of seconds */
	uint64_t capture_ntp;
};

/* Lay the extensions out; false when an id is not 1 to 14, comes twice, or the mid is too long or missing. */
bool sc_rtp_template_init(struct sc_rtp_template *out, const struct sc_extension_ids *ids, const char *mid);

/* Write a header of `form->size_bytes` bytes. */
void sc_rtp_write_header(const struct sc_rtp_template *form, const struct sc_rtp_fields *fields, uint8_t *out);

/* abs-send-time of a time in ns: 24 bits, 6.18 fixed point. */
uint32_t sc_rtp_abs_send_time(uint64_t now_ns);

#endif
