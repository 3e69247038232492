/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/scanout.h"

#include "convert/scale.h"
#include "util/clock.h"
#include "util/rect.h"

void rc_scanout_init(struct rc_scanout *scanout, uint32_t id, struct rc_log *log, struct rc_converter *converter,
	enum rc_format format) {
	*scanout =
		(struct rc_scanout){.id = id, .log = log, .converter = converter, .format = format, .refresh_mhz = 60000};
	rc_list_init(&scanout->completions);
}

/* How long memory for a frame ring is waited for. */
#define RING_RETRY_NS UINT64_C(1000000000)

/* After an input: so many pictures ahead of the beat, so long, and as far apart as this part of the frame interval. */
#define INPUT_EXTRAS 4
#define INPUT_NS UINT64_C(100000000)
#define EXTRA_SHARE 4

static void drop_ring(struct rc_scanout *scanout) {
	rc_frame_ring_destroy(scanout->ring);
	scanout->ring = NULL;
}

void rc_scanout_finish(struct rc_scanout *scanout) {
	scanout->listener = (struct rc_scanout_listener){0};
	rc_scanout_hide(scanout);
	drop_ring(scanout);
	rc_cursor_finish(&scanout->cursor);
}

/* What paces flushes: a little less than the frame interval. A guest that draws at just the frame rate and was held up once
 * would be early for every beat from then on, and each of its pictures would wait. This way it is ahead of it again soon. */
static uint64_t interval_ns(const struct rc_scanout *scanout) {
	return UINT64_C(970000000000) / scanout->refresh_mhz;
}

static void damage_all(struct rc_scanout *scanout) {
	const struct rc_rect all = {0, 0, scanout->picture.width, scanout->picture.height};
	rc_damage_clear(&scanout->damage);
	rc_damage_add(&scanout->damage, &all);
	if (!scanout->flush_ns) {
		scanout->flush_ns = rc_now_ns();
	}
}

static bool ring_fits(const struct rc_scanout *scanout) {
	const struct rc_picture *picture = &scanout->picture;
	return scanout->ring && picture->surface && scanout->ring->layout.source_width == picture->width &&
		   scanout->ring->layout.source_height == picture->height;
}

/* Make the ring fit the picture, and say so. */
static void update_ring(struct rc_scanout *scanout) {
	const struct rc_picture *picture = &scanout->picture;
	if (ring_fits(scanout)) {
		return; /* the guest came back to this size before anybody was told of another */
	}
	drop_ring(scanout);
	if (!picture->surface) {
		scanout->listener.turned_off(scanout->listener.owner, scanout);
		return;
	}
	const uint32_t divisor = rc_scale_divisor(picture->width, picture->height);
	scanout->ring = rc_frame_ring_create(scanout->format, picture->width, picture->height, divisor);
	if (!scanout->ring) {
		rc_log(scanout->log, RC_LOG_ERROR, "scanout %u: no memory for a frame ring of %ux%u", scanout->id,
			picture->width, picture->height);
		rc_scanout_tell(scanout, RC_NEWS_PICTURE); /* tried again, later */
		scanout->news_due_ns += RING_RETRY_NS;
		return;
	}
	if (divisor > 1) {
		rc_log(scanout->log, RC_LOG_INFO, "scanout %u: %ux%u is too large for a video: shown at 1/%u of its size",
			scanout->id, picture->width, picture->height, divisor);
	}
	scanout->generation++;
	damage_all(scanout);
	scanout->listener.ring_changed(scanout->listener.owner, scanout);
}

void rc_scanout_tell(struct rc_scanout *scanout, uint32_t news) {
	if (scanout->connected) {
		scanout->news |= news;
	}
}

static void tell_news(struct rc_scanout *scanout, uint64_t now_ns) {
	uint32_t news = scanout->news;
	scanout->news = 0;
	scanout->news_due_ns = now_ns + RC_NEWS_INTERVAL_NS;
	if (news & RC_NEWS_PICTURE) {
		update_ring(scanout);
	}
	if (news & RC_NEWS_CURSOR_IMAGE) {
		scanout->listener.cursor_changed(scanout->listener.owner, scanout);
	}
	if (news & RC_NEWS_CURSOR_MOVE) {
		scanout->listener.cursor_moved(scanout->listener.owner, scanout);
	}
}

