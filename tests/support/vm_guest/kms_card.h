// SPDX-License-Identifier: Apache-2.0
/* A KMS device by its ioctls alone: outputs, modes, two dumb buffers an output, flips, the hardware cursor.
 * Functions return false after they have printed "error: WHAT: REASON". One thread. */
#pragma once
#include "kms_draw.h"
#include <stdbool.h>
#include <stdint.h>
#include <drm.h>
#include <drm_mode.h>

#define KMS_MAX_OUTPUTS 16
#define KMS_MAX_MODES 128

struct kms_buffer {
	struct kms_picture picture;
	uint32_t handle, fb;
	uint64_t size;
};

struct kms_output {
	uint32_t index, connector, crtc;
	bool connected, lit;
	uint32_t mode_count;
	struct drm_mode_modeinfo modes[KMS_MAX_MODES], mode;
	struct kms_buffer buffers[2], cursor;
	int front;
};

struct kms_card {
	int fd;
	char driver[32];
	uint32_t output_count;
	struct kms_output outputs[KMS_MAX_OUTPUTS];
};

bool kms_card_open(struct kms_card *card, const char *path);

/* Ask what is connected, with which modes. */
bool kms_probe(struct kms_card *card, struct kms_output *output);

/* The mode of this name, "WxH", or the preferred one ("preferred"); NULL when there is none. */
const struct drm_mode_modeinfo *kms_find_mode(const struct kms_output *output, const char *name);

/* Set a mode, with new buffers that hold the pattern. */
bool kms_set_mode(struct kms_card *card, struct kms_output *output, const struct drm_mode_modeinfo *mode);
bool kms_switch_off(struct kms_card *card, struct kms_output *output);

/* The picture that is shown, and the one that the next flip shows. */
struct kms_picture *kms_front(struct kms_output *output);
struct kms_picture *kms_back(struct kms_output *output);

/* Say that a rectangle of the shown picture has changed; drivers that look for themselves refuse, which is no error. */
bool kms_dirty(
	struct kms_card *card, struct kms_output *output, uint32_t x, uint32_t y, uint32_t width, uint32_t height);

/* Show the other picture, and wait until it is shown. */
bool kms_flip(struct kms_card *card, struct kms_output *output);

bool kms_set_cursor(struct kms_card *card, struct kms_output *output, uint32_t color, int32_t hot_x, int32_t hot_y);
bool kms_hide_cursor(struct kms_card *card, struct kms_output *output);
bool kms_move_cursor(struct kms_card *card, struct kms_output *output, int32_t x, int32_t y);
