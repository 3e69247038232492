// SPDX-License-Identifier: Apache-2.0
/* evdump: names the input devices that are there, says READY, then prints their events: "NAME: TYPE CODE VALUE", numbers as in
 * linux/input-event-codes.h, without those that only separate (EV_SYN) or tell of settings (EV_REP). Ends when it is killed.
 * evdump --no-repeat: the devices' keys are not repeated by the kernel from now on; ends at once. */
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_DEVICES 32

int main(int argc, char **argv) {
	bool no_repeat = argc == 2 && !strcmp(argv[1], "--no-repeat");
	struct pollfd fds[MAX_DEVICES];
	char names[MAX_DEVICES][80];
	int count = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < MAX_DEVICES; i++) {
		char path[40];
		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		int fd = open(path, O_RDONLY);
		if (fd < 0) {
			continue;
		}
		if (no_repeat) {
			unsigned delay_and_period_ms[2] = {0, 0};
			ioctl(fd, EVIOCSREP, delay_and_period_ms); // refused by what has no keys
			close(fd);
			continue;
		}
		snprintf(names[count], sizeof(names[count]), "?");
		ioctl(fd, EVIOCGNAME(sizeof(names[count])), names[count]);
		printf("device %s\n", names[count]);
		fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	if (no_repeat) {
		return 0;
	}
	printf("READY\n");
	while (poll(fds, count, -1) > 0) {
		for (int i = 0; i < count; i++) {
			struct input_event events[64];
			if (!fds[i].revents) {
				continue;
			}
			ssize_t ret = read(fds[i].fd, events, sizeof(events));
			if (ret <= 0) {
				fds[i].fd = -1; // unplugged
			}
			for (ssize_t k = 0; k < ret / (ssize_t)sizeof(events[0]); k++) {
				if (events[k].type != EV_SYN && events[k].type != EV_REP) {
					printf("%s: %d %d %d\n", names[i], events[k].type, events[k].code, events[k].value);
				}
			}
		}
	}
	return 0;
}
