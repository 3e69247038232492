/* SPDX-License-Identifier: Apache-2.0
 * The sender: what is on the wire, what is sent again, what waits for its time or for the socket. */
#include "sender_bench.h"

enum { MS = 1000000 };
static const uint64_t start_ns = UINT64_C(1000000000000);

static uint32_t drain(struct sender_bench *bench) {
	struct received packet;
	uint32_t count = 0;
	while (bench_receive(bench, &packet, 0)) {
		count++;
	}
	return count;
}

static void test_packets_of_a_frame(void) {
	struct sender_bench bench;
	struct received packet;
	bench_init(&bench, true, 100);
	CHECK(bench_send(&bench, 3000, 7, true, start_ns) == SC_OK);
	for (uint16_t i = 0; i < 3; i++) {
		CHECK(bench_receive(&bench, &packet, 0));
		CHECK(packet.sequence == 100 + i && packet.transport_sequence == i && packet.rtp_time == 7);
		CHECK(packet.ssrc == BENCH_SSRC && packet.payload_type == 96 && packet.is_marked == (i == 2));
		CHECK(packet.size_bytes <= 1200 && (i == 2 || packet.size_bytes == 1200));
		CHECK((packet.payload[0] & 0x1f) == 28);
	}
	CHECK(!drain(&bench));
	const struct sc_sender_state state = bench_state(&bench);
	CHECK(state.packets == 3 && state.octets == 3000 - 1 + 3 * 2 && state.frames == 1 && state.last_rtp_time == 7);
	CHECK(!state.unsent_bytes && !state.unsent_frames && state.next_ns == UINT64_MAX && !state.is_blocked);
	CHECK(state.mode == SC_SEND_SENDMMSG); /* no UDP: nothing to segment */

	struct sc_sent_frame reports[2];
	CHECK(sc_sender_take_sent(bench.sender, reports, 2) == 1);
	CHECK(reports[0].rtp_time == 7 && reports[0].packets == 3 && reports[0].first_packet_ns);
	CHECK(reports[0].first_packet_ns <= reports[0].last_packet_ns);
	CHECK(!sc_sender_take_sent(bench.sender, reports, 2));

	uint32_t sizes[4];
	uint64_t times[4];
	CHECK(sc_packet_log_read(bench.log, 65535, 4, true, sizes, times) == 3);
	CHECK(!sizes[0] && sizes[1] == 1200 && sizes[3] && times[1] && !times[0]);
	CHECK(!sc_packet_log_read(bench.log, 65535, 4, true, sizes, times));
	CHECK(sc_packet_log_totals(bench.log).packets == 3);
	CHECK(sc_packet_log_number(bench.log) == 3); /* one counter for all who send */

	static const uint8_t nothing[] = {1, 2, 3, 4};
	const struct sc_frame wrong = {.data = nothing, .size_bytes = sizeof(nothing)};
	CHECK(sc_sender_send_frame(bench.sender, &wrong, start_ns) == SC_ERROR_INVALID);
	CHECK(!drain(&bench) && bench_state(&bench).frames_refused == 1);
	bench_finish(&bench);
}

static void test_roll_over(void) {
	struct sender_bench bench;
	struct received packet;
	bench_init(&bench, true, 65534);
	CHECK(bench_send(&bench, 4000, 7, true, start_ns) == SC_OK);
	static const uint16_t expected[] = {65534, 65535, 0, 1};
	for (int i = 0; i < 4; i++) {
		CHECK(bench_receive(&bench, &packet, i < 2 ? 0 : 1) && packet.sequence == expected[i]);
	}
	/* And back: what was lost before it is still found. */
	CHECK(sc_sender_retransmit(bench.sender, expected, 4, start_ns + 10 * MS) == 4);
	for (int i = 0; i < 4; i++) {
		CHECK(bench_receive(&bench, &packet, 0) && packet.sequence == i);
		CHECK((packet.payload[0] << 8 | packet.payload[1]) == expected[i]);
	}
	bench_finish(&bench);
}

