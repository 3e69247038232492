/* SPDX-License-Identifier: Apache-2.0 */
#include "sc_sender.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "frames.h"
#include "history.h"
#include "pacer.h"
#include "packetiser.h"
#include "path.h"
#include "rtp.h"
#include "srtp.h"

enum {
	NS_PER_S = 1000000000,
	DEFAULT_PACKET_BYTES = 1200,
	MIN_PACKET_BYTES = 256,
	MAX_PACKET_BYTES = 1460,
	DEFAULT_HISTORY_S = 2,
	DEFAULT_RESENT_PER_S = 4000,
	/* A packet that was just sent again is on its way: who asks twice within this gains nothing. */
	RESEND_INTERVAL_NS = 5000000,
	/* The original sequence number (RFC 4588, 4). */
	RTX_HEADER_BYTES = 2,
	MAX_PAYLOAD_TYPE = 127,
};

struct sc_sender {
	pthread_mutex_t mutex; /* guards all that follows; the packet log's is taken inside it */
	struct sc_sender_params params;
	sc_packetise packetise;
	struct sc_rtp_template form;
	struct sc_srtp srtp;
	struct sc_history history; /* empty when closed */
	bool is_closed;
	struct sc_frames frames;
	struct sc_pacer pacer;
	struct sc_path path;
	uint64_t next_rtx;        /* sequence number of the next retransmission, and above it its roll-over counter */
	uint64_t resend_level_ns; /* when the resends so far would have left at max_resent_per_s */
	struct sc_sender_state state;
	int dump_fd;
	bool is_paced;                          /* what waits, waits for its time */
	uint16_t rtx_numbers[SC_BATCH_PACKETS]; /* transport-wide, of the retransmissions in the batch */
	struct sc_batch batch;
};

/* Takes a frame's payloads into the history. */
struct frame_sink {
	struct sc_payload_sink base;
	struct sc_sender *sender;
	const struct sc_frame *frame;
};

static uint64_t clock_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool are_params_valid(const struct sc_sender_params *params) {
	return sc_packetiser_of(params->codec) &&
		   (params->profile == SC_SRTP_AEAD_AES_128_GCM || params->profile == SC_SRTP_AEAD_AES_256_GCM) &&
		   params->payload_type <= MAX_PAYLOAD_TYPE && params->rtx_payload_type <= MAX_PAYLOAD_TYPE &&
		   /* Two streams with one SSRC would share nonces. */
		   (!params->has_rtx || params->rtx_ssrc != params->ssrc) && params->max_packet_bytes >= MIN_PACKET_BYTES &&
		   params->max_packet_bytes <= MAX_PACKET_BYTES && params->max_resent_per_s <= NS_PER_S &&
		   (!params->extensions.transport_cc || params->log);
}

enum sc_result sc_sender_create(const struct sc_sender_params *params, struct sc_sender **out) {
	struct sc_sender *sender = calloc(1, sizeof(*sender));
	if (!sender) {
		return SC_ERROR_NOMEM;
	}
	struct sc_sender_params *own = &sender->params;
	*own = *params;
	own->max_packet_bytes = own->max_packet_bytes ? own->max_packet_bytes : DEFAULT_PACKET_BYTES;
	own->history_ns = own->history_ns ? own->history_ns : (uint64_t)DEFAULT_HISTORY_S * NS_PER_S;
	own->max_resent_per_s = own->max_resent_per_s ? own->max_resent_per_s : DEFAULT_RESENT_PER_S;
	enum sc_result ret = SC_ERROR_INVALID;
	if (!are_params_valid(own) || !sc_rtp_template_init(&sender->form, &own->extensions, own->mid)) {
		goto err_free;
	}
	ret = sc_srtp_init(&sender->srtp, own->profile, own->master_key, own->master_salt);
	/* Not needed any more. */
	memset(own->master_key, 0, sizeof(own->master_key));
	if (ret) {
		goto err_free;
	}
	const size_t payload_bytes = own->max_packet_bytes - sender->form.size_bytes - SC_SRTP_TAG_BYTES;
	if (!sc_history_init(&sender->history, payload_bytes, own->first_sequence)) {
		ret = SC_ERROR_NOMEM;
		goto err_srtp;
	}
	sender->packetise = sc_packetiser_of(own->codec);
	sender->next_rtx = own->first_rtx_sequence;
	sender->dump_fd = -1;
	sc_path_init(&sender->path);
	pthread_mutex_init(&sender->mutex, NULL);
	if (own->log) {
		sc_packet_log_ref(own->log);
	}
	*out = sender;
	return SC_OK;

err_srtp:
	sc_srtp_finish(&sender->srtp);
err_free:
	free(sender);
	return ret;
}

