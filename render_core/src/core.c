/* SPDX-License-Identifier: Apache-2.0
 * The render worker's core: one guest's display link or its virtual machine, one streamer's frame link, the scanouts between them; its Venus clients. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "convert/convert.h"
#include "core_loop.h"
#include "execute/device.h"
#include "execute/venus/guest.h"
#include "handoff/frame_link.h"
#include "transport/display_link.h"
#include "transport/machine_link.h"
#include "transport/vtest.h"
#include "util/clock.h"

struct rc_core {
	struct rc_log log;
	struct rc_loop loop;
	struct rc_device *device;
	struct rc_converter *converter;
	struct rc_scanout scanouts[RC_MAX_SCANOUTS];
	struct rc_watch display_listener, frames_listener, owner;
	struct rc_display_link *display; /* NULL: no guest is connected */
	struct rc_frame_link *frames;    /* NULL: no streamer is connected */
	struct rc_machine_link *machine; /* NULL: no virtual machine is served */
	struct rc_vn_guest *venus;       /* NULL: no Venus clients are served */
	struct rc_vtest *vtest;
};

/* What signals stop. */
static _Atomic(struct rc_core *) signalled_core;

static int accept_client(struct rc_core *core, int listener, const char *name) {
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		rc_log(&core->log, RC_LOG_INFO, "%s: connected", name);
	}
	return fd;
}

static void handle_display_listener(struct rc_watch *watch) {
	struct rc_core *core = rc_container_of(watch, struct rc_core, display_listener);
	int fd = accept_client(core, watch->fd, "display");
	if (fd < 0) {
		return;
	}
	if (core->display && rc_display_link_is_dead(core->display)) {
		rc_display_link_destroy(core->display); /* a restarted guest, whose former end has not been read yet */
		core->display = NULL;
	}
	if (core->display) {
		rc_log(&core->log, RC_LOG_WARN, "display: a second guest is refused");
		close(fd);
		return;
	}
	core->display = rc_display_link_create(&core->loop, &core->log, core->scanouts, fd);
	if (!core->display) {
		rc_log(&core->log, RC_LOG_ERROR, "display: out of memory");
		close(fd);
	}
}

static void handle_frames_listener(struct rc_watch *watch) {
	struct rc_core *core = rc_container_of(watch, struct rc_core, frames_listener);
	int fd = accept_client(core, watch->fd, "frames");
	if (fd < 0) {
		return;
	}
	rc_frame_link_destroy(core->frames); /* a restarted streamer replaces its predecessor */
	core->frames = rc_frame_link_create(&core->loop, &core->log, core->scanouts, &core->device->info, fd);
	if (!core->frames) {
		rc_log(&core->log, RC_LOG_ERROR, "frames: out of memory");
		close(fd);
	}
}

static void handle_owner(struct rc_watch *watch) {
	struct rc_core *core = rc_container_of(watch, struct rc_core, owner);
	char byte;
	ssize_t size = recv(watch->fd, &byte, 1, MSG_DONTWAIT);
	/* An error is an end too: a socket whose peer went without reading all is reset first. */
	if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
		core->loop.stopping = true;
	}
}

/* The core keeps a listening socket of its own, so that the caller's fd may be closed. */
static bool listen_on(struct rc_core *core, struct rc_watch *watch, int fd, void (*ready)(struct rc_watch *watch)) {
	watch->fd = -1;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0) {
		return false;
	}
	if (fcntl(own, F_SETFL, O_NONBLOCK) < 0 || !rc_loop_add(&core->loop, watch, own, ready)) {
		close(own);
		return false;
	}
	return true;
}

static bool params_are_sane(const struct rc_core_params *params) {
	if (params->display_fd < 0) {
		return params->frames_fd < 0 && params->machine_fd < 0 && params->vtest_fd >= 0;
	}
	return params->frames_fd >= 0 && params->width >= RC_MIN_SIZE && params->width <= RC_MAX_SIZE &&
		   params->height >= RC_MIN_SIZE && params->height <= RC_MAX_SIZE && params->refresh_mhz >= 1000 &&
		   params->refresh_mhz <= 1000000 && (params->format == RC_FORMAT_I420 || params->format == RC_FORMAT_NV12);
}

