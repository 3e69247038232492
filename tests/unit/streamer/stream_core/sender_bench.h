/* SPDX-License-Identifier: Apache-2.0
 * A sender on a real socket, and the receiver's end, which decrypts. */
#ifndef SENDER_BENCH_H
#define SENDER_BENCH_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../render_core/check.h"
#include "sc_sender.h"
#include "send/srtp.h"

enum {
	BENCH_SSRC = 0x11111111,
	BENCH_RTX_SSRC = 0x22222222,
	BENCH_HEADER_BYTES = 12 + 4 + 8, /* transport-cc 3, abs-send-time 4, padded */
	BENCH_MAX_UNIT = 4 << 20,
};

struct sender_bench {
	struct sc_sender *sender;
	struct sc_packet_log *log;
	struct sc_srtp srtp; /* GCM is a stream: encrypting twice decrypts */
	int fds[2];          /* the sender's end, the receiver's */
	uint64_t roll_over;
	uint16_t newest;
};

struct received {
	uint8_t data[2048];
	size_t size_bytes;
	uint16_t sequence, transport_sequence;
	uint32_t rtp_time, ssrc;
	uint8_t payload_type;
	bool is_marked;
	const uint8_t *payload;
	size_t payload_bytes;
};

static inline void bench_init(struct sender_bench *bench, bool has_rtx, uint16_t first_sequence) {
	*bench = (struct sender_bench){.newest = first_sequence};
	CHECK(sc_packet_log_create(&bench->log) == SC_OK);
	struct sc_sender_params params = {
		.profile = SC_SRTP_AEAD_AES_128_GCM,
		.master_key = "0123456789abcdef",
		.master_salt = "abcdefghijk",
		.ssrc = BENCH_SSRC,
		.first_sequence = first_sequence,
		.payload_type = 96,
		.has_rtx = has_rtx,
		.rtx_payload_type = 97,
		.rtx_ssrc = BENCH_RTX_SSRC,
		.extensions = {.abs_send_time = 2, .transport_cc = 3},
		.log = bench->log,
	};
	CHECK(sc_sender_create(&params, &bench->sender) == SC_OK);
	CHECK(sc_srtp_init(&bench->srtp, params.profile, params.master_key, params.master_salt) == SC_OK);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, bench->fds) == 0);
	CHECK(sc_sender_set_path(bench->sender, bench->fds[0], NULL, 0) == SC_OK);
}

static inline void bench_finish(struct sender_bench *bench) {
	sc_sender_destroy(bench->sender);
	sc_packet_log_unref(bench->log);
	sc_srtp_finish(&bench->srtp);
	close(bench->fds[0]);
	close(bench->fds[1]);
}

/* Receive and decrypt one packet; false when there is none. `roll_over` is of its SSRC. */
static inline bool bench_receive(struct sender_bench *bench, struct received *out, uint32_t roll_over) {
	const ssize_t size = recv(bench->fds[1], out->data, sizeof(out->data), MSG_DONTWAIT);
	if (size < 0) {
		return false;
	}
	CHECK(size > BENCH_HEADER_BYTES + SC_SRTP_TAG_BYTES);
	uint8_t copy[sizeof(out->data)];
	memcpy(copy, out->data, (size_t)size);
	uint8_t *data = out->data;
	out->size_bytes = (size_t)size;
	out->payload_bytes = (size_t)size - BENCH_HEADER_BYTES - SC_SRTP_TAG_BYTES;
	/* Decrypt, and encrypt again: header and tag have to be the same. */
	CHECK(sc_srtp_protect(
		&bench->srtp, roll_over, data, BENCH_HEADER_BYTES, data + BENCH_HEADER_BYTES, out->payload_bytes));
	uint8_t again[sizeof(out->data)];
	memcpy(again, data, (size_t)size);
	CHECK(sc_srtp_protect(
		&bench->srtp, roll_over, again, BENCH_HEADER_BYTES, data + BENCH_HEADER_BYTES, out->payload_bytes));
	CHECK(!memcmp(again, copy, (size_t)size));
	out->is_marked = data[1] & 0x80;
	out->payload_type = data[1] & 0x7f;
	out->sequence = (uint16_t)(data[2] << 8 | data[3]);
	out->rtp_time = (uint32_t)data[4] << 24 | (uint32_t)data[5] << 16 | (uint32_t)data[6] << 8 | data[7];
	out->ssrc = (uint32_t)data[8] << 24 | (uint32_t)data[9] << 16 | (uint32_t)data[10] << 8 | data[11];
	CHECK(data[12] == 0xbe && data[13] == 0xde && data[16] == 0x22 && data[20] == 0x31);
	out->transport_sequence = (uint16_t)(data[21] << 8 | data[22]);
	out->payload = data + BENCH_HEADER_BYTES;
	return true;
}

/* Send an access unit of one NAL unit of `size` bytes. */
static inline enum sc_result bench_send(
	struct sender_bench *bench, size_t size, uint32_t rtp_time, bool is_keyframe, uint64_t now_ns) {
	static _Thread_local uint8_t unit[BENCH_MAX_UNIT];
	CHECK(size + 4 <= sizeof(unit));
	memset(unit, (int)(rtp_time % 200 + 2), size + 4);
	memcpy(unit, "\0\0\0\1", 4);
	unit[4] = is_keyframe ? 0x65 : 0x41;
	const struct sc_frame frame = {
		.data = unit, .size_bytes = size + 4, .rtp_time = rtp_time, .is_keyframe = is_keyframe};
	return sc_sender_send_frame(bench->sender, &frame, now_ns);
}

static inline struct sc_sender_state bench_state(struct sender_bench *bench) {
	struct sc_sender_state state;
	sc_sender_get_state(bench->sender, &state);
	return state;
}

#endif