void sc_sender_destroy(struct sc_sender *sender) {
	if (!sender) {
		return;
	}
	sc_path_finish(&sender->path);
	if (sender->dump_fd >= 0) {
		close(sender->dump_fd);
	}
	sc_packet_log_unref(sender->params.log);
	sc_history_finish(&sender->history);
	sc_srtp_finish(&sender->srtp);
	pthread_mutex_destroy(&sender->mutex);
	free(sender);
}

static bool has_room(const struct sc_batch *batch) {
	return batch->count < SC_BATCH_PACKETS && SC_BATCH_BYTES - batch->used_bytes >= MAX_PACKET_BYTES + RTX_HEADER_BYTES;
}

/* Protect what `fields` and `payload` make and append it to the batch. */
static bool append_protected(struct sc_sender *sender, const struct sc_rtp_fields *fields, uint64_t index,
	const uint8_t *payload, size_t payload_bytes) {
	struct sc_batch *batch = &sender->batch;
	uint8_t *packet = batch->data + batch->used_bytes;
	sc_rtp_write_header(&sender->form, fields, packet);
	if (!sc_srtp_protect(
			&sender->srtp, (uint32_t)(index >> 16), packet, sender->form.size_bytes, payload, payload_bytes)) {
		return false;
	}
	const size_t size = sender->form.size_bytes + payload_bytes + SC_SRTP_TAG_BYTES;
	batch->sizes_bytes[batch->count++] = (uint16_t)size;
	batch->used_bytes += (uint32_t)size;
	return true;
}

static void dump(struct sc_sender *sender, const struct sc_rtp_fields *fields, const uint8_t *payload,
	size_t size_bytes, uint64_t now_ns) {
	uint8_t header[SC_RTP_MAX_HEADER_BYTES];
	if (sender->dump_fd >= 0) {
		sc_rtp_write_header(&sender->form, fields, header);
		sc_dump_packet(sender->dump_fd, header, sender->form.size_bytes, payload, size_bytes, now_ns);
	}
}

static struct sc_rtp_fields fields_of(const struct sc_sender *sender, const struct sc_packet *packet, uint64_t index) {
	return (struct sc_rtp_fields){
		.ssrc = sender->params.ssrc,
		.rtp_time = packet->rtp_time,
		.sequence = (uint16_t)index,
		.payload_type = sender->params.payload_type,
		.is_marked = packet->is_marked,
		.transport_sequence = packet->transport_sequence,
		.abs_send_time = packet->abs_send_time,
		.capture_ntp = packet->capture_ntp,
	};
}

/* Append packet `index` to the batch: the same bytes however often. */
static bool append_packet(struct sc_sender *sender, uint64_t index, uint64_t now_ns) {
	struct sc_packet *packet = sc_history_packet(&sender->history, index);
	const uint8_t *payload = sc_history_payload(&sender->history, index);
	const bool is_first_time = index >= sender->history.fixed;
	if (is_first_time) {
		assert(index == sender->history.fixed);
		packet->abs_send_time = sc_rtp_abs_send_time(now_ns);
		packet->transport_sequence =
			sender->params.extensions.transport_cc ? sc_packet_log_number(sender->params.log) : 0;
		sender->history.fixed++;
	}
	const struct sc_rtp_fields fields = fields_of(sender, packet, index);
	if (is_first_time) {
		dump(sender, &fields, payload, packet->size_bytes, now_ns);
	}
	return append_protected(sender, &fields, index, payload, packet->size_bytes);
}

