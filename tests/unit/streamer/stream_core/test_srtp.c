/* SPDX-License-Identifier: Apache-2.0
 * SRTP against RFC 7714's vectors (16.1.1, 16.2.1), and RTP headers. */
#include "../../render_core/check.h"
#include "send/rtp.h"
#include "send/srtp.h"

#include <string.h>

static const uint8_t salt[] = {0x51, 0x75, 0x69, 0x64, 0x20, 0x70, 0x72, 0x6f, 0x20, 0x71, 0x75, 0x6f};
static const uint8_t header[] = {0x80, 0x40, 0xf1, 0x7b, 0x80, 0x41, 0xf8, 0xd3, 0x55, 0x01, 0xa0, 0xb2};
static const char text[] = "Gallia est omnis divisa in partes tres";

static void check_vector(enum sc_srtp_profile profile, const uint8_t *expected) {
	uint8_t key[32], packet[12 + 38 + 16];
	for (size_t i = 0; i < sizeof(key); i++) {
		key[i] = (uint8_t)i;
	}
	struct sc_srtp srtp;
	CHECK(sc_srtp_init_session(&srtp, profile, key, salt) == SC_OK);
	/* Twice: a context can be used again. The second time in place. */
	for (int round = 0; round < 2; round++) {
		memcpy(packet, header, sizeof(header));
		memcpy(packet + 12, text, 38);
		CHECK(sc_srtp_protect(&srtp, 0, packet, 12, round ? packet + 12 : (const uint8_t *)text, 38));
		CHECK(!memcmp(packet, header, 12) && !memcmp(packet + 12, expected, 38 + 16));
	}
	/* Another roll-over counter, another text. */
	CHECK(sc_srtp_protect(&srtp, 1, packet, 12, (const uint8_t *)text, 38));
	CHECK(memcmp(packet + 12, expected, 38));
	sc_srtp_finish(&srtp);
}

static void test_rfc7714_aes_128(void) {
	static const uint8_t expected[] = {0xf2, 0x4d, 0xe3, 0xa3, 0xfb, 0x34, 0xde, 0x6c, 0xac, 0xba, 0x86, 0x1c, 0x9d,
		0x7e, 0x4b, 0xca, 0xbe, 0x63, 0x3b, 0xd5, 0x0d, 0x29, 0x4e, 0x6f, 0x42, 0xa5, 0xf4, 0x7a, 0x51, 0xc7, 0xd1,
		0x9b, 0x36, 0xde, 0x3a, 0xdf, 0x88, 0x33, 0x89, 0x9d, 0x7f, 0x27, 0xbe, 0xb1, 0x6a, 0x91, 0x52, 0xcf, 0x76,
		0x5e, 0xe4, 0x39, 0x0c, 0xce};
	check_vector(SC_SRTP_AEAD_AES_128_GCM, expected);
}

static void test_rfc7714_aes_256(void) {
	static const uint8_t expected[] = {0x32, 0xb1, 0xde, 0x78, 0xa8, 0x22, 0xfe, 0x12, 0xef, 0x9f, 0x78, 0xfa, 0x33,
		0x2e, 0x33, 0xaa, 0xb1, 0x80, 0x12, 0x38, 0x9a, 0x58, 0xe2, 0xf3, 0xb5, 0x0b, 0x2a, 0x02, 0x76, 0xff, 0xae,
		0x0f, 0x1b, 0xa6, 0x37, 0x99, 0xb8, 0x7b, 0x7a, 0xa3, 0xdb, 0x36, 0xdf, 0xff, 0xd6, 0xb0, 0xf9, 0xbb, 0x78,
		0x78, 0xd7, 0xa7, 0x6c, 0x13};
	check_vector(SC_SRTP_AEAD_AES_256_GCM, expected);
}

static void test_headers(void) {
	const struct sc_extension_ids ids = {
		.mid = 1, .abs_send_time = 2, .playout_delay = 5, .transport_cc = 6, .abs_capture_time = 9};
	const struct sc_rtp_fields fields = {.ssrc = 0x01020304,
		.rtp_time = 0x05060708,
		.sequence = 0x090a,
		.payload_type = 97,
		.is_marked = true,
		.transport_sequence = 0x0b0c,
		.abs_send_time = 0x0d0e0f,
		.capture_ntp = 0x1112131415161718};
	static const uint8_t expected[] = {0x90, 0xe1, 9, 10, 5, 6, 7, 8, 1, 2, 3, 4, 0xbe, 0xde, 0, 6, 0x11, '4', '2',
		0x22, 13, 14, 15, 0x52, 0, 0, 0, 0x61, 11, 12, 0x97, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0};
	struct sc_rtp_template form;
	uint8_t out[SC_RTP_MAX_HEADER_BYTES];
	CHECK(sc_rtp_template_init(&form, &ids, "42"));
	CHECK(form.size_bytes == sizeof(expected));
	sc_rtp_write_header(&form, &fields, out);
	CHECK(!memcmp(out, expected, sizeof(expected)));

	/* None negotiated: no extension at all. */
	CHECK(sc_rtp_template_init(&form, &(struct sc_extension_ids){0}, ""));
	sc_rtp_write_header(&form, &fields, out);
	CHECK(form.size_bytes == 12 && out[0] == 0x80 && out[1] == 0xe1);

	CHECK(sc_rtp_template_init(&form, &ids, "0123456789abcdef"));
	CHECK(form.size_bytes <= SC_RTP_MAX_HEADER_BYTES);
	CHECK(!sc_rtp_template_init(&form, &ids, "0123456789abcdefg"));
	CHECK(!sc_rtp_template_init(&form, &ids, ""));
	CHECK(!sc_rtp_template_init(&form, &(struct sc_extension_ids){.abs_send_time = 15}, ""));
	CHECK(!sc_rtp_template_init(&form, &(struct sc_extension_ids){.abs_send_time = 3, .transport_cc = 3}, ""));
}

static void test_abs_send_time(void) {
	CHECK(sc_rtp_abs_send_time(0) == 0);
	CHECK(sc_rtp_abs_send_time(1500000000) == (1 << 18) + (1 << 17));
	CHECK(sc_rtp_abs_send_time(UINT64_C(64000000000)) == 0);
	CHECK(sc_rtp_abs_send_time(UINT64_C(63999999999)) == (1 << 24) - 1);
}

int main(void) {
	test_rfc7714_aes_128();
	test_rfc7714_aes_256();
	test_headers();
	test_abs_send_time();
	return 0;
}