void rc_scanout_show(
	struct rc_scanout *scanout, const struct rc_picture *picture, const void *guest, uint32_t resource_id) {
	struct rc_surface *old = scanout->picture.surface;
	scanout->picture = *picture;
	rc_surface_ref(picture->surface);
	rc_surface_unref(old);
	scanout->guest = guest;
	scanout->resource_id = resource_id;
	scanout->shown++;
	damage_all(scanout);
	if (!ring_fits(scanout)) {
		rc_scanout_tell(scanout, RC_NEWS_PICTURE);
	}
}

static void complete_all(struct rc_scanout *scanout) {
	while (!rc_list_empty(&scanout->completions)) {
		struct rc_completion *completion = rc_container_of(scanout->completions.next, struct rc_completion, link);
		rc_list_remove(&completion->link);
		completion->complete(completion);
	}
}

static void complete_batch(struct rc_scanout *scanout) {
	const uint32_t batch = rc_container_of(scanout->completions.next, struct rc_completion, link)->batch;
	while (!rc_list_empty(&scanout->completions)) {
		struct rc_completion *completion = rc_container_of(scanout->completions.next, struct rc_completion, link);
		if (completion->batch != batch) {
			return;
		}
		rc_list_remove(&completion->link);
		completion->complete(completion);
	}
}

void rc_scanout_hide(struct rc_scanout *scanout) {
	complete_all(scanout);
	if (!scanout->picture.surface) {
		return;
	}
	rc_surface_unref(scanout->picture.surface);
	scanout->picture = (struct rc_picture){0};
	rc_scanout_orphan(scanout);
	rc_damage_clear(&scanout->damage);
	scanout->flush_ns = 0;
	rc_scanout_tell(scanout, RC_NEWS_PICTURE);
}

void rc_scanout_orphan(struct rc_scanout *scanout) {
	scanout->guest = NULL;
	scanout->resource_id = 0;
}

void rc_scanout_flush(struct rc_scanout *scanout, const struct rc_rect *rect, struct rc_completion *completion) {
	if (!scanout->flush_ns) {
		scanout->flush_ns = rc_now_ns();
	}
	rc_damage_add(&scanout->damage, rect);
	if (completion) {
		rc_list_append(&scanout->completions, &completion->link);
	}
}

void rc_scanout_connect(struct rc_scanout *scanout, const struct rc_scanout_listener *listener) {
	rc_scanout_disconnect(scanout);
	scanout->listener = *listener;
	scanout->connected = true;
	scanout->news_due_ns = 0;
	rc_scanout_tell(scanout, (scanout->picture.surface ? RC_NEWS_PICTURE : 0) |
								 (scanout->cursor.serial ? RC_NEWS_CURSOR_IMAGE | RC_NEWS_CURSOR_MOVE : 0));
}

void rc_scanout_disconnect(struct rc_scanout *scanout) {
	scanout->connected = scanout->active = false;
	scanout->news = 0;
	scanout->listener = (struct rc_scanout_listener){0};
	drop_ring(scanout);
}

void rc_scanout_set_active(struct rc_scanout *scanout, bool active) {
	if (active == scanout->active) {
		return;
	}
	scanout->active = active;
	if (active && scanout->picture.surface) {
		scanout->flush_ns = 0;
		damage_all(scanout);
	}
}

bool rc_scanout_set_wanted(struct rc_scanout *scanout, uint32_t width, uint32_t height, uint32_t refresh_mhz) {
	uint32_t refresh = refresh_mhz ? refresh_mhz : scanout->refresh_mhz;
	if (scanout->wanted && scanout->wanted_width == width && scanout->wanted_height == height &&
		scanout->refresh_mhz == refresh) {
		return false;
	}
	scanout->wanted = scanout->wanted_unseen = true;
	scanout->wanted_width = width;
	scanout->wanted_height = height;
	if (scanout->refresh_mhz != refresh) {
		scanout->refresh_mhz = refresh;
		scanout->convert_due_ns = scanout->answer_due_ns = 0; /* beats of the old rate may be seconds ahead */
	}
	return true;
}

bool rc_scanout_set_unwanted(struct rc_scanout *scanout) {
	if (!scanout->wanted) {
		return false;
	}
	scanout->wanted = false;
	scanout->wanted_unseen = true;
	scanout->wanted_width = scanout->wanted_height = 0;
	return true;
}

void rc_scanout_expect(struct rc_scanout *scanout, uint64_t now_ns) {
	scanout->extras = INPUT_EXTRAS;
	scanout->extra_due_ns = now_ns;
	scanout->extras_end_ns = now_ns + INPUT_NS;
}

