/* SPDX-License-Identifier: Apache-2.0
 * The packets of a stream: those that wait, and those that were sent of late and may have to be sent again. One array serves both, so what waits
 * costs nothing more than what is remembered. Packets have an index of 64 bits that never wraps; sequence number and roll-over counter
 * are parts of it. */
#ifndef SC_SEND_HISTORY_H
#define SC_SEND_HISTORY_H

#include "sc_sender.h"
#include "packetiser.h"

enum {
	/* A second of 75 Mb/s; 9 MB at most, of which only what was written counts. A power of two. */
	SC_HISTORY_PACKETS = 8192,
};

struct sc_packet {
	uint64_t sent_ns;   /* when it was sent first; 0: it was not yet */
	uint64_t resent_ns; /* when it was sent last */
	uint64_t capture_ntp;
	uint32_t rtp_time;
	uint32_t abs_send_time;
	uint16_t transport_sequence;
	uint16_t size_bytes;
	bool is_marked;
};

struct sc_history {
	struct sc_packet *packets; /* packet i is at i % SC_HISTORY_PACKETS */
	uint8_t *payloads;
	size_t payload_bytes; /* room for one */
	uint64_t head;        /* the index of the packet that comes next */
	uint64_t next;        /* the first that was not sent */
	/* The first whose bytes are not settled; at least `next`. The nonce of a packet follows from its index alone, and must never see two different
	 * texts (RFC 7714, 9.1): not when the socket was full, not when the packet is sent again. So what depends on the time, and the
	 * transport-wide number, are written down when a packet is protected first. */
	uint64_t fixed;
	uint64_t useful; /* the first that no later keyframe has made useless: those before are not sent again */
	uint64_t unsent_bytes;
};

bool sc_history_init(struct sc_history *history, size_t payload_bytes, uint16_t first_sequence);
void sc_history_finish(struct sc_history *history);

static inline struct sc_packet *sc_history_packet(const struct sc_history *history, uint64_t index) {
	return &history->packets[index % SC_HISTORY_PACKETS];
}

static inline uint8_t *sc_history_payload(const struct sc_history *history, uint64_t index) {
	return history->payloads + index % SC_HISTORY_PACKETS * history->payload_bytes;
}

/* Append a packet; false when all room is taken by packets that wait. */
bool sc_history_append(struct sc_history *history, const struct sc_payload_part *parts, uint32_t part_count,
	uint32_t rtp_time, uint64_t capture_ntp);

/* Take the newest packets back, down to `head`. None of them may be settled. */
void sc_history_rewind(struct sc_history *history, uint64_t head);

/* The first packet not sent has been. */
void sc_history_advance(struct sc_history *history, uint64_t now_ns);

/* Find a packet that was sent at `not_before_ns` or later; false when there is none of that number. */
bool sc_history_find(const struct sc_history *history, uint16_t sequence, uint64_t not_before_ns, uint64_t *index);

#endif
