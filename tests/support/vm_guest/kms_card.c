// SPDX-License-Identifier: Apache-2.0
#include "kms_card.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <drm_fourcc.h>

#define CURSOR_SIZE 64

static bool call(struct kms_card *card, unsigned long request, void *argument, const char *what) {
	int ret;
	do {
		ret = ioctl(card->fd, request, argument);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));
	if (ret < 0) {
		printf("error: %s: %s\n", what, strerror(errno));
	}
	return ret >= 0;
}

static uint64_t address(const void *pointer) {
	return (uint64_t)(uintptr_t)pointer;
}

/* A CRTC that this connector can have and no earlier output has. */
static uint32_t choose_crtc(struct kms_card *card, uint32_t connector, const uint32_t *crtcs, uint32_t crtc_count) {
	uint32_t encoders[8] = {0};
	struct drm_mode_get_connector get = {
		.connector_id = connector, .count_encoders = 8, .encoders_ptr = address(encoders)};
	struct drm_mode_modeinfo mode;
	get.count_modes = 1; // does not probe
	get.modes_ptr = address(&mode);
	if (!call(card, DRM_IOCTL_MODE_GETCONNECTOR, &get, "connector's encoders")) {
		return 0;
	}
	for (uint32_t e = 0; e < get.count_encoders && e < 8; e++) {
		struct drm_mode_get_encoder encoder = {.encoder_id = encoders[e]};
		if (!call(card, DRM_IOCTL_MODE_GETENCODER, &encoder, "encoder")) {
			continue;
		}
		for (uint32_t c = 0; c < crtc_count && c < 32; c++) {
			bool taken = !(encoder.possible_crtcs >> c & 1);
			for (uint32_t o = 0; o < card->output_count; o++) {
				taken |= card->outputs[o].crtc == crtcs[c];
			}
			if (!taken) {
				return crtcs[c];
			}
		}
	}
	return 0;
}

bool kms_card_open(struct kms_card *card, const char *path) {
	uint32_t connectors[KMS_MAX_OUTPUTS] = {0}, crtcs[32] = {0};
	struct drm_mode_card_res resources = {.count_connectors = KMS_MAX_OUTPUTS,
		.connector_id_ptr = address(connectors),
		.count_crtcs = 32,
		.crtc_id_ptr = address(crtcs)};
	memset(card, 0, sizeof(*card));
	card->fd = open(path, O_RDWR | O_CLOEXEC);
	if (card->fd < 0) {
		printf("error: %s: %s\n", path, strerror(errno));
		return false;
	}
	struct drm_version version = {.name = card->driver, .name_len = sizeof(card->driver) - 1};
	if (!call(card, DRM_IOCTL_VERSION, &version, "version") ||
		!call(card, DRM_IOCTL_MODE_GETRESOURCES, &resources, "resources")) {
		return false;
	}
	for (uint32_t i = 0; i < resources.count_connectors && i < KMS_MAX_OUTPUTS; i++) {
		struct kms_output *output = &card->outputs[i];
		output->index = i;
		output->connector = connectors[i];
		output->crtc = choose_crtc(card, connectors[i], crtcs, resources.count_crtcs);
		card->output_count = i + 1;
		if (!kms_probe(card, output)) {
			return false;
		}
	}
	return true;
}

bool kms_probe(struct kms_card *card, struct kms_output *output) {
	struct drm_mode_get_connector probe = {.connector_id = output->connector};
	struct drm_mode_get_connector get = {
		.connector_id = output->connector, .count_modes = KMS_MAX_MODES, .modes_ptr = address(output->modes)};
	// Without room for modes the driver looks anew.
	if (!call(card, DRM_IOCTL_MODE_GETCONNECTOR, &probe, "connector") ||
		!call(card, DRM_IOCTL_MODE_GETCONNECTOR, &get, "connector's modes")) {
		return false;
	}
	output->connected = get.connection == 1;
	output->mode_count = get.count_modes > KMS_MAX_MODES ? 0 : get.count_modes;
	return true;
}

const struct drm_mode_modeinfo *kms_find_mode(const struct kms_output *output, const char *name) {
	for (uint32_t i = 0; i < output->mode_count; i++) {
		const struct drm_mode_modeinfo *mode = &output->modes[i];
		char size[32];
		snprintf(size, sizeof(size), "%ux%u", mode->hdisplay, mode->vdisplay);
		if (!strcmp(name, size) || (!strcmp(name, "preferred") && mode->type & DRM_MODE_TYPE_PREFERRED)) {
			return mode;
		}
	}
	return !strcmp(name, "preferred") && output->mode_count ? &output->modes[0] : NULL;
}

static void destroy_buffer(struct kms_card *card, struct kms_buffer *buffer) {
	if (buffer->fb) {
		ioctl(card->fd, DRM_IOCTL_MODE_RMFB, &buffer->fb);
	}
	if (buffer->picture.pixels) {
		munmap(buffer->picture.pixels, buffer->size);
	}
	if (buffer->handle) {
		struct drm_mode_destroy_dumb destroy = {.handle = buffer->handle};
		ioctl(card->fd, DRM_IOCTL_MODE_DESTROY_DUMB, &destroy);
	}
	memset(buffer, 0, sizeof(*buffer));
}