static void test_rtx(void) {
	struct sender_bench bench;
	struct received first, again;
	bench_init(&bench, true, 100);
	CHECK(bench_send(&bench, 3000, 7, true, start_ns) == SC_OK);
	CHECK(bench_receive(&bench, &first, 0));
	drain(&bench);
	/* Never sent, sent, not yet sent. */
	static const uint16_t lost[] = {99, 100, 103, 40000};
	CHECK(sc_sender_retransmit(bench.sender, lost, 4, start_ns + 20 * MS) == 1);
	CHECK(bench_receive(&bench, &again, 0) && !drain(&bench));
	CHECK(again.ssrc == BENCH_RTX_SSRC && again.payload_type == 97 && again.sequence == 0 && again.rtp_time == 7);
	CHECK(again.transport_sequence == 3 && again.is_marked == first.is_marked);
	CHECK(again.payload_bytes == first.payload_bytes + 2 && again.payload[0] == 0 && again.payload[1] == 100);
	CHECK(!memcmp(again.payload + 2, first.payload, first.payload_bytes));
	/* Not twice at once, but again later; not when it is old. */
	CHECK(!sc_sender_retransmit(bench.sender, lost + 1, 1, start_ns + 21 * MS));
	CHECK(sc_sender_retransmit(bench.sender, lost + 1, 1, start_ns + 60 * MS) == 1);
	CHECK(!sc_sender_retransmit(bench.sender, lost + 1, 1, start_ns + UINT64_C(3000) * MS));
	const struct sc_sender_state state = bench_state(&bench);
	CHECK(state.resent_packets == 2 && state.resends_refused == 5 && state.packets == 3);
	bench_finish(&bench);
}

static void test_what_a_keyframe_has_made_useless_is_not_sent_again(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 100);
	CHECK(bench_send(&bench, 1000, 7, true, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 1000, 8, false, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 1000, 9, true, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 1000, 10, false, start_ns) == SC_OK);
	drain(&bench);
	static const uint16_t lost[] = {100, 101, 102, 103};
	CHECK(sc_sender_retransmit(bench.sender, lost, 4, start_ns + 20 * MS) == 2);
	struct received again;
	CHECK(bench_receive(&bench, &again, 0) && again.rtp_time == 9);
	bench_finish(&bench);
}

static void test_a_closed_sender_does_nothing(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 100);
	CHECK(bench_send(&bench, 3000, 7, true, start_ns) == SC_OK);
	drain(&bench);
	sc_sender_close(bench.sender);
	sc_sender_close(bench.sender);
	static const uint16_t lost[] = {100};
	CHECK(bench_send(&bench, 3000, 8, true, start_ns + MS) == SC_AGAIN);
	CHECK(!sc_sender_retransmit(bench.sender, lost, 1, start_ns + 20 * MS));
	CHECK(!sc_sender_remembered_bytes(bench.sender, 100, start_ns + 20 * MS));
	CHECK(sc_sender_set_path(bench.sender, 0, NULL, 0) == SC_OK);
	sc_sender_pump(bench.sender, start_ns + 30 * MS);
	const struct sc_sender_state state = bench_state(&bench);
	CHECK(state.packets == 3 && !state.unsent_bytes && state.next_ns == UINT64_MAX && !state.is_blocked);
	CHECK(!drain(&bench));
	bench_finish(&bench);
}

static void test_without_rtx_the_same_bytes_go_again(void) {
	struct sender_bench bench;
	struct received first, again;
	bench_init(&bench, false, 100);
	CHECK(bench_send(&bench, 3000, 7, true, start_ns) == SC_OK);
	CHECK(bench_receive(&bench, &first, 0));
	drain(&bench);
	static const uint16_t lost[] = {100};
	CHECK(sc_sender_retransmit(bench.sender, lost, 1, start_ns + 20 * MS) == 1);
	CHECK(bench_receive(&bench, &again, 0));
	/* Another number or time in the header under the same nonce would give the key of the tag away. */
	CHECK(first.size_bytes == again.size_bytes && !memcmp(first.data, again.data, first.size_bytes));
	bench_finish(&bench);
}

