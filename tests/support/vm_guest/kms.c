// SPDX-License-Identifier: Apache-2.0
/* kms [--card PATH] COMMAND...: drives the screen of a guest as it is told, by arguments and then, after the command `serve`, by
 * lines of its standard input. It answers each with "done COMMAND", or with "error: WHAT: REASON" before it.
 *   modes                           what is connected, with which modes ("*": preferred)
 *   mode OUTPUT WxH|preferred|off   set it, and show the known pattern
 *   pattern OUTPUT                  draw the pattern into the picture that is shown
 *   rect OUTPUT X Y W H RRGGBB      draw into the picture that is shown; tell the driver that rectangle alone
 *   flip OUTPUT COUNT RATE          COUNT page flips (0: until there is input), RATE a second (0: as fast as they complete); each
 *                                   picture has its number as a barcode (bench/guest_programs/barcode.py), counted from 1
 *   draw OUTPUT COUNT RATE          the same without flips: the barcode is drawn into the picture that is shown
 *   cursor OUTPUT X Y               move the hardware cursor
 *   cursor-image OUTPUT RRGGBB X Y  a triangle of 24 x 24 pixels, with this hot spot;  cursor-image OUTPUT none
 *   stamp PATH                      from now on write the number of each picture (le64) there right before it is shown
 *   follow                          set the preferred mode of what is plugged in or changes, with "mode OUTPUT WxH" when done
 *   hold SECONDS                    wait;  serve: take lines until the input ends;  quit
 * OUTPUT counts from 0. */
#define _GNU_SOURCE
#include "kms_card.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/netlink.h>

#define BARCODE_WIDTH 256
#define BARCODE_HEIGHT 96

static struct kms_card card;
static int uevents = -1, stamps = -1;
static bool follows;

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns) {
	struct timespec then = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR) {
	}
}

static bool has_input(void) {
	struct pollfd input = {.fd = 0, .events = POLLIN};
	return poll(&input, 1, 0) > 0;
}

static bool refuse(const char *reason) {
	printf("error: %s\n", reason);
	return false;
}

static bool show_modes(void) {
	printf("driver %s\n", card.driver);
	for (uint32_t i = 0; i < card.output_count; i++) {
		struct kms_output *output = &card.outputs[i];
		if (!kms_probe(&card, output)) {
			return false;
		}
		printf("output %u %s", i, output->connected ? "connected" : "disconnected");
		for (uint32_t k = 0; k < output->mode_count; k++) {
			const struct drm_mode_modeinfo *mode = &output->modes[k];
			printf(" %ux%u@%u%s", mode->hdisplay, mode->vdisplay, mode->vrefresh,
				mode->type & DRM_MODE_TYPE_PREFERRED ? "*" : "");
		}
		printf("\n");
	}
	return true;
}

static bool set_mode(struct kms_output *output, const char *name) {
	if (!strcmp(name, "off")) {
		return kms_switch_off(&card, output);
	}
	if (!kms_probe(&card, output)) {
		return false;
	}
	const struct drm_mode_modeinfo *mode = kms_find_mode(output, name);
	if (!mode) {
		return refuse("no such mode");
	}
	struct drm_mode_modeinfo chosen = *mode;
	if (!kms_set_mode(&card, output, &chosen)) {
		return false;
	}
	printf("mode %u %ux%u\n", output->index, chosen.hdisplay, chosen.vdisplay);
	return true;
}

/* Something was plugged in or has changed: take the preferred modes over. */
static void follow(void) {
	for (uint32_t i = 0; i < card.output_count; i++) {
		struct kms_output *output = &card.outputs[i];
		if (!kms_probe(&card, output)) {
			continue;
		}
		const struct drm_mode_modeinfo *mode = output->connected ? kms_find_mode(output, "preferred") : NULL;
		if (!mode && output->lit) {
			if (kms_switch_off(&card, output)) {
				printf("off %u\n", i);
			}
		} else if (mode && (!output->lit || mode->hdisplay != output->mode.hdisplay ||
							   mode->vdisplay != output->mode.vdisplay)) {
			set_mode(output, "preferred");
		}
	}
}

