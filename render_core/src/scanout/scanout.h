/* SPDX-License-Identifier: Apache-2.0
 * A scanout: which picture a guest shows, what changed in it, when it is converted and when the guest gets its buffer back. */
#ifndef RC_SCANOUT_H
#define RC_SCANOUT_H

#include "convert/convert.h"
#include "handoff/frame_ring.h"
#include "scanout/cursor.h"
#include "scanout/damage.h"
#include "util/list.h"

/* A RESOURCE_FLUSH that waits for its answer. The transport embeds it; complete() is called once and may free it. To give up
 * (the guest is gone) the transport removes the link itself. */
struct rc_completion {
	struct rc_list link; /* rc_scanout::completions */
	uint32_t batch;      /* a beat completes the oldest one and those after it that have the same number */
	void (*complete)(struct rc_completion *completion);
};

struct rc_scanout;

/* Told what changed, for the consumer: by rc_scanout_service() alone. */
struct rc_scanout_listener {
	void *owner;
	void (*ring_changed)(void *owner, struct rc_scanout *scanout);
	void (*turned_off)(void *owner, struct rc_scanout *scanout);
	void (*cursor_changed)(void *owner, struct rc_scanout *scanout);
	void (*cursor_moved)(void *owner, struct rc_scanout *scanout);
};

/* What the consumer has not been told yet. Guests may change these as fast as they like; the consumer hears the newest state, at once
 * after a quiet time and then at most every RC_NEWS_INTERVAL_NS. */
enum rc_scanout_news {
	RC_NEWS_PICTURE = 1, /* another size, or nothing is shown */
	RC_NEWS_CURSOR_IMAGE = 2,
	RC_NEWS_CURSOR_MOVE = 4,
};
#define RC_NEWS_INTERVAL_NS UINT64_C(16666667)

struct rc_scanout {
	uint32_t id;
	struct rc_log *log;
	enum rc_format format;
	struct rc_converter *converter;      /* the core's */
	struct rc_scanout_listener listener; /* callbacks may be NULL while nobody is connected */

	/* what the viewer wants: GET_DISPLAY_INFO */
	bool wanted;
	bool wanted_unseen;                   /* it changed since the guest asked last */
	uint32_t wanted_width, wanted_height; /* 0 while it is not wanted */
	uint32_t refresh_mhz;

	/* what the guest shows */
	struct rc_picture picture; /* with a reference to its surface; NULL: off */
	uint32_t resource_id;      /* 0 once the guest's connection is gone */
	uint32_t shown;            /* counts rc_scanout_show() */
	const void *guest;         /* whose id that is: two transports may be connected; NULL with 0 */
	struct rc_cursor cursor;
	struct rc_damage damage; /* since the last published frame, in the picture's pixels */
	uint64_t flush_ns;       /* oldest flush in it */

	/* pacing */
	uint64_t convert_due_ns; /* when conversions at the frame rate would be caught up; one more may run ahead */
	uint64_t answer_due_ns;
	uint32_t extras;        /* conversions and answers ahead of the beat that an input has left */
	uint64_t extra_due_ns;  /* not before */
	uint64_t extras_end_ns; /* and not after */
	struct rc_list completions;

	/* the consumer */
	bool connected, active;
	struct rc_frame_ring *ring; /* may be of the size before, until the consumer is told */
	uint32_t generation;
	uint32_t news; /* of enum rc_scanout_news; only while connected */
	uint64_t news_due_ns;
};

void rc_scanout_init(
	struct rc_scanout *scanout, uint32_t id, struct rc_log *log, struct rc_converter *converter, enum rc_format format);
void rc_scanout_finish(struct rc_scanout *scanout);

/* Show a picture (a reference to its surface is taken); everything is damaged. */
void rc_scanout_show(
	struct rc_scanout *scanout, const struct rc_picture *picture, const void *guest, uint32_t resource_id);
void rc_scanout_hide(struct rc_scanout *scanout);

/* The guest's connection is gone: the picture stays, its resource id means nothing any more. */
void rc_scanout_orphan(struct rc_scanout *scanout);

/* The guest flushed `rect` (inside the picture). `completion` (may be NULL) is completed when the pixels have been read, at the frame rate.
 * Nothing is read before rc_scanout_service(): flushes that come together are one frame. */
void rc_scanout_flush(struct rc_scanout *scanout, const struct rc_rect *rect, struct rc_completion *completion);

/* A consumer came or went. A new one gets a new ring: what a dead one held is of no concern. */
void rc_scanout_connect(struct rc_scanout *scanout, const struct rc_scanout_listener *listener);
void rc_scanout_disconnect(struct rc_scanout *scanout);

/* The guest changed something that the consumer is told; `news` is of enum rc_scanout_news. */
void rc_scanout_tell(struct rc_scanout *scanout, uint32_t news);

/* Somebody watches, or nobody does: then nothing is converted. */
void rc_scanout_set_active(struct rc_scanout *scanout, bool active);

/* A viewer has pressed something and waits to see what comes of it: for a tenth of a second a few pictures need not keep to the beat. */
void rc_scanout_expect(struct rc_scanout *scanout, uint64_t now_ns);

/* True when GET_DISPLAY_INFO has a new answer. Checked by the caller: sizes 16..RC_MAX_SIZE; refresh_mhz 0 keeps the rate. */
bool rc_scanout_set_wanted(struct rc_scanout *scanout, uint32_t width, uint32_t height, uint32_t refresh_mhz);

/* Nobody wants it any more: the guest's monitor is unplugged. True when GET_DISPLAY_INFO has a new answer. */
bool rc_scanout_set_unwanted(struct rc_scanout *scanout);

/* Do what is due; and when to come again (UINT64_MAX: nothing is waiting). */
void rc_scanout_service(struct rc_scanout *scanout, uint64_t now_ns);
uint64_t rc_scanout_deadline(const struct rc_scanout *scanout);

#endif