static bool create_machine(struct rc_core *core, int listener_fd) {
	int own = fcntl(listener_fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0) {
		return false;
	}
	if (fcntl(own, F_SETFL, O_NONBLOCK) == 0) {
		core->machine = rc_machine_link_create(&core->loop, &core->log, core->scanouts, own);
	}
	if (!core->machine) {
		close(own);
	}
	return core->machine != NULL;
}

static enum rc_result create_display(struct rc_core *core, const struct rc_core_params *params) {
	enum rc_result ret = rc_converter_create(core->device, params->convert, &core->converter);
	if (ret != RC_OK) {
		return ret;
	}
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		core->scanouts[i].converter = core->converter;
	}
	rc_scanout_set_wanted(&core->scanouts[0], params->width, params->height, params->refresh_mhz);
	core->scanouts[0].wanted_unseen = false; /* a guest that outlived another worker keeps its size */
	if (params->machine_fd >= 0 && !create_machine(core, params->machine_fd)) {
		return RC_ERROR_IO;
	}
	return listen_on(core, &core->display_listener, params->display_fd, handle_display_listener) &&
				   listen_on(core, &core->frames_listener, params->frames_fd, handle_frames_listener)
			   ? RC_OK
			   : RC_ERROR_IO;
}

static enum rc_result create_venus(struct rc_core *core, const struct rc_core_params *params) {
	struct rc_vn_limits limits = rc_vn_limits_default(core->device->info.kind == RC_DEVICE_CPU);
	for (size_t i = 0; i < params->limit_count; i++) {
		const struct rc_limit *limit = &params->limits[i];
		if (!rc_vn_limits_set(&limits, limit->name, limit->value)) {
			rc_log(&core->log, RC_LOG_ERROR, "there is no limit %s, or it cannot be %llu", limit->name,
				(unsigned long long)limit->value);
			return RC_ERROR_INVALID;
		}
	}
	const struct rc_vn_guest_params guest = {
		.log = &core->log, .device = core->device, .swapchain = params->venus_swapchain, .limits = &limits};
	enum rc_result ret = rc_vn_guest_create(&guest, &core->venus);
	if (ret != RC_OK) {
		return ret;
	}
	const struct rc_vtest_params vtest = {.loop = &core->loop,
		.guest = core->venus,
		.listener = params->vtest_fd,
		.guard_fd = params->guard_fd,
		.once = params->vtest_once};
	return rc_vtest_create(&vtest, &core->vtest);
}

enum rc_result rc_core_create(const struct rc_core_params *params, struct rc_core **out) {
	if (!params_are_sane(params)) {
		return RC_ERROR_INVALID;
	}
	struct rc_core *core = calloc(1, sizeof(*core));
	if (!core) {
		return RC_ERROR_NOMEM;
	}
	rc_log_init(&core->log, params->log_fd, params->log_level);
	core->display_listener.fd = core->frames_listener.fd = core->owner.fd = -1;
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_init(&core->scanouts[i], i, &core->log, NULL, params->format);
	}
	const bool has_display = params->display_fd >= 0;
	enum rc_result ret = rc_loop_init(&core->loop) ? RC_OK : RC_ERROR_IO;
	ret = ret ? ret : rc_device_create(&core->log, params->gpu, &core->device);
	if (ret == RC_OK && has_display) {
		ret = create_display(core, params);
	}
	if (ret == RC_OK && params->vtest_fd >= 0) {
		ret = create_venus(core, params);
		/* A device that cannot do it still shows a display; the guest's log line said what it lacks. */
		ret = ret == RC_ERROR_UNSUPPORTED && has_display ? RC_OK : ret;
	}
	if (ret != RC_OK) {
		rc_core_destroy(core);
		return ret;
	}
	*out = core;
	return RC_OK;
}

static void close_watch(struct rc_core *core, struct rc_watch *watch) {
	int fd = watch->fd;
	rc_loop_remove(&core->loop, watch);
	if (fd >= 0) {
		close(fd);
	}
}

