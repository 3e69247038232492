/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/x264_stream.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x264.h>

#include "encode/reference.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LIBRARY "libx264.so." TEXT(X264_BUILD)

/* A frame may use what this many frames have on average: sharp enough after a change, short enough on the wire. */
enum { VBV_FRAMES = 2 };
/* Finer steps cannot be seen in text. */
enum { QP_MIN = 16 };

/* What we call of the library. It stays open until the process ends. */
struct library {
	int (*param_default_preset)(x264_param_t *, const char *, const char *);
	int (*param_apply_profile)(x264_param_t *, const char *);
	void (*picture_init)(x264_picture_t *);
	x264_t *(*encoder_open)(x264_param_t *);
	int (*encoder_reconfig)(x264_t *, x264_param_t *);
	int (*encoder_headers)(x264_t *, x264_nal_t **, int *);
	int (*encoder_encode)(x264_t *, x264_nal_t **, int *, x264_picture_t *, x264_picture_t *);
	void (*encoder_close)(x264_t *);
};

struct sc_x264 {
	struct library library;
	x264_t *handle;
	x264_param_t param;
	struct sc_reference reference;
	char last_log[SC_ENCODER_TEXT_BYTES];
	bool nv12;
	int forced_qp; /* 0: x264's rate control */
};

static bool open_library(struct library *library, char *text) {
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!handle) {
		snprintf(text, SC_ENCODER_TEXT_BYTES, "%s cannot be loaded: %s", LIBRARY, dlerror());
		return false;
	}
	const struct {
		const char *name;
		void *to;
	} symbols[] = {
		{"x264_param_default_preset", &library->param_default_preset},
		{"x264_param_apply_profile", &library->param_apply_profile},
		{"x264_picture_init", &library->picture_init},
		{TEXT(x264_encoder_open), &library->encoder_open},
		{"x264_encoder_reconfig", &library->encoder_reconfig},
		{"x264_encoder_headers", &library->encoder_headers},
		{"x264_encoder_encode", &library->encoder_encode},
		{"x264_encoder_close", &library->encoder_close},
	};
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *symbol = dlsym(handle, symbols[i].name);
		if (!symbol) {
			snprintf(text, SC_ENCODER_TEXT_BYTES, "%s has no %s", LIBRARY, symbols[i].name);
			dlclose(handle);
			return false;
		}
		memcpy(symbols[i].to, &symbol, sizeof(symbol));
	}
	/* Our count of the handle is given back; RTLD_NODELETE keeps the code. */
	dlclose(handle);
	return true;
}

static void handle_log(void *owner, int level, const char *format, va_list arguments) {
	struct sc_x264 *x264 = owner;
	if (level <= X264_LOG_ERROR) {
		vsnprintf(x264->last_log, sizeof(x264->last_log), format, arguments);
		x264->last_log[strcspn(x264->last_log, "\n")] = '\0';
	}
}

static void set_rate(x264_param_t *param, uint32_t bitrate_bps) {
	int kbps = (int)((bitrate_bps + 999) / 1000);
	param->rc.i_bitrate = kbps;
	param->rc.i_vbv_max_bitrate = kbps;
	int buffer = (int)((uint64_t)bitrate_bps * VBV_FRAMES / 1000 / param->i_fps_num);
	param->rc.i_vbv_buffer_size = buffer > 0 ? buffer : 1;
}

static void set_up(struct sc_x264 *x264, const struct sc_encoder_params *params) {
	x264_param_t *param = &x264->param;
	param->pf_log = handle_log;
	param->p_log_private = x264;
	param->i_log_level = X264_LOG_ERROR;
	param->i_width = (int)params->width;
	param->i_height = (int)params->height;
	param->i_csp = params->nv12 ? X264_CSP_NV12 : X264_CSP_I420;
	param->i_bitdepth = 8;
	param->i_fps_num = params->fps;
	param->i_fps_den = 1;
	param->b_vfr_input = 0;
	param->i_threads = params->threads ? (int)params->threads : 1;
	param->b_sliced_threads = param->i_threads > 1;
	/* No keyframe by itself. */
	param->i_keyint_max = X264_KEYINT_MAX_INFINITE;
	param->i_scenecut_threshold = 0;
	param->i_frame_reference = 1;
	param->analyse.i_weighted_pred = 0;
	param->b_repeat_headers = 1;
	param->b_annexb = 1;
	param->b_aud = 0;
	param->vui.b_fullrange = 0;
	param->vui.i_colorprim = param->vui.i_transfer = param->vui.i_colmatrix = 1; /* BT.709 */
	param->analyse.b_mb_info = params->path != SC_PATH_X264_PLAIN;
	/* Slices of our own know no deblocking, which ultrafast has off too. */
	param->b_deblocking_filter = 0;
	if (params->constant_qp) {
		param->rc.i_rc_method = X264_RC_CQP;
		param->rc.i_qp_constant = (int)params->qp;
	} else {
		param->rc.i_rc_method = X264_RC_ABR;
		param->rc.i_qp_min = QP_MIN;
		set_rate(param, params->bitrate_bps);
	}
}