static bool create_buffer(
	struct kms_card *card, struct kms_buffer *buffer, uint32_t width, uint32_t height, bool shown) {
	struct drm_mode_create_dumb create = {.width = width, .height = height, .bpp = 32};
	memset(buffer, 0, sizeof(*buffer));
	if (!call(card, DRM_IOCTL_MODE_CREATE_DUMB, &create, "dumb buffer")) {
		return false;
	}
	buffer->handle = create.handle;
	buffer->size = create.size;
	struct drm_mode_map_dumb map = {.handle = create.handle};
	if (!call(card, DRM_IOCTL_MODE_MAP_DUMB, &map, "mapping a dumb buffer")) {
		goto err;
	}
	void *pixels = mmap(NULL, create.size, PROT_READ | PROT_WRITE, MAP_SHARED, card->fd, (off_t)map.offset);
	if (pixels == MAP_FAILED) {
		printf("error: mmap: %s\n", strerror(errno));
		goto err;
	}
	buffer->picture = (struct kms_picture){pixels, width, height, create.pitch};
	if (shown) {
		struct drm_mode_fb_cmd2 add = {.width = width,
			.height = height,
			.pixel_format = DRM_FORMAT_XRGB8888,
			.handles = {create.handle},
			.pitches = {create.pitch}};
		if (!call(card, DRM_IOCTL_MODE_ADDFB2, &add, "framebuffer")) {
			goto err;
		}
		buffer->fb = add.fb_id;
	}
	return true;

err:
	destroy_buffer(card, buffer);
	return false;
}

bool kms_set_mode(struct kms_card *card, struct kms_output *output, const struct drm_mode_modeinfo *mode) {
	struct kms_buffer buffers[2] = {0};
	struct drm_mode_crtc set = {.crtc_id = output->crtc,
		.set_connectors_ptr = address(&output->connector),
		.count_connectors = 1,
		.mode = *mode,
		.mode_valid = 1};
	for (int i = 0; i < 2; i++) {
		if (!create_buffer(card, &buffers[i], mode->hdisplay, mode->vdisplay, true)) {
			goto err;
		}
		kms_draw_pattern(&buffers[i].picture, output->index);
	}
	set.fb_id = buffers[0].fb;
	if (!call(card, DRM_IOCTL_MODE_SETCRTC, &set, "setting the mode")) {
		goto err;
	}
	for (int i = 0; i < 2; i++) {
		destroy_buffer(card, &output->buffers[i]);
		output->buffers[i] = buffers[i];
	}
	output->front = 0;
	output->mode = set.mode;
	output->lit = true;
	return true;

err:
	destroy_buffer(card, &buffers[0]);
	destroy_buffer(card, &buffers[1]);
	return false;
}

bool kms_switch_off(struct kms_card *card, struct kms_output *output) {
	struct drm_mode_crtc set = {.crtc_id = output->crtc};
	if (!call(card, DRM_IOCTL_MODE_SETCRTC, &set, "switching an output off")) {
		return false;
	}
	destroy_buffer(card, &output->buffers[0]);
	destroy_buffer(card, &output->buffers[1]);
	output->lit = false;
	return true;
}

struct kms_picture *kms_front(struct kms_output *output) {
	return &output->buffers[output->front].picture;
}

struct kms_picture *kms_back(struct kms_output *output) {
	return &output->buffers[!output->front].picture;
}

bool kms_dirty(
	struct kms_card *card, struct kms_output *output, uint32_t x, uint32_t y, uint32_t width, uint32_t height) {
	struct drm_clip_rect clip = {x, y, x + width, y + height};
	struct drm_mode_fb_dirty_cmd dirty = {
		.fb_id = output->buffers[output->front].fb, .num_clips = 1, .clips_ptr = address(&clip)};
	if (ioctl(card->fd, DRM_IOCTL_MODE_DIRTYFB, &dirty) < 0 && errno != ENOSYS) {
		printf("error: dirty rectangle: %s\n", strerror(errno));
		return false;
	}
	return true;
}

bool kms_flip(struct kms_card *card, struct kms_output *output) {
	struct drm_mode_crtc_page_flip flip = {
		.crtc_id = output->crtc, .fb_id = output->buffers[!output->front].fb, .flags = DRM_MODE_PAGE_FLIP_EVENT};
	char event[256];
	if (!call(card, DRM_IOCTL_MODE_PAGE_FLIP, &flip, "page flip")) {
		return false;
	}
	if (read(card->fd, event, sizeof(event)) <= 0) {
		printf("error: flip event: %s\n", strerror(errno));
		return false;
	}
	output->front = !output->front;
	return true;
}

bool kms_set_cursor(struct kms_card *card, struct kms_output *output, uint32_t color, int32_t hot_x, int32_t hot_y) {
	struct kms_buffer buffer;
	if (!create_buffer(card, &buffer, CURSOR_SIZE, CURSOR_SIZE, false)) {
		return false;
	}
	kms_draw_cursor(&buffer.picture, color);
	struct drm_mode_cursor2 set = {.flags = DRM_MODE_CURSOR_BO,
		.crtc_id = output->crtc,
		.width = CURSOR_SIZE,
		.height = CURSOR_SIZE,
		.handle = buffer.handle,
		.hot_x = hot_x,
		.hot_y = hot_y};
	if (!call(card, DRM_IOCTL_MODE_CURSOR2, &set, "cursor's picture")) {
		destroy_buffer(card, &buffer);
		return false;
	}
	destroy_buffer(card, &output->cursor);
	output->cursor = buffer;
	return true;
}

bool kms_hide_cursor(struct kms_card *card, struct kms_output *output) {
	struct drm_mode_cursor2 set = {.flags = DRM_MODE_CURSOR_BO, .crtc_id = output->crtc};
	return call(card, DRM_IOCTL_MODE_CURSOR2, &set, "hiding the cursor");
}

bool kms_move_cursor(struct kms_card *card, struct kms_output *output, int32_t x, int32_t y) {
	struct drm_mode_cursor2 move = {.flags = DRM_MODE_CURSOR_MOVE, .crtc_id = output->crtc, .x = x, .y = y};
	return call(card, DRM_IOCTL_MODE_CURSOR2, &move, "cursor's place");
}
