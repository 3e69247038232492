/* SPDX-License-Identifier: Apache-2.0
 * Cuts access units into RTP payloads; one implementation a codec. No state, no allocation. */
#ifndef SC_SEND_PACKETISER_H
#define SC_SEND_PACKETISER_H

#include "sc_sender.h"

enum {
	/* An aggregation packet has a header, and a length and a NAL unit for each of 8 at most. */
	SC_PAYLOAD_MAX_PARTS = 17,
	/* Less than this is not worth a packet, and would not hold the headers below. */
	SC_PAYLOAD_MIN_BYTES = 64,
};

struct sc_payload_part {
	const uint8_t *data;
	size_t size_bytes;
};

/* Takes payloads in order. `parts` is one payload in pieces, valid during the call; false ends the work. */
struct sc_payload_sink {
	bool (*take)(struct sc_payload_sink *sink, const struct sc_payload_part *parts, uint32_t part_count);
};

/* Cut an access unit into payloads of `max_payload_bytes` (SC_PAYLOAD_MIN_BYTES or more) at most.
 * SC_AGAIN: the sink took no more. SC_ERROR_INVALID: nothing in `unit` can be sent. */
typedef enum sc_result (*sc_packetise)(
	const uint8_t *unit, size_t size_bytes, size_t max_payload_bytes, struct sc_payload_sink *sink);

/* The packetiser of a codec; NULL for one that is not known. */
sc_packetise sc_packetiser_of(enum sc_codec codec);

enum sc_result sc_packetise_h264(
	const uint8_t *unit, size_t size_bytes, size_t max_payload_bytes, struct sc_payload_sink *sink);

#endif
