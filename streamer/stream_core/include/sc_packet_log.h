/* SPDX-License-Identifier: Apache-2.0
 * The transport-wide packet numbers of one transport, and what was sent under each: draft-holmer-rmcat-transport-wide-cc-extensions-01.
 * Whoever sends on the transport, in C or in Python, takes its numbers here: there is one counter. Any thread. */
#ifndef SC_PACKET_LOG_H
#define SC_PACKET_LOG_H

#include "sc_result.h"

enum {
	/* How many of the newest packets are remembered: a second of 75 Mb/s. A power of two. */
	SC_PACKET_LOG_ENTRIES = 8192,
};

struct sc_packet_log;

struct sc_packet_totals {
	uint64_t packets;
	uint64_t bytes;
};

/* Create a log; it is the caller's, who gives it up with sc_packet_log_unref(). Senders hold references of their own. */
enum sc_result sc_packet_log_create(struct sc_packet_log **out);
struct sc_packet_log *sc_packet_log_ref(struct sc_packet_log *log);
/* NULL is taken. */
void sc_packet_log_unref(struct sc_packet_log *log);

/* Return the number for the next packet. */
uint16_t sc_packet_log_number(struct sc_packet_log *log);

/* Note that packet `sequence` has left with `size_bytes` at `sent_ns` (CLOCK_MONOTONIC). */
void sc_packet_log_sent(struct sc_packet_log *log, uint16_t sequence, uint32_t size_bytes, uint64_t sent_ns);

/* Look `count` packets from `first_sequence` on up (modulo 65536) and, if `forget`, forget them: a second report of the same packet
 * finds nothing. Writes `count` sizes and times; both are 0 where a packet is not remembered. Returns how many are. */
uint32_t sc_packet_log_read(struct sc_packet_log *log, uint16_t first_sequence, uint32_t count, bool forget,
	uint32_t *size_bytes, uint64_t *sent_ns);

/* Sums since the log began. */
struct sc_packet_totals sc_packet_log_totals(struct sc_packet_log *log);

#endif