static void test_resends_are_limited(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	uint32_t resent = 0;
	for (uint32_t frame = 0; frame < 60; frame++) {
		for (uint32_t i = 0; i < 10; i++) {
			CHECK(bench_send(&bench, 11000, frame * 10 + i, false, start_ns) == SC_OK);
			CHECK(drain(&bench) == 10);
		}
		uint16_t lost[100];
		for (uint16_t i = 0; i < 100; i++) {
			lost[i] = (uint16_t)(frame * 100 + i);
		}
		for (uint32_t i = 0; i < 100; i += 5) {
			resent += sc_sender_retransmit(bench.sender, lost + i, 5, start_ns + 10 * MS);
			drain(&bench);
		}
	}
	/* A second's worth at once. */
	CHECK(resent >= 4000 && resent <= 4002);
	bench_finish(&bench);
}

static void test_the_oldest_packets_are_forgotten(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	for (uint32_t i = 0; i < 9000; i++) {
		CHECK(bench_send(&bench, 100, i, false, start_ns) == SC_OK);
		CHECK(drain(&bench) == 1);
	}
	static const uint16_t lost[] = {0, 9000 - 8192 - 1, 9000 - 8192, 8999, 9000};
	CHECK(sc_sender_retransmit(bench.sender, lost, 5, start_ns + 10 * MS) == 2);
	struct received packet;
	CHECK(bench_receive(&bench, &packet, 0) && (packet.payload[0] << 8 | packet.payload[1]) == 9000 - 8192);
	CHECK(packet.rtp_time == 9000 - 8192);
	bench_finish(&bench);
}

static void test_a_full_socket_keeps_packets(void) {
	struct sender_bench bench;
	struct received packet;
	bench_init(&bench, true, 0);
	/* A socket pair takes some 10 datagrams by default, or as many as fit its buffer. */
	CHECK(bench_send(&bench, 3000000, 1, true, start_ns) == SC_OK);
	struct sc_sender_state state = bench_state(&bench);
	CHECK(state.is_blocked && state.unsent_bytes && state.unsent_frames == 1 && state.next_ns == UINT64_MAX);
	uint16_t expected = 0;
	while (bench_state(&bench).unsent_bytes) {
		CHECK(bench_receive(&bench, &packet, 0));
		do {
			CHECK(packet.sequence == expected && packet.transport_sequence == expected && packet.rtp_time == 1);
			expected++;
		} while (bench_receive(&bench, &packet, 0));
		sc_sender_pump(bench.sender, start_ns + expected);
	}
	expected = (uint16_t)(expected + drain(&bench));
	state = bench_state(&bench);
	CHECK(expected == state.packets && !state.is_blocked && !state.unsent_frames);
	bench_finish(&bench);
}

static void test_what_waits_is_bounded(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	CHECK(sc_sender_set_path(bench.sender, -1, NULL, 0) == SC_OK);
	/* By frames. */
	for (uint32_t i = 0; i < 64; i++) {
		CHECK(bench_send(&bench, 5000, i, false, start_ns) == SC_OK);
	}
	CHECK(bench_send(&bench, 5000, 64, false, start_ns) == SC_AGAIN);
	CHECK(bench_state(&bench).unsent_frames == 64);
	/* A keyframe takes their place, and is not taken back by a frame that follows it. */
	CHECK(bench_send(&bench, 5000, 65, true, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 3000, 66, false, start_ns) == SC_OK);
	struct sc_sender_state state = bench_state(&bench);
	CHECK(state.unsent_frames == 2 && state.frames_replaced == 64);
	/* By packets: 8192 of 1200 bytes. Nothing is left of one that does not fit. */
	CHECK(bench_send(&bench, 4000000, 67, false, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 4000000, 68, false, start_ns) == SC_OK);
	const uint64_t before = bench_state(&bench).unsent_bytes;
	CHECK(bench_send(&bench, 4000000, 69, false, start_ns) == SC_AGAIN);
	CHECK(bench_state(&bench).unsent_bytes == before);
	CHECK(bench_send(&bench, 2000, 70, true, start_ns) == SC_OK);
	/* What goes out then begins with the first number: nothing that was taken back left a hole. */
	struct received packet;
	CHECK(sc_sender_set_path(bench.sender, bench.fds[0], NULL, 0) == SC_OK);
	sc_sender_pump(bench.sender, start_ns);
	CHECK(bench_receive(&bench, &packet, 0) && packet.sequence == 0 && packet.rtp_time == 70);
	CHECK(bench_receive(&bench, &packet, 0) && packet.sequence == 1 && packet.is_marked);
	CHECK(!bench_receive(&bench, &packet, 0));
	bench_finish(&bench);
}