/* The next packet was given to the kernel, or refused by it for good. */
static void note_sent(
	struct sc_sender *sender, uint32_t size_bytes, uint64_t now_ns, uint64_t begin_ns, uint64_t end_ns) {
	struct sc_history *history = &sender->history;
	const uint64_t index = history->next;
	const struct sc_packet *packet = sc_history_packet(history, index);
	if (sender->params.extensions.transport_cc) {
		sc_packet_log_sent(sender->params.log, packet->transport_sequence, size_bytes, begin_ns);
	}
	sender->state.packets++;
	sender->state.octets += packet->size_bytes;
	sender->state.last_rtp_time = packet->rtp_time;
	sc_history_advance(history, now_ns);
	sc_frames_note_sent(&sender->frames, index, begin_ns, end_ns);
}

/* Send one batch of what waits; false when the rest has to wait. */
static bool send_batch(struct sc_sender *sender, uint64_t now_ns) {
	struct sc_history *history = &sender->history;
	struct sc_batch *batch = &sender->batch;
	batch->count = batch->used_bytes = 0;
	for (uint64_t index = history->next; index < history->head && has_room(batch); index++) {
		const size_t size = sender->form.size_bytes + sc_history_packet(history, index)->size_bytes + SC_SRTP_TAG_BYTES;
		if (!sc_pacer_take(&sender->pacer, size, now_ns)) {
			sender->is_paced = true;
			break;
		}
		if (!append_packet(sender, index, now_ns)) {
			/* libcrypto lacks memory; the next pump tries again. */
			sender->is_paced = true;
			break;
		}
	}
	enum sc_result ret;
	const uint64_t begin_ns = clock_ns();
	uint32_t sent = sc_path_send(&sender->path, batch, &ret);
	const int error = errno;
	const uint64_t end_ns = clock_ns();
	for (uint32_t i = 0; i < sent; i++) {
		note_sent(sender, batch->sizes_bytes[i], now_ns, begin_ns, end_ns);
	}
	if (ret == SC_ERROR_IO) {
		sender->state.last_errno = error;
		sender->state.send_errors++;
		/* As lost as on the network: the receiver will ask for it. */
		note_sent(sender, batch->sizes_bytes[sent++], now_ns, begin_ns, end_ns);
	}
	for (uint32_t i = sent; i < batch->count; i++) {
		sc_pacer_refund(&sender->pacer, batch->sizes_bytes[i]);
	}
	sender->state.is_blocked = ret == SC_AGAIN;
	if (ret == SC_ERROR_IO) {
		sender->is_paced = false;
		return true;
	}
	return ret == SC_OK && !sender->is_paced;
}

static void send_due(struct sc_sender *sender, uint64_t now_ns) {
	sender->is_paced = false;
	if (sender->path.fd < 0) {
		return;
	}
	while (sender->history.next < sender->history.head && send_batch(sender, now_ns)) {
	}
}

static bool take_payload(struct sc_payload_sink *sink, const struct sc_payload_part *parts, uint32_t part_count) {
	const struct frame_sink *own = (const struct frame_sink *)sink;
	return sc_history_append(&own->sender->history, parts, part_count, own->frame->rtp_time, own->frame->capture_ntp);
}

void sc_sender_close(struct sc_sender *sender) {
	pthread_mutex_lock(&sender->mutex);
	sender->is_closed = true;
	sender->is_paced = false;
	sc_path_open(&sender->path, -1, NULL, 0);
	sc_history_finish(&sender->history);
	pthread_mutex_unlock(&sender->mutex);
}

enum sc_result sc_sender_send_frame(struct sc_sender *sender, const struct sc_frame *frame, uint64_t now_ns) {
	pthread_mutex_lock(&sender->mutex);
	if (sender->is_closed) {
		pthread_mutex_unlock(&sender->mutex);
		return SC_AGAIN;
	}
	struct sc_history *history = &sender->history;
	enum sc_result ret = SC_AGAIN;
	if (frame->is_keyframe) {
		uint64_t head = history->head;
		sender->state.frames_replaced += sc_frames_take_back(&sender->frames, history->fixed, &head);
		sc_history_rewind(history, head);
	}
	const uint64_t first = history->head;
	if (!sc_frames_are_full(&sender->frames)) {
		struct frame_sink sink = {.base = {.take = take_payload}, .sender = sender, .frame = frame};
		ret = sender->packetise(frame->data, frame->size_bytes, history->payload_bytes, &sink.base);
	}
	if (ret) {
		sc_history_rewind(history, first);
		sender->state.frames_refused++;
	} else {
		sc_history_packet(history, history->head - 1)->is_marked = true;
		sc_frames_append(&sender->frames, first, history->head, frame->rtp_time);
		sender->state.frames++;
		if (frame->is_keyframe) {
			history->useful = first;
		}
	}
	send_due(sender, now_ns);
	pthread_mutex_unlock(&sender->mutex);
	return ret;
}

