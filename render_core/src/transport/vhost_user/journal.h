/* SPDX-License-Identifier: Apache-2.0
 * What a new worker needs to take a live guest over from one that died (docs/protocol/machine-link.md, "Journal"): the requests that made what there is,
 * in a memfd that outlives the worker. It says what a guest said, so it is as little trusted: replaying goes through the same checks. Core thread only. */
#ifndef RC_JOURNAL_H
#define RC_JOURNAL_H

#include "decode/virtio_gpu.h"
#include "transport/vhost_user/virtqueue.h"

/* Room for a RESOURCE_ATTACH_BACKING of RC_MAX_ENTRIES, the longest request there is. */
enum { RC_MAX_REQUEST = 64 + 16 * RC_MAX_ENTRIES };

struct rc_journal_head;

struct rc_journal {
	struct rc_journal_head *head; /* the mapped memfd; NULL: not open */
	uint64_t size;                /* of it */
	/* What the memfd says too, and what is believed: the worker before us may not be quite dead. */
	uint32_t half;
	uint64_t used; /* bytes of records in that half */
	uint16_t executed;
	uint32_t attempts;
	bool incomplete;
};

/* Map a journal: NULL, or the name of what is wrong. The fd stays the caller's, who may close it. */
const char *rc_journal_open(struct rc_journal *journal, int memfd);
void rc_journal_close(struct rc_journal *journal);

/* Forget everything: a driver begins, whose control queue is this one, or nothing is known of one; `executed` as below. */
void rc_journal_clear(struct rc_journal *journal, const struct rc_virtqueue_layout *queue, uint16_t executed);

/* Whether it was written for a driver with this control queue. */
bool rc_journal_is_of(const struct rc_journal *journal, const struct rc_virtqueue_layout *queue);

/* The request of the first chain that was not executed is going to be: if that is the end of this worker, the next one knows. */
void rc_journal_begin(struct rc_journal *journal);

/* Note a request that `gpu` has just executed well and whose response is written, and, by the same store, that it is executed: `executed` as below.
 * Requests that leave nothing behind are passed over. */
void rc_journal_note_control(struct rc_journal *journal, const struct rc_virtio_gpu *gpu, const uint8_t *request,
	size_t size, uint16_t executed);
void rc_journal_note_cursor(struct rc_journal *journal, const uint8_t *request, size_t size);

/* How far the control queue has been executed: index of the first chain that was not. What is before it, and not in the used ring yet, waits for a flush
 * before it; its responses are written. */
void rc_journal_set_executed(struct rc_journal *journal, uint16_t index);

/* What a former worker said of that, and of how often the request there was begun and not finished. It is what the journal goes on with. */
uint16_t rc_journal_read_executed(struct rc_journal *journal, uint32_t *attempts);

/* Execute what is noted on a `gpu` without resources, and read all pictures from the guest's memory. `buffer`: RC_MAX_REQUEST bytes. False: something is missing. */
bool rc_journal_replay(struct rc_journal *journal, struct rc_virtio_gpu *gpu, uint8_t *buffer);

#endif