enum sc_result sc_x264_create(const struct sc_encoder_params *params, struct sc_x264 **out, char *text) {
	struct sc_x264 *x264 = calloc(1, sizeof(*x264));
	if (!x264) {
		return SC_ERROR_NOMEM;
	}
	if (!open_library(&x264->library, text)) {
		free(x264);
		return SC_ERROR_IO;
	}
	x264->nv12 = params->nv12;
	x264->forced_qp = params->constant_qp ? (int)params->qp : 0;
	if (x264->library.param_default_preset(&x264->param, "ultrafast", "zerolatency") < 0) {
		snprintf(text, SC_ENCODER_TEXT_BYTES, "%s lacks the preset ultrafast", LIBRARY);
		free(x264);
		return SC_ERROR_CODEC;
	}
	set_up(x264, params);
	if (x264->library.param_apply_profile(&x264->param, "baseline") == 0) {
		x264->handle = x264->library.encoder_open(&x264->param);
	}
	if (!x264->handle) {
		snprintf(text, SC_ENCODER_TEXT_BYTES, "x264 cannot be opened: %.100s",
			x264->last_log[0] ? x264->last_log : "no reason given");
		free(x264);
		return SC_ERROR_CODEC;
	}
	x264->reference.mb_width = (params->width + 15) / 16;
	x264->reference.mb_height = (params->height + 15) / 16;
	*out = x264;
	return SC_OK;
}

void sc_x264_destroy(struct sc_x264 *x264) {
	if (x264) {
		x264->library.encoder_close(x264->handle);
		free(x264);
	}
}

enum sc_result sc_x264_headers(struct sc_x264 *x264, const uint8_t **data, size_t *bytes) {
	x264_nal_t *nals;
	int count, size = x264->library.encoder_headers(x264->handle, &nals, &count);
	if (size <= 0) {
		return SC_ERROR_CODEC;
	}
	*data = nals[0].p_payload;
	*bytes = (size_t)size;
	return SC_OK;
}

enum sc_result sc_x264_encode(struct sc_x264 *x264, const struct sc_encoder_picture *picture, uint8_t *constant,
	struct sc_x264_frame *out, char *text) {
	x264_picture_t in, done;
	x264->library.picture_init(&in);
	uint8_t *planes = (uint8_t *)(uintptr_t)picture->planes; /* x264 only reads it */
	size_t luma = (size_t)picture->stride * (size_t)x264->param.i_height;
	int stride = (int)picture->stride;
	in.img.i_csp = x264->param.i_csp;
	in.img.i_plane = x264->nv12 ? 2 : 3;
	in.img.plane[0] = planes;
	in.img.plane[1] = planes + luma;
	in.img.plane[2] = planes + luma + luma / 4;
	in.img.i_stride[0] = stride;
	in.img.i_stride[1] = in.img.i_stride[2] = x264->nv12 ? stride : stride / 2;
	in.i_pts = picture->pts;
	in.i_type = picture->keyframe ? X264_TYPE_IDR : X264_TYPE_AUTO;
	in.i_qpplus1 = x264->forced_qp ? x264->forced_qp + 1 : X264_QP_AUTO;
	in.prop.mb_info = x264->param.analyse.b_mb_info ? constant : NULL;
	x264_nal_t *nals;
	int count, size = x264->library.encoder_encode(x264->handle, &nals, &count, &in, &done);
	if (size <= 0) {
		snprintf(text, SC_ENCODER_TEXT_BYTES, "x264 failed on a frame: %.100s",
			x264->last_log[0] ? x264->last_log
			: size == 0       ? "it delays"
							  : "no reason given");
		return SC_ERROR_CODEC;
	}
	*out = (struct sc_x264_frame){.data = nals[0].p_payload, .bytes = (size_t)size, .is_keyframe = done.b_keyframe};
	x264->reference.luma = done.img.plane[0];
	x264->reference.chroma = done.img.plane[1];
	x264->reference.luma_stride = done.img.i_stride[0];
	x264->reference.chroma_stride = done.img.i_stride[1];
	return SC_OK;
}