void sc_sender_pump(struct sc_sender *sender, uint64_t now_ns) {
	pthread_mutex_lock(&sender->mutex);
	send_due(sender, now_ns);
	pthread_mutex_unlock(&sender->mutex);
}

/* Whether the limit on resends leaves one. */
static bool take_resend(struct sc_sender *sender, uint64_t now_ns) {
	const uint64_t cost_ns = (uint64_t)NS_PER_S / sender->params.max_resent_per_s;
	const uint64_t level = sender->resend_level_ns > now_ns ? sender->resend_level_ns : now_ns;
	/* A second's worth: a keyframe lost whole is asked for at once. */
	if (level - now_ns > NS_PER_S) {
		return false;
	}
	sender->resend_level_ns = level + cost_ns;
	return true;
}

/* Append a retransmission of packet `index` to the batch. */
static bool append_resend(struct sc_sender *sender, uint64_t index, uint64_t now_ns) {
	const struct sc_packet *packet = sc_history_packet(&sender->history, index);
	if (!sender->params.has_rtx) {
		return append_packet(sender, index, now_ns);
	}
	uint8_t payload[MAX_PACKET_BYTES];
	payload[0] = (uint8_t)(index >> 8);
	payload[1] = (uint8_t)index;
	memcpy(payload + RTX_HEADER_BYTES, sc_history_payload(&sender->history, index), packet->size_bytes);
	const size_t size = RTX_HEADER_BYTES + packet->size_bytes;
	struct sc_rtp_fields fields = fields_of(sender, packet, index);
	/* A number is used up even if the packet does not leave. */
	const uint64_t rtx = sender->next_rtx++;
	fields.ssrc = sender->params.rtx_ssrc;
	fields.sequence = (uint16_t)rtx;
	fields.payload_type = sender->params.rtx_payload_type;
	fields.abs_send_time = sc_rtp_abs_send_time(now_ns);
	if (sender->params.extensions.transport_cc) {
		fields.transport_sequence = sc_packet_log_number(sender->params.log);
		sender->rtx_numbers[sender->batch.count] = fields.transport_sequence;
	}
	dump(sender, &fields, payload, size, now_ns);
	return append_protected(sender, &fields, rtx, payload, size);
}

static void flush_resends(struct sc_sender *sender, uint64_t now_ns) {
	struct sc_batch *batch = &sender->batch;
	enum sc_result ret;
	const uint64_t sent_ns = clock_ns();
	const uint32_t sent = sc_path_send(&sender->path, batch, &ret);
	for (uint32_t i = 0; i < sent; i++) {
		sc_pacer_charge(&sender->pacer, batch->sizes_bytes[i], now_ns);
		if (sender->params.has_rtx && sender->params.extensions.transport_cc) {
			sc_packet_log_sent(sender->params.log, sender->rtx_numbers[i], batch->sizes_bytes[i], sent_ns);
		}
	}
	/* What the socket does not take now is not kept: it will be asked for again. */
	sender->state.resent_packets += sent;
	sender->state.resends_refused += batch->count - sent;
	batch->count = batch->used_bytes = 0;
}

/* Find a packet that may be sent again. */
static bool find_sent(const struct sc_sender *sender, uint16_t sequence, uint64_t now_ns, uint64_t *index) {
	const uint64_t oldest = now_ns > sender->params.history_ns ? now_ns - sender->params.history_ns : 0;
	return sc_history_find(&sender->history, sequence, oldest, index);
}

