/* SPDX-License-Identifier: Apache-2.0
 * Which packets belong to which frame: frames that are on their way, and reports of those that have gone. */
#ifndef SC_SEND_FRAMES_H
#define SC_SEND_FRAMES_H

#include "sc_sender.h"

enum {
	/* Of each: a second of 60 frames. */
	SC_FRAMES = 64,
};

struct sc_frame_record {
	uint64_t first_index;
	uint64_t end_index;
	uint64_t first_packet_ns; /* 0: none was sent */
	uint32_t rtp_time;
};

struct sc_frames {
	struct sc_frame_record records[SC_FRAMES];
	uint32_t count, begin; /* of records */
	struct sc_sent_frame reports[SC_FRAMES];
	uint32_t report_count, report_begin;
};

bool sc_frames_are_full(const struct sc_frames *frames);
void sc_frames_append(struct sc_frames *frames, uint64_t first_index, uint64_t end_index, uint32_t rtp_time);

/* Take back the frames none of whose packets is before `fixed_index`; returns how many, and in *head the first of their packets. */
uint32_t sc_frames_take_back(struct sc_frames *frames, uint64_t fixed_index, uint64_t *head);

/* Packet `index` was given to the kernel, by a call from `begin_ns` to `end_ns`. */
void sc_frames_note_sent(struct sc_frames *frames, uint64_t index, uint64_t begin_ns, uint64_t end_ns);

uint32_t sc_frames_take_reports(struct sc_frames *frames, struct sc_sent_frame *out, uint32_t capacity);

#endif