void sc_x264_set_bitrate(struct sc_x264 *x264, uint32_t bitrate_bps) {
	if (!x264->forced_qp) {
		set_rate(&x264->param, bitrate_bps);
		x264->library.encoder_reconfig(x264->handle, &x264->param);
	}
}

const struct sc_reference *sc_x264_reference(const struct sc_x264 *x264) {
	return &x264->reference;
}

/* A keyframe of a ramp; its reference changed by us; then a frame of nothing but constant macroblocks must show the change. */
static bool try_reference(struct sc_x264 *x264) {
	enum { SIZE = 64, BYTES = SIZE * SIZE * 3 / 2 };
	uint8_t planes[BYTES], luma[SIZE * SIZE], chroma[SIZE * SIZE / 2], constant[16];
	char text[SC_ENCODER_TEXT_BYTES];
	for (int i = 0; i < BYTES; i++) {
		planes[i] = (uint8_t)(16 + i * 7 % 200);
	}
	struct sc_encoder_picture picture = {.planes = planes, .planes_bytes = BYTES, .stride = SIZE, .keyframe = true};
	struct sc_x264_frame frame;
	memset(constant, 0, sizeof(constant));
	const struct sc_reference *reference = &x264->reference;
	if (sc_x264_encode(x264, &picture, constant, &frame, text) != SC_OK || !reference->luma || !reference->chroma ||
		reference->luma_stride < SIZE + 2 * SC_REFERENCE_EDGE ||
		reference->chroma_stride < SIZE + 2 * SC_REFERENCE_EDGE || !sc_reference_edge_is_repeated(reference)) {
		return false;
	}
	for (uint32_t mb = 0; mb < 16; mb++) {
		struct sc_block_target block = sc_reference_block(reference, mb % 4, mb / 4);
		for (int y = 0; y < 16; y++) {
			for (int x = 0; x < 16; x++) {
				block.luma[y * block.luma_stride + x] = (uint8_t)(mb * 13 + (uint32_t)(x * 3 + y));
				block.chroma[y / 2 * block.chroma_stride + x] = (uint8_t)(mb * 11 + (uint32_t)(x + y));
			}
		}
		sc_reference_repeat_edge(reference, mb % 4, mb / 4);
	}
	for (int y = 0; y < SIZE; y++) {
		memcpy(luma + y * SIZE, reference->luma + y * reference->luma_stride, SIZE);
	}
	for (int y = 0; y < SIZE / 2; y++) {
		memcpy(chroma + y * SIZE, reference->chroma + y * reference->chroma_stride, SIZE);
	}
	memset(constant, X264_MBINFO_CONSTANT, sizeof(constant));
	picture.keyframe = false;
	picture.pts = 1500;
	if (!sc_reference_edge_is_repeated(reference) || sc_x264_encode(x264, &picture, constant, &frame, text) != SC_OK) {
		return false;
	}
	bool same = true;
	for (int y = 0; y < SIZE; y++) {
		same &= !memcmp(luma + y * SIZE, reference->luma + y * reference->luma_stride, SIZE);
		same &= !memcmp(chroma + y / 2 * SIZE, reference->chroma + y / 2 * reference->chroma_stride, SIZE);
	}
	return same && sc_reference_edge_is_repeated(reference);
}

bool sc_x264_reference_is_shared(void) {
	const struct sc_encoder_params params = {
		.width = 64, .height = 64, .fps = 60, .constant_qp = true, .qp = 24, .threads = 1};
	struct sc_x264 *x264;
	char text[SC_ENCODER_TEXT_BYTES];
	if (sc_x264_create(&params, &x264, text) != SC_OK) {
		return false;
	}
	bool shared = try_reference(x264);
	sc_x264_destroy(x264);
	return shared;
}
