// SPDX-License-Identifier: Apache-2.0
/* portshell PORT ROOT: runs commands that arrive at a virtio-serial port, several at a time, in ROOT.
 *
 * Frames both ways: u8 kind, u8 0, le16 job, le32 length, payload.
 *   host to guest  R  run the payload by /bin/sh, as this job     I  bytes for its standard input
 *                  E  end its standard input                      K  kill it and what it has started
 *   guest to host  O  what it says (both outputs)                 X  it has ended: le32 exit status, 128 + signal
 * A test's tool: the host is trusted. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_JOBS 16
#define MAX_PAYLOAD 65536

struct header {
	uint8_t kind;
	uint8_t zero;
	uint16_t job;
	uint32_t length;
};

struct job {
	pid_t pid; // 0: free
	uint16_t id;
	int input;
	int output;
};

static struct job jobs[MAX_JOBS];
static int port;

static void write_all(int fd, const void *data, size_t size) {
	const char *bytes = data;
	while (size > 0) {
		ssize_t ret = write(fd, bytes, size);
		if (ret < 0 && (errno == EAGAIN || errno == EINTR)) {
			usleep(1000);
			continue;
		}
		if (ret <= 0) {
			return;
		}
		bytes += ret;
		size -= ret;
	}
}

static void send_frame(char kind, uint16_t job, const void *data, uint32_t length) {
	static char frame[sizeof(struct header) + MAX_PAYLOAD];
	struct header header = {.kind = kind, .job = job, .length = length};
	memcpy(frame, &header, sizeof(header));
	memcpy(frame + sizeof(header), data, length);
	write_all(port, frame, sizeof(header) + length);
}

static struct job *find_job(uint16_t id) {
	for (int i = 0; i < MAX_JOBS; i++) {
		if (jobs[i].pid && jobs[i].id == id) {
			return &jobs[i];
		}
	}
	return NULL;
}

static void close_input(struct job *job) {
	if (job->input >= 0) {
		close(job->input);
		job->input = -1;
	}
}

static void run(uint16_t id, const char *command, const char *root) {
	struct job *job = NULL;
	int in[2], out[2];
	for (int i = 0; i < MAX_JOBS && !job; i++) {
		job = jobs[i].pid ? NULL : &jobs[i];
	}
	if (!job || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		static const char message[] = "portshell: too many jobs\n";
		uint32_t status = 126;
		send_frame('O', id, message, sizeof(message) - 1);
		send_frame('X', id, &status, sizeof(status));
		return;
	}
	pid_t pid = fork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setsid();
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(out[1], 2);
		if (chroot(root) || chdir("/")) {
			_exit(125);
		}
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	*job = (struct job){.pid = pid, .id = id, .input = in[1], .output = out[0]};
}

/* Send what the job has said; returns false at the end of its output. */
static bool pass_output(struct job *job) {
	char data[MAX_PAYLOAD];
	ssize_t ret;
	while ((ret = read(job->output, data, sizeof(data))) > 0) {
		send_frame('O', job->id, data, ret);
	}
	return ret < 0 && errno == EAGAIN;
}

static void reap(void) {
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_JOBS; i++) {
			struct job *job = &jobs[i];
			if (job->pid != pid) {
				continue;
			}
			uint32_t code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			if (job->output >= 0) {
				pass_output(job);
				close(job->output);
			}
			close_input(job);
			send_frame('X', job->id, &code, sizeof(code));
			job->pid = 0;
		}
	}
}

static void handle(const struct header *header, char *payload, const char *root) {
	struct job *job = find_job(header->job);
	payload[header->length] = '\0';
	switch (header->kind) {
	case 'R':
		run(header->job, payload, root);
		break;
	case 'I':
		if (job && job->input >= 0) {
			write_all(job->input, payload, header->length);
		}
		break;
	case 'E':
		if (job) {
			close_input(job);
		}
		break;
	case 'K':
		if (job) {
			kill(-job->pid, SIGKILL);
		}
		break;
	}
}

int main(int argc, char **argv) {
	static char buffer[sizeof(struct header) + MAX_PAYLOAD + 1], payload[MAX_PAYLOAD + 1];
	size_t filled = 0;
	sigset_t child;
	if (argc != 3 || (port = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) {
		perror("portshell PORT ROOT");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	for (;;) {
		struct pollfd fds[2 + MAX_JOBS] = {{.fd = port, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
		for (int i = 0; i < MAX_JOBS; i++) {
			fds[2 + i] = (struct pollfd){.fd = jobs[i].pid ? jobs[i].output : -1, .events = POLLIN};
		}
		if (poll(fds, 2 + MAX_JOBS, -1) < 0) {
			continue;
		}
		for (int i = 0; i < MAX_JOBS; i++) {
			if (fds[2 + i].revents && jobs[i].pid && !pass_output(&jobs[i])) {
				close(jobs[i].output);
				jobs[i].output = -1;
			}
		}
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			while (read(signals, &info, sizeof(info)) > 0) {
			}
			reap();
		}
		if (!fds[0].revents) {
			continue;
		}
		ssize_t ret = read(port, buffer + filled, sizeof(buffer) - 1 - filled);
		if (ret <= 0) {
			// The host has closed its end: what it had not said in full is void.
			if (ret == 0 || (fds[0].revents & POLLHUP)) {
				filled = 0;
				usleep(20000);
			}
			continue;
		}
		filled += ret;
		struct header header;
		while (filled >= sizeof(header)) {
			memcpy(&header, buffer, sizeof(header));
			if (header.length > MAX_PAYLOAD) {
				return 2;
			}
			if (filled < sizeof(header) + header.length) {
				break;
			}
			memcpy(payload, buffer + sizeof(header), header.length);
			filled -= sizeof(header) + header.length;
			memmove(buffer, buffer + sizeof(header) + header.length, filled);
			handle(&header, payload, argv[2]);
		}
	}
}
