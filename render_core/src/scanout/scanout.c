/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/scanout.h"

#include "util/clock.h"
#include "util/rect.h"

void rc_scanout_init(struct rc_scanout *scanout, uint32_t id, struct rc_log *log, struct rc_converter *converter,
	enum rc_format format) {
	*scanout =
		(struct rc_scanout){.id = id, .log = log, .converter = converter, .format = format, .refresh_mhz = 60000};
	rc_list_init(&scanout->completions);
}

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

static uint64_t interval_ns(const struct rc_scanout *scanout) {
	return UINT64_C(1000000000000) / scanout->refresh_mhz;
}

static void damage_all(struct rc_scanout *scanout) {
	const struct rc_rect all = {0, 0, scanout->picture.width, scanout->picture.height};
	rc_damage_clear(&scanout->damage);
	rc_damage_add(&scanout->damage, &all);
	if (!scanout->flush_ns) {
		scanout->flush_ns = rc_now_ns();
	}
}

/* Make the ring fit the picture, if somebody is there to take frames. */
static void update_ring(struct rc_scanout *scanout) {
	const struct rc_picture *picture = &scanout->picture;
	if (!scanout->connected || !picture->surface) {
		drop_ring(scanout);
		return;
	}
	if (scanout->ring && scanout->ring->layout.width == picture->width &&
		scanout->ring->layout.height == picture->height) {
		return;
	}
	drop_ring(scanout);
	scanout->ring = rc_frame_ring_create(scanout->format, picture->width, picture->height);
	if (!scanout->ring) {
		rc_log(scanout->log, RC_LOG_ERROR, "scanout %u: no memory for a frame ring of %ux%u", scanout->id,
			picture->width, picture->height);
		return;
	}
	scanout->ring->import =
		rc_converter_import_target(scanout->converter, scanout->ring->map, scanout->ring->layout.memfd_size);
	scanout->generation++;
	damage_all(scanout);
	if (scanout->listener.ring_changed) {
		scanout->listener.ring_changed(scanout->listener.owner, scanout);
	}
}

void rc_scanout_show(struct rc_scanout *scanout, const struct rc_picture *picture, uint32_t resource_id) {
	struct rc_surface *old = scanout->picture.surface;
	scanout->picture = *picture;
	rc_surface_ref(picture->surface);
	rc_surface_unref(old);
	scanout->resource_id = resource_id;
	damage_all(scanout);
	update_ring(scanout);
}

static void complete_all(struct rc_scanout *scanout) {
	while (!rc_list_empty(&scanout->completions)) {
		struct rc_completion *completion = rc_container_of(scanout->completions.next, struct rc_completion, link);
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
	scanout->resource_id = 0;
	rc_damage_clear(&scanout->damage);
	scanout->flush_ns = 0;
	drop_ring(scanout);
	if (scanout->listener.turned_off) {
		scanout->listener.turned_off(scanout->listener.owner, scanout);
	}
}

void rc_scanout_orphan(struct rc_scanout *scanout) {
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
	update_ring(scanout);
	if (scanout->cursor.serial) {
		listener->cursor_changed(listener->owner, scanout);
	}
}

void rc_scanout_disconnect(struct rc_scanout *scanout) {
	scanout->connected = scanout->active = false;
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
	scanout->refresh_mhz = refresh;
	return true;
}

static void convert(struct rc_scanout *scanout, uint64_t now) {
	uint64_t begin = scanout->convert_due_ns > now ? scanout->convert_due_ns : now;
	scanout->convert_due_ns = begin + interval_ns(scanout);

	struct rc_planes planes;
	struct rc_damage stale;
	rc_frame_ring_damage(scanout->ring, &scanout->damage);
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
	rc_frame_ring_publish(scanout->ring, &scanout->damage, &trace);
	rc_damage_clear(&scanout->damage);
	scanout->flush_ns = 0;
}

/* One conversion may run ahead of the frame rate: a flush that follows another closely is read at once, and what follows it waits. */
static uint64_t convert_deadline(const struct rc_scanout *scanout) {
	uint64_t interval = interval_ns(scanout);
	return scanout->convert_due_ns > interval ? scanout->convert_due_ns - interval : 0;
}

static bool wants_convert(const struct rc_scanout *scanout) {
	return scanout->ring && scanout->active && scanout->damage.count;
}

void rc_scanout_service(struct rc_scanout *scanout, uint64_t now_ns) {
	bool unread = wants_convert(scanout);
	if (unread && now_ns >= convert_deadline(scanout)) {
		convert(scanout, now_ns);
		unread = false; /* also when no slot was free: a consumer must not hold the guest up */
	}
	if (rc_list_empty(&scanout->completions) || unread || now_ns < scanout->answer_due_ns) {
		return;
	}
	/* Steady guests are answered on a steady beat, the first after idle at once. */
	uint64_t interval = interval_ns(scanout);
	bool idle = now_ns - scanout->answer_due_ns > interval;
	scanout->answer_due_ns = (idle ? now_ns : scanout->answer_due_ns) + interval;
	complete_all(scanout);
}

uint64_t rc_scanout_deadline(const struct rc_scanout *scanout) {
	if (wants_convert(scanout)) {
		return convert_deadline(scanout);
	}
	return rc_list_empty(&scanout->completions) ? UINT64_MAX : scanout->answer_due_ns;
}
