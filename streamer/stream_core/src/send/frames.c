/* SPDX-License-Identifier: Apache-2.0 */
#include "frames.h"

bool sc_frames_are_full(const struct sc_frames *frames) {
	return frames->count == SC_FRAMES;
}

static struct sc_frame_record *record(struct sc_frames *frames, uint32_t position) {
	return &frames->records[(frames->begin + position) % SC_FRAMES];
}

void sc_frames_append(struct sc_frames *frames, uint64_t first_index, uint64_t end_index, uint32_t rtp_time) {
	*record(frames, frames->count++) =
		(struct sc_frame_record){.first_index = first_index, .end_index = end_index, .rtp_time = rtp_time};
}

uint32_t sc_frames_take_back(struct sc_frames *frames, uint64_t fixed_index, uint64_t *head) {
	uint32_t taken = 0;
	while (frames->count && record(frames, frames->count - 1)->first_index >= fixed_index) {
		*head = record(frames, frames->count - 1)->first_index;
		frames->count--;
		taken++;
	}
	return taken;
}

void sc_frames_note_sent(struct sc_frames *frames, uint64_t index, uint64_t begin_ns, uint64_t end_ns) {
	struct sc_frame_record *oldest = record(frames, 0);
	oldest->first_packet_ns = oldest->first_packet_ns ? oldest->first_packet_ns : begin_ns;
	if (index + 1 < oldest->end_index) {
		return;
	}
	if (frames->report_count == SC_FRAMES) {
		frames->report_begin = (frames->report_begin + 1) % SC_FRAMES;
		frames->report_count--;
	}
	frames->reports[(frames->report_begin + frames->report_count++) % SC_FRAMES] = (struct sc_sent_frame){
		.rtp_time = oldest->rtp_time,
		.packets = (uint32_t)(oldest->end_index - oldest->first_index),
		.first_packet_ns = oldest->first_packet_ns,
		.last_packet_ns = end_ns,
	};
	frames->begin = (frames->begin + 1) % SC_FRAMES;
	frames->count--;
}

uint32_t sc_frames_take_reports(struct sc_frames *frames, struct sc_sent_frame *out, uint32_t capacity) {
	uint32_t taken = 0;
	for (; taken < capacity && frames->report_count; taken++) {
		out[taken] = frames->reports[frames->report_begin];
		frames->report_begin = (frames->report_begin + 1) % SC_FRAMES;
		frames->report_count--;
	}
	return taken;
}