void rc_core_destroy(struct rc_core *core) {
	if (!core) {
		return;
	}
	struct rc_core *self = core;
	atomic_compare_exchange_strong(&signalled_core, &self, NULL);
	const bool device_is_free = rc_vtest_destroy(core->vtest);
	rc_display_link_destroy(core->display);
	rc_machine_link_destroy(core->machine);
	rc_frame_link_destroy(core->frames);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_finish(&core->scanouts[i]);
	}
	close_watch(core, &core->display_listener);
	close_watch(core, &core->frames_listener);
	if (!device_is_free) {
		return; /* with what its clients' threads use */
	}
	rc_vn_guest_destroy(core->venus);
	rc_converter_destroy(core->converter);
	rc_device_destroy(core->device);
	rc_loop_finish(&core->loop);
	free(core);
}

/* Links mark themselves closed while they are in use; here nobody uses them. */
static void reap_links(struct rc_core *core) {
	if (core->display && core->display->closed) {
		rc_log(&core->log, RC_LOG_INFO, "display: disconnected");
		rc_display_link_destroy(core->display);
		core->display = NULL;
	}
	if (core->frames && core->frames->closed) {
		rc_log(&core->log, RC_LOG_INFO, "frames: disconnected");
		rc_frame_link_destroy(core->frames);
		core->frames = NULL;
	}
	if (core->frames && core->frames->display_changed) {
		core->frames->display_changed = false;
		if (core->display) {
			rc_display_link_display_changed(core->display);
		}
		if (core->machine) {
			rc_machine_link_display_changed(core->machine);
		}
	}
	if (core->machine) {
		rc_machine_link_reap(core->machine);
	}
}

static uint64_t service_scanouts(struct rc_core *core) {
	uint64_t deadline = UINT64_MAX, now = rc_now_ns();
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_service(&core->scanouts[i], now);
		uint64_t due = rc_scanout_deadline(&core->scanouts[i]);
		deadline = due < deadline ? due : deadline;
	}
	return deadline;
}

enum rc_result rc_core_run(struct rc_core *core, int watch_fd) {
	if (watch_fd >= 0 && !rc_loop_add(&core->loop, &core->owner, watch_fd, handle_owner)) {
		return RC_ERROR_IO;
	}
	enum rc_result ret = RC_OK;
	while (!core->loop.stopping) {
		uint64_t deadline = service_scanouts(core);
		reap_links(core);
		if (core->vtest && rc_vtest_reap(core->vtest)) {
			rc_log(&core->log, RC_LOG_ERROR, "the device hangs: the worker ends");
			ret = RC_ERROR_DEVICE;
			break;
		}
		if (!core->loop.stopping) {
			rc_loop_wait(&core->loop, deadline);
		}
	}
	rc_loop_remove(&core->loop, &core->owner);
	return ret;
}

void rc_core_stop(struct rc_core *core) {
	rc_loop_stop(&core->loop);
}

void rc_core_device_info(const struct rc_core *core, struct rc_device_info *out) {
	*out = core->device->info;
}

static void handle_signal(int signal_number) {
	(void)signal_number;
	struct rc_core *core = atomic_load(&signalled_core);
	if (core) {
		rc_core_stop(core);
	}
}

enum rc_result rc_core_stop_on_signal(struct rc_core *core, int signal_number) {
	struct rc_core *nobody = NULL;
	if (!atomic_compare_exchange_strong(&signalled_core, &nobody, core) && nobody != core) {
		return RC_ERROR_INVALID;
	}
	struct sigaction action = {.sa_handler = handle_signal, .sa_flags = SA_RESTART};
	sigfillset(&action.sa_mask);
	return sigaction(signal_number, &action, NULL) == 0 ? RC_OK : RC_ERROR_INVALID;
}

void rc_core_end_clients(struct rc_core *core) {
	if (core->vtest) {
		rc_vtest_end_clients(core->vtest);
	}
}

bool rc_core_serves_venus(const struct rc_core *core) {
	return core->vtest != NULL;
}
