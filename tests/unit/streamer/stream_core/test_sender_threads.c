/* SPDX-License-Identifier: Apache-2.0
 * One thread sends frames, another does what the event loop does, a third what aiortc's own path does: no number twice, nothing lost. */
#include "sender_bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { FRAMES = 300, FRAME_BYTES = 9000, MAX_PACKETS = 65536, OTHERS = 2000 };

struct race {
	struct sender_bench bench;
	atomic_bool is_over;
	uint32_t sent;
	uint32_t received, reported, resent;
	uint8_t seen[MAX_PACKETS]; /* by transport-wide number */
};

static void *send_frames(void *data) {
	struct race *race = data;
	for (uint32_t i = 0; i < FRAMES; i++) {
		while (bench_send(&race->bench, FRAME_BYTES, i, i % 50 == 0, i + 1) != SC_OK) {
		}
		race->sent++;
	}
	return NULL;
}

static void *number_others(void *data) {
	struct race *race = data;
	uint16_t *numbers = calloc(OTHERS, sizeof(*numbers));
	for (uint32_t i = 0; i < OTHERS; i++) {
		numbers[i] = sc_packet_log_number(race->bench.log);
		sc_packet_log_sent(race->bench.log, numbers[i], 100, 1);
	}
	return numbers;
}

static void receive_all(struct race *race) {
	struct received packet;
	while (bench_receive(&race->bench, &packet, 0)) {
		CHECK(!race->seen[packet.transport_sequence]++);
		race->received++;
		if (packet.ssrc == BENCH_SSRC && packet.sequence % 16 == 0) {
			race->resent += sc_sender_retransmit(race->bench.sender, &packet.sequence, 1, 100);
		}
	}
}

static void *run_loop(void *data) {
	struct race *race = data;
	struct sc_sent_frame reports[8];
	for (bool is_last = false; !is_last;) {
		is_last = atomic_load(&race->is_over) && !bench_state(&race->bench).unsent_bytes;
		sc_sender_set_pace(race->bench.sender, 0);
		sc_sender_pump(race->bench.sender, 1);
		receive_all(race);
		race->reported += sc_sender_take_sent(race->bench.sender, reports, 8);
		sc_packet_log_totals(race->bench.log);
	}
	receive_all(race);
	return NULL;
}

int main(void) {
	static struct race race;
	bench_init(&race.bench, true, 1);
	pthread_t sender, loop, other;
	CHECK(!pthread_create(&loop, NULL, run_loop, &race));
	CHECK(!pthread_create(&other, NULL, number_others, &race));
	CHECK(!pthread_create(&sender, NULL, send_frames, &race));
	void *numbers;
	pthread_join(sender, NULL);
	pthread_join(other, &numbers);
	atomic_store(&race.is_over, true);
	pthread_join(loop, NULL);
	for (uint32_t i = 0; i < OTHERS; i++) {
		CHECK(!race.seen[((uint16_t *)numbers)[i]]++);
	}
	free(numbers);
	const struct sc_sender_state state = bench_state(&race.bench);
	CHECK(race.sent == FRAMES && state.frames == FRAMES && race.received == state.packets + race.resent && race.resent);
	CHECK(state.resent_packets == race.resent);
	bench_finish(&race.bench);
	return 0;
}