static void test_a_keyframe_leaves_begun_frames_alone(void) {
	struct sender_bench bench;
	struct received packet;
	bench_init(&bench, true, 0);
	CHECK(bench_send(&bench, 3000000, 1, false, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 3000, 2, false, start_ns) == SC_OK);
	CHECK(bench_send(&bench, 3000, 3, true, start_ns) == SC_OK);
	CHECK(bench_state(&bench).frames_replaced == 1 && bench_state(&bench).unsent_frames == 2);
	uint32_t last_time = 0;
	uint16_t expected = 0;
	do {
		while (bench_receive(&bench, &packet, 0)) {
			CHECK(packet.sequence == expected++);
			last_time = packet.rtp_time;
			CHECK(last_time != 2);
		}
		sc_sender_pump(bench.sender, start_ns);
	} while (expected < bench_state(&bench).packets || bench_state(&bench).unsent_frames);
	CHECK(last_time == 3);
	bench_finish(&bench);
}

static void test_pace(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	/* 100 kB a second times 8; bursts of 20 ms would be 2 kB: the least is 12 KiB. */
	sc_sender_set_pace(bench.sender, 800000);
	/* What is no burst leaves at once. */
	CHECK(bench_send(&bench, 5000, 1, false, start_ns) == SC_OK);
	CHECK(drain(&bench) == 5 && bench_state(&bench).next_ns == UINT64_MAX);
	uint64_t now_ns = start_ns + UINT64_C(1000) * MS;
	const uint64_t begin_ns = now_ns;
	CHECK(bench_send(&bench, 110000, 2, true, now_ns) == SC_OK);
	uint32_t received = drain(&bench);
	CHECK(received >= 10 && received <= 12);
	while (bench_state(&bench).unsent_bytes) {
		const uint64_t next_ns = bench_state(&bench).next_ns;
		CHECK(next_ns > now_ns && next_ns < now_ns + UINT64_C(100) * MS);
		/* Before its time nothing leaves. */
		sc_sender_pump(bench.sender, now_ns);
		CHECK(!drain(&bench));
		now_ns = next_ns;
		sc_sender_pump(bench.sender, now_ns);
		received += drain(&bench);
	}
	CHECK(received == bench_state(&bench).packets - 5);
	/* 98 kB at 100 kB/s. */
	CHECK(now_ns - begin_ns > UINT64_C(900) * MS && now_ns - begin_ns < UINT64_C(1100) * MS);
	/* A faster pace takes effect at once. */
	CHECK(bench_send(&bench, 110000, 3, true, now_ns) == SC_OK);
	drain(&bench);
	sc_sender_set_pace(bench.sender, UINT64_C(800000000));
	sc_sender_pump(bench.sender, now_ns + 2 * MS);
	while (drain(&bench)) {
		sc_sender_pump(bench.sender, now_ns + 2 * MS);
	}
	CHECK(!bench_state(&bench).unsent_bytes);
	bench_finish(&bench);
}

