/* SPDX-License-Identifier: Apache-2.0
 * Lets bursts pass and spreads what is larger: a leaky bucket as a meter (GCRA, ITU-T I.371), which needs no timer of its own. */
#ifndef SC_SEND_PACER_H
#define SC_SEND_PACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sc_pacer {
	uint64_t pace_bps; /* 0: everything passes */
	uint64_t burst_ns; /* a burst, as time at that pace */
	uint64_t level_ns; /* when what was sent so far would have left at that pace */
	uint64_t asked_ns; /* the newest time seen */
};

void sc_pacer_set(struct sc_pacer *pacer, uint64_t pace_bps);

/* Whether a packet may leave now; if so its `size_bytes` count. */
bool sc_pacer_take(struct sc_pacer *pacer, size_t size_bytes, uint64_t now_ns);

/* Count a packet that leaves whatever the pace. */
void sc_pacer_charge(struct sc_pacer *pacer, size_t size_bytes, uint64_t now_ns);

/* A packet that was counted did not leave. */
void sc_pacer_refund(struct sc_pacer *pacer, size_t size_bytes);

/* When to ask again after a refusal: a millisecond's worth may leave then. */
uint64_t sc_pacer_next_ns(const struct sc_pacer *pacer);

#endif