uint32_t sc_sender_remembered_bytes(struct sc_sender *sender, uint16_t sequence, uint64_t now_ns) {
	pthread_mutex_lock(&sender->mutex);
	uint64_t index;
	const bool found = find_sent(sender, sequence, now_ns, &index);
	const uint32_t size = found ? sc_history_packet(&sender->history, index)->size_bytes : 0;
	pthread_mutex_unlock(&sender->mutex);
	return size;
}

uint32_t sc_sender_retransmit(struct sc_sender *sender, const uint16_t *sequences, uint32_t count, uint64_t now_ns) {
	pthread_mutex_lock(&sender->mutex);
	struct sc_batch *batch = &sender->batch;
	const uint64_t before = sender->state.resent_packets;
	batch->count = batch->used_bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t index;
		if (!find_sent(sender, sequences[i], now_ns, &index)) {
			sender->state.resends_refused++;
			continue;
		}
		struct sc_packet *packet = sc_history_packet(&sender->history, index);
		const bool was_resent = packet->resent_ns != packet->sent_ns;
		if ((was_resent && now_ns - packet->resent_ns < RESEND_INTERVAL_NS) || !take_resend(sender, now_ns) ||
			!append_resend(sender, index, now_ns)) {
			sender->state.resends_refused++;
			continue;
		}
		packet->resent_ns = now_ns > packet->sent_ns ? now_ns : packet->sent_ns + 1;
		if (!has_room(batch)) {
			flush_resends(sender, now_ns);
		}
	}
	flush_resends(sender, now_ns);
	const uint32_t sent = (uint32_t)(sender->state.resent_packets - before);
	pthread_mutex_unlock(&sender->mutex);
	return sent;
}

enum sc_result sc_sender_set_path(struct sc_sender *sender, int borrow_fd, const char *host, uint16_t port) {
	pthread_mutex_lock(&sender->mutex);
	const enum sc_result ret = sender->is_closed ? SC_OK : sc_path_open(&sender->path, borrow_fd, host, port);
	pthread_mutex_unlock(&sender->mutex);
	return ret;
}

void sc_sender_limit_mode(struct sc_sender *sender, enum sc_send_mode mode) {
	pthread_mutex_lock(&sender->mutex);
	sender->path.best_mode = mode;
	pthread_mutex_unlock(&sender->mutex);
}

void sc_sender_set_pace(struct sc_sender *sender, uint64_t pace_bps) {
	pthread_mutex_lock(&sender->mutex);
	sc_pacer_set(&sender->pacer, pace_bps);
	pthread_mutex_unlock(&sender->mutex);
}

void sc_sender_get_state(struct sc_sender *sender, struct sc_sender_state *out) {
	pthread_mutex_lock(&sender->mutex);
	*out = sender->state;
	out->is_blocked = out->is_blocked || (sender->path.fd < 0 && sender->frames.count);
	out->unsent_frames = sender->frames.count;
	out->unsent_bytes = sender->history.unsent_bytes;
	out->mode = sender->path.mode;
	out->next_ns = sender->is_paced ? sc_pacer_next_ns(&sender->pacer) : UINT64_MAX;
	pthread_mutex_unlock(&sender->mutex);
}

uint32_t sc_sender_take_sent(struct sc_sender *sender, struct sc_sent_frame *out, uint32_t capacity) {
	pthread_mutex_lock(&sender->mutex);
	const uint32_t count = sc_frames_take_reports(&sender->frames, out, capacity);
	pthread_mutex_unlock(&sender->mutex);
	return count;
}

enum sc_result sc_sender_dump(struct sc_sender *sender, int borrow_fd) {
	pthread_mutex_lock(&sender->mutex);
	if (sender->dump_fd >= 0) {
		close(sender->dump_fd);
	}
	sender->dump_fd = borrow_fd < 0 ? -1 : fcntl(borrow_fd, F_DUPFD_CLOEXEC, 0);
	const bool ok = borrow_fd < 0 || (sender->dump_fd >= 0 && sc_dump_begin(sender->dump_fd));
	pthread_mutex_unlock(&sender->mutex);
	return ok ? SC_OK : SC_ERROR_IO;
}
