/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool sc_history_init(struct sc_history *history, size_t payload_bytes, uint16_t first_sequence) {
	/* The index begins as the sequence number does: its low 16 bits are the number, those above the roll-over counter. */
	*history = (struct sc_history){
		.payload_bytes = payload_bytes, .head = first_sequence, .next = first_sequence, .fixed = first_sequence};
	history->packets = calloc(SC_HISTORY_PACKETS, sizeof(*history->packets));
	/* Not from the heap: only what is written takes memory, and all of it goes back at once. */
	void *payloads =
		mmap(NULL, SC_HISTORY_PACKETS * payload_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	history->payloads = payloads == MAP_FAILED ? NULL : payloads;
	if (!history->packets || !history->payloads) {
		sc_history_finish(history);
		return false;
	}
	return true;
}

void sc_history_finish(struct sc_history *history) {
	free(history->packets);
	if (history->payloads) {
		munmap(history->payloads, SC_HISTORY_PACKETS * history->payload_bytes);
	}
	*history = (struct sc_history){0};
}

bool sc_history_append(struct sc_history *history, const struct sc_payload_part *parts, uint32_t part_count,
	uint32_t rtp_time, uint64_t capture_ntp) {
	if (history->head - history->next >= SC_HISTORY_PACKETS) {
		return false;
	}
	uint8_t *payload = sc_history_payload(history, history->head);
	size_t size = 0;
	for (uint32_t i = 0; i < part_count; i++) {
		assert(parts[i].size_bytes <= history->payload_bytes - size);
		memcpy(payload + size, parts[i].data, parts[i].size_bytes);
		size += parts[i].size_bytes;
	}
	*sc_history_packet(history, history->head) = (struct sc_packet){
		.rtp_time = rtp_time,
		.capture_ntp = capture_ntp,
		.size_bytes = (uint16_t)size,
	};
	history->head++;
	history->unsent_bytes += size;
	return true;
}

void sc_history_rewind(struct sc_history *history, uint64_t head) {
	while (history->head > head) {
		history->head--;
		struct sc_packet *packet = sc_history_packet(history, history->head);
		assert(history->head >= history->fixed);
		history->unsent_bytes -= packet->size_bytes;
		*packet = (struct sc_packet){0};
	}
}

void sc_history_advance(struct sc_history *history, uint64_t now_ns) {
	struct sc_packet *packet = sc_history_packet(history, history->next);
	packet->sent_ns = packet->resent_ns = now_ns;
	history->unsent_bytes -= packet->size_bytes;
	history->next++;
}

bool sc_history_find(const struct sc_history *history, uint16_t sequence, uint64_t not_before_ns, uint64_t *index) {
	/* The newest index with that number which was sent. */
	const uint64_t age = (uint16_t)((uint16_t)(history->next - 1) - sequence);
	/* What is further back has been overwritten by what came after it, sent or not. */
	if (history->next <= age || history->head - (history->next - 1 - age) > SC_HISTORY_PACKETS) {
		return false;
	}
	const uint64_t found = history->next - 1 - age;
	const struct sc_packet *packet = sc_history_packet(history, found);
	if (found < history->useful || !packet->sent_ns || packet->sent_ns < not_before_ns) {
		return false;
	}
	*index = found;
	return true;
}