/* Receive everything a frame needs over real UDP, in each mode. */
static void test_udp(int family, enum sc_send_mode mode, enum sc_send_mode expected) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
	socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	const char *host = family == AF_INET ? "127.0.0.1" : "::1";
	if (family == AF_INET) {
		((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
	}
	for (int i = 0; i < 2; i++) {
		close(bench.fds[i]);
		bench.fds[i] = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		if (bench.fds[i] < 0 || bind(bench.fds[i], (struct sockaddr *)&address, size) < 0) {
			CHECK(family == AF_INET6); /* a machine without IPv6 */
			bench_finish(&bench);
			return;
		}
	}
	CHECK(getsockname(bench.fds[1], (struct sockaddr *)&address, &size) == 0);
	const uint16_t port = ntohs(
		family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port : ((struct sockaddr_in6 *)&address)->sin6_port);
	sc_sender_limit_mode(bench.sender, mode);
	CHECK(sc_sender_set_path(bench.sender, bench.fds[0], "not an address", port) == SC_ERROR_INVALID);
	CHECK(bench_send(&bench, 100, 0, true, start_ns) == SC_OK && bench_state(&bench).unsent_frames == 1);
	CHECK(sc_sender_set_path(bench.sender, bench.fds[0], host, port) == SC_OK);
	uint16_t next = 0;
	struct received packet;
	for (uint32_t i = 1; i < 20; i++) {
		CHECK(bench_send(&bench, 400 * i, i, false, start_ns) == SC_OK);
		while (bench_receive(&bench, &packet, 0)) {
			CHECK(packet.sequence == next++);
		}
	}
	const struct sc_sender_state state = bench_state(&bench);
	CHECK(next == state.packets && !state.send_errors && !state.unsent_bytes && state.mode == expected);
	bench_finish(&bench);
}

static void test_what_the_kernel_refuses_counts_as_lost(void) {
	struct sender_bench bench;
	bench_init(&bench, true, 0);
	/* Nobody listens at the other end of a closed pair. */
	close(bench.fds[1]);
	CHECK(bench_send(&bench, 5000, 1, true, start_ns) == SC_OK);
	const struct sc_sender_state state = bench_state(&bench);
	CHECK(state.send_errors == 5 && state.last_errno && !state.unsent_bytes && !state.unsent_frames);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, bench.fds) == 0);
	bench_finish(&bench);
}

static void test_wrong_parameters(void) {
	struct sc_sender *sender = NULL;
	const struct sc_sender_params good = {.ssrc = 1, .rtx_ssrc = 2, .has_rtx = true, .payload_type = 96};
	struct sc_sender_params params = good;
	CHECK(sc_sender_create(&params, &sender) == SC_OK);
	sc_sender_destroy(sender);
	sc_sender_destroy(NULL);
	params.rtx_ssrc = 1;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params = good;
	params.payload_type = 128;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params = good;
	params.max_packet_bytes = 100;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params.max_packet_bytes = 9000;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params = good;
	params.extensions.transport_cc = 3; /* without a log */
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params = good;
	params.codec = (enum sc_codec)9;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
	params = good;
	params.profile = (enum sc_srtp_profile)9;
	CHECK(sc_sender_create(&params, &sender) == SC_ERROR_INVALID);
}

int main(void) {
	test_packets_of_a_frame();
	test_roll_over();
	test_rtx();
	test_what_a_keyframe_has_made_useless_is_not_sent_again();
	test_a_closed_sender_does_nothing();
	test_without_rtx_the_same_bytes_go_again();
	test_resends_are_limited();
	test_the_oldest_packets_are_forgotten();
	test_a_full_socket_keeps_packets();
	test_what_waits_is_bounded();
	test_a_keyframe_leaves_begun_frames_alone();
	test_pace();
	test_udp(AF_INET, SC_SEND_GSO, SC_SEND_GSO);
	test_udp(AF_INET6, SC_SEND_GSO, SC_SEND_GSO);
	test_udp(AF_INET, SC_SEND_SENDMMSG, SC_SEND_SENDMMSG);
	test_udp(AF_INET, SC_SEND_SINGLY, SC_SEND_SINGLY);
	test_what_the_kernel_refuses_counts_as_lost();
	test_wrong_parameters();
	return 0;
}
