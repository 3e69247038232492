/* SPDX-License-Identifier: Apache-2.0 */
#include "pacer.h"

enum {
	NS_PER_S = 1000000000,
	BURST_MS = 20,
	/* Ten packets leave together at any pace; more than 128 KiB at once overruns a receiver's socket buffer of usual size. */
	MIN_BURST_BYTES = 12 << 10,
	MAX_BURST_BYTES = 128 << 10,
	/* Event loops have timers of this resolution; a wake-up for each packet costs more than it gives. */
	QUANTUM_NS = 1000000,
};

static uint64_t time_of(const struct sc_pacer *pacer, size_t size_bytes) {
	return size_bytes * 8u * (uint64_t)NS_PER_S / pacer->pace_bps;
}

void sc_pacer_set(struct sc_pacer *pacer, uint64_t pace_bps) {
	pacer->pace_bps = pace_bps;
	if (!pace_bps) {
		pacer->burst_ns = 0;
		return;
	}
	uint64_t burst_bytes = pace_bps / 8 * BURST_MS / 1000;
	burst_bytes = burst_bytes < MIN_BURST_BYTES ? MIN_BURST_BYTES : burst_bytes;
	burst_bytes = burst_bytes > MAX_BURST_BYTES ? MAX_BURST_BYTES : burst_bytes;
	pacer->burst_ns = time_of(pacer, burst_bytes);
	/* What was sent at a slower pace does not hold a faster one up. */
	const uint64_t most = pacer->asked_ns + pacer->burst_ns;
	pacer->level_ns = pacer->level_ns > most ? most : pacer->level_ns;
}

void sc_pacer_charge(struct sc_pacer *pacer, size_t size_bytes, uint64_t now_ns) {
	pacer->asked_ns = now_ns;
	if (pacer->pace_bps) {
		pacer->level_ns = (pacer->level_ns > now_ns ? pacer->level_ns : now_ns) + time_of(pacer, size_bytes);
	}
}

bool sc_pacer_take(struct sc_pacer *pacer, size_t size_bytes, uint64_t now_ns) {
	pacer->asked_ns = now_ns;
	if (pacer->pace_bps && pacer->level_ns > now_ns + pacer->burst_ns) {
		return false;
	}
	sc_pacer_charge(pacer, size_bytes, now_ns);
	return true;
}

void sc_pacer_refund(struct sc_pacer *pacer, size_t size_bytes) {
	if (pacer->pace_bps) {
		const uint64_t cost = time_of(pacer, size_bytes);
		pacer->level_ns -= cost < pacer->level_ns ? cost : pacer->level_ns;
	}
}

uint64_t sc_pacer_next_ns(const struct sc_pacer *pacer) {
	const uint64_t due_ns = pacer->level_ns > pacer->burst_ns ? pacer->level_ns - pacer->burst_ns : 0;
	return (due_ns > pacer->asked_ns ? due_ns : pacer->asked_ns) + QUANTUM_NS;
}