static void take_uevents(void) {
	char text[8192];
	ssize_t ret;
	bool hotplug = false;
	while ((ret = recv(uevents, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		hotplug |= memmem(text, (size_t)ret, "HOTPLUG=1", 9) != NULL;
	}
	if (hotplug) {
		printf("hotplug\n");
		if (follows) {
			follow();
		}
	}
}

static bool open_uevents(void) {
	struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = 1};
	uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	return uevents >= 0 && !bind(uevents, (struct sockaddr *)&all, sizeof(all));
}

static bool animate(struct kms_output *output, uint64_t count, uint64_t rate, bool flips) {
	uint64_t start = now_ns(), shown = 0;
	while (count ? shown < count : !has_input()) {
		uint64_t number = shown + 1;
		if (rate) {
			sleep_until(start + shown * 1000000000 / rate);
		}
		take_uevents();
		kms_draw_barcode(flips ? kms_back(output) : kms_front(output), number);
		if (stamps >= 0 && write(stamps, &number, sizeof(number)) != sizeof(number)) {
			return refuse("the stamp could not be written");
		}
		if (!(flips ? kms_flip(&card, output) : kms_dirty(&card, output, 0, 0, BARCODE_WIDTH, BARCODE_HEIGHT))) {
			return false;
		}
		shown = number;
	}
	printf("shown %llu in %llu ms\n", (unsigned long long)shown, (unsigned long long)((now_ns() - start) / 1000000));
	return true;
}

static bool execute(const char *line);

static bool serve(void) {
	char buffer[4096];
	size_t filled = 0;
	for (;;) {
		struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = uevents, .events = POLLIN}};
		poll(fds, 2, -1);
		if (fds[1].revents) {
			take_uevents();
		}
		if (!fds[0].revents) {
			continue;
		}
		// A byte at a time: `flip` looks whether there is more.
		if (read(0, buffer + filled, 1) <= 0) {
			return true;
		}
		if (buffer[filled] != '\n') {
			filled += filled + 2 < sizeof(buffer);
			continue;
		}
		buffer[filled] = '\0';
		filled = 0;
		execute(buffer);
	}
}

static bool dispatch(const char *line) {
	char name[32] = "", word[32] = "", path[256];
	unsigned index = 0, color;
	int x, y, hold_s;
	unsigned width, height;
	unsigned long long count, rate;
	if (sscanf(line, "%31s", name) != 1) {
		return refuse("an empty command");
	}
	if (!strcmp(name, "modes")) {
		return show_modes();
	} else if (!strcmp(name, "serve")) {
		return serve();
	} else if (!strcmp(name, "quit")) {
		exit(0);
	} else if (!strcmp(name, "follow")) {
		follows = true;
		follow();
		return true;
	} else if (sscanf(line, "hold %d", &hold_s) == 1) {
		sleep((unsigned)hold_s);
		return true;
	} else if (sscanf(line, "stamp %255s", path) == 1) {
		stamps = open(path, O_WRONLY | O_CLOEXEC);
		return stamps >= 0 || refuse(strerror(errno));
	}
	if (sscanf(line, "%*s %u", &index) != 1 || index >= card.output_count) {
		return refuse("no such command or output");
	}
	struct kms_output *output = &card.outputs[index];
	if (sscanf(line, "mode %*u %31s", word) == 1) {
		return set_mode(output, word);
	} else if (sscanf(line, "cursor %*u %d %d", &x, &y) == 2) {
		return kms_move_cursor(&card, output, x, y);
	} else if (!strcmp(name, "cursor-image") && strstr(line, " none")) {
		return kms_hide_cursor(&card, output);
	} else if (sscanf(line, "cursor-image %*u %x %d %d", &color, &x, &y) == 3) {
		return kms_set_cursor(&card, output, color, x, y);
	} else if (!output->lit) {
		return refuse("this output has no mode yet");
	} else if (!strcmp(name, "pattern")) {
		kms_draw_pattern(kms_front(output), output->index);
		return kms_dirty(&card, output, 0, 0, output->mode.hdisplay, output->mode.vdisplay);
	} else if (sscanf(line, "rect %*u %d %d %u %u %x", &x, &y, &width, &height, &color) == 5) {
		kms_fill(kms_front(output), x, y, width, height, color);
		return kms_dirty(&card, output, (uint32_t)x, (uint32_t)y, width, height);
	} else if (sscanf(line, "flip %*u %llu %llu", &count, &rate) == 2) {
		return animate(output, count, rate, true);
	} else if (sscanf(line, "draw %*u %llu %llu", &count, &rate) == 2) {
		return animate(output, count, rate, false);
	}
	return refuse("no such command");
}

static bool execute(const char *line) {
	bool ok = dispatch(line);
	printf("done %s\n", line);
	return ok;
}

int main(int argc, char **argv) {
	const char *path = "/dev/dri/card0";
	bool ok = true;
	int i = 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && !strcmp(argv[1], "--card")) {
		path = argv[2];
		i = 3;
	}
	if (!open_uevents() || !kms_card_open(&card, path)) {
		return 1;
	}
	for (; i < argc; i++) {
		ok &= execute(argv[i]);
	}
	return ok ? 0 : 1;
}