/* Count a conversion that keeps to the frame rate. */
static void keep_beat(struct rc_scanout *scanout, uint64_t now) {
	uint64_t begin = scanout->convert_due_ns > now ? scanout->convert_due_ns : now;
	scanout->convert_due_ns = begin + interval_ns(scanout);
}

static void convert(struct rc_scanout *scanout) {
	struct rc_frame_ring *ring = scanout->ring;
	if (!ring->import && !ring->import_tried) {
		/* Not before somebody watches: imported memory is pinned, and a guest can have 16 large scanouts. */
		ring->import_tried = true;
		ring->import = rc_converter_import_target(scanout->converter, ring->map, ring->layout.memfd_size);
	}
	struct rc_planes planes;
	struct rc_damage damage, stale;
	rc_damage_scale(&scanout->damage, ring->layout.divisor, &damage);
	rc_frame_ring_damage(scanout->ring, &damage);
	if (!rc_frame_ring_begin(scanout->ring, &planes, &stale)) {
		rc_log(scanout->log, RC_LOG_WARN, "scanout %u: the streamer holds every slot of the frame ring", scanout->id);
		return;
	}
	struct rc_trace trace = {.flush_ns = scanout->flush_ns, .convert_begin_ns = rc_now_ns()};
	enum rc_result ret =
		rc_converter_run(scanout->converter, &scanout->picture, &planes, stale.rects, stale.count, NULL);
	if (ret != RC_OK) {
		rc_frame_ring_cancel(scanout->ring);
		return;
	}
	trace.gpu_done_ns = rc_now_ns();
	rc_frame_ring_publish(scanout->ring, &damage, &trace);
	rc_damage_clear(&scanout->damage);
	scanout->flush_ns = 0;
}

/* One conversion may run ahead of the frame rate: a flush that follows another closely is read at once, and what follows it waits. */
static uint64_t convert_deadline(const struct rc_scanout *scanout) {
	uint64_t interval = interval_ns(scanout);
	return scanout->convert_due_ns > interval ? scanout->convert_due_ns - interval : 0;
}

static bool wants_convert(const struct rc_scanout *scanout) {
	return scanout->active && scanout->damage.count && ring_fits(scanout);
}

/* Answer flushes if it is time; whether that was ahead of the beat. */
static bool answer(struct rc_scanout *scanout, uint64_t now_ns, bool may_hurry) {
	if (now_ns < scanout->answer_due_ns) {
		if (may_hurry) {
			complete_batch(scanout);
		}
		return may_hurry;
	}
	/* Steady guests are answered on a steady beat, the first after idle at once. */
	uint64_t interval = interval_ns(scanout);
	bool idle = now_ns - scanout->answer_due_ns > interval;
	scanout->answer_due_ns = (idle ? now_ns : scanout->answer_due_ns) + interval;
	complete_batch(scanout);
	return false;
}

void rc_scanout_service(struct rc_scanout *scanout, uint64_t now_ns) {
	if (scanout->news && now_ns >= scanout->news_due_ns) {
		tell_news(scanout, now_ns);
	}
	if (now_ns >= scanout->extras_end_ns) {
		scanout->extras = 0;
	}
	const bool may_hurry = scanout->extras && now_ns >= scanout->extra_due_ns;
	bool hurried = false;
	bool unread = wants_convert(scanout);
	if (unread && (now_ns >= convert_deadline(scanout) || may_hurry)) {
		if (now_ns >= convert_deadline(scanout)) {
			keep_beat(scanout, now_ns);
		} else {
			hurried = true;
		}
		convert(scanout);
		unread = false; /* also when no slot was free: a consumer must not hold the guest up */
	}
	if (!rc_list_empty(&scanout->completions) && !unread) {
		hurried |= answer(scanout, now_ns, may_hurry);
	}
	if (hurried) {
		scanout->extras--;
		scanout->extra_due_ns = now_ns + interval_ns(scanout) / EXTRA_SHARE;
	}
}

uint64_t rc_scanout_deadline(const struct rc_scanout *scanout) {
	uint64_t due = UINT64_MAX;
	if (wants_convert(scanout)) {
		due = convert_deadline(scanout);
	} else if (!rc_list_empty(&scanout->completions)) {
		due = scanout->answer_due_ns;
	}
	if (due != UINT64_MAX && scanout->extras && scanout->extra_due_ns < due) {
		due = scanout->extra_due_ns;
	}
	return scanout->news && scanout->news_due_ns < due ? scanout->news_due_ns : due;
}
