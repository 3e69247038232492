/* SPDX-License-Identifier: Apache-2.0
 * What a render worker may still do once a guest talks to it: compute, share memory that it was given, answer on sockets it has. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "render_core.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the sandbox does not know this processor's system calls"
#endif

/* Allowed whatever their arguments. Everything that is not here fails with EPERM: no file, no new socket, no process, no signal to
 * others. mmap and mprotect stay whole: lavapipe compiles shaders to machine code and needs PROT_EXEC. */
static const int allowed[] = {
	/* memory */
	SYS_mmap,
	SYS_mprotect,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_memfd_create,
	SYS_ftruncate,
	SYS_mlock,
	SYS_munlock,
	/* fds that are there */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_fstatfs,
	SYS_dup,
	SYS_dup3,
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_accept4,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_getsockname,
	/* waiting */
	SYS_epoll_create1,
	SYS_epoll_ctl,
	SYS_epoll_pwait,
	SYS_eventfd2,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_ppoll,
	SYS_pselect6,
	SYS_futex,
	SYS_nanosleep,
	SYS_clock_nanosleep,
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_gettimeofday,
	SYS_restart_syscall,
	/* threads of our own */
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_sched_setaffinity,
	SYS_sched_getparam,
	SYS_sched_getscheduler,
	SYS_getpriority,
	SYS_set_robust_list,
	SYS_get_robust_list,
	SYS_rseq,
	SYS_set_tid_address,
	SYS_membarrier,
	SYS_getcpu,
	SYS_gettid,
	SYS_getpid,
	SYS_getppid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_getrandom,
	SYS_sysinfo,
	SYS_uname,
	SYS_getrusage,
	SYS_exit,
	SYS_exit_group,
	/* signals to ourselves (tgkill is below): abort(), Python's handlers */
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
#if defined(__x86_64__)
	SYS_poll,
	SYS_epoll_wait,
	SYS_time,
	SYS_arch_prctl,
#endif
};

/* For hardware drivers only. */
static const int allowed_open[] = {
	SYS_openat, SYS_newfstatat, SYS_readlinkat, SYS_statx, SYS_faccessat, SYS_mbind, SYS_get_mempolicy};

/* Of fcntl: no F_SETOWN, F_SETSIG and the like, by which input on an fd sends signals to any process of the user. */
static const uint32_t allowed_fcntl[] = {
	F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS};

/* Of ioctl: all but what types into a terminal that was inherited, and what names a process that gets signals. Drivers need the rest. */
static const uint32_t refused_ioctl[] = {TIOCSTI, TIOCLINUX, TIOCSETD, FIOSETOWN, SIOCSPGRP};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { MAX_PROGRAM = 2 * (COUNT(allowed) + COUNT(allowed_open) + COUNT(allowed_fcntl) + COUNT(refused_ioctl)) + 48 };

struct program {
	struct sock_filter code[MAX_PROGRAM];
	unsigned short length;
};

static void emit(struct program *program, struct sock_filter instruction) {
	program->code[program->length++] = instruction;
}

static void emit_return_if(struct program *program, uint32_t nr, uint32_t action) {
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1));
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* For one call: what it gets when the low half of argument `index` is one of `values`, and what when it is not. */
static void emit_by_argument(struct program *program, uint32_t nr, int index, const uint32_t *values, size_t count,
	uint32_t listed, uint32_t other) {
	size_t low_half = offsetof(struct seccomp_data, args) + (size_t)index * sizeof(uint64_t); /* little-endian */
	uint8_t skip = (uint8_t)(2 + 2 * count);
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, skip));
	emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)low_half));
	for (size_t i = 0; i < count; i++) {
		emit_return_if(program, values[i], listed);
	}
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, other));
}

static void build(struct program *program, bool allow_open) {
	const uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
	emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	/* x32's calls have bit 30 set and match no number below */
	emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		emit_return_if(program, (uint32_t)allowed[i], SECCOMP_RET_ALLOW);
	}
	for (size_t i = 0; allow_open && i < sizeof(allowed_open) / sizeof(allowed_open[0]); i++) {
		emit_return_if(program, (uint32_t)allowed_open[i], SECCOMP_RET_ALLOW);
	}
	/* clone3 takes its flags from memory, where a filter cannot look: glibc goes back to clone when it is not there. */
	emit_return_if(program, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
	const uint32_t self = (uint32_t)getpid(), naming = PR_SET_NAME;
	emit_by_argument(program, SYS_tgkill, 0, &self, 1, SECCOMP_RET_ALLOW, refuse);
	emit_by_argument(program, SYS_prctl, 0, &naming, 1, SECCOMP_RET_ALLOW, refuse);
	emit_by_argument(program, SYS_fcntl, 1, allowed_fcntl, COUNT(allowed_fcntl), SECCOMP_RET_ALLOW, refuse);
	emit_by_argument(program, SYS_ioctl, 1, refused_ioctl, COUNT(refused_ioctl), refuse, SECCOMP_RET_ALLOW);
	/* clone: threads, not processes */
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
	emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])));
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse));
}

static int compare_ints(const void *a, const void *b) {
	return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

void rc_sandbox_close_fds(const int *keep, size_t keep_count) {
	int sorted[64];
	size_t count = keep_count < 64 ? keep_count : 64;
	memcpy(sorted, keep, count * sizeof(int));
	qsort(sorted, count, sizeof(int), compare_ints);
	unsigned int from = 3;
	for (size_t i = 0; i < count; i++) {
		if (sorted[i] < 3) {
			continue;
		}
		unsigned int fd = (unsigned int)sorted[i];
		if (fd > from) {
			syscall(SYS_close_range, from, fd - 1, 0);
		}
		from = fd + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

/* To `value`, or as near below it as the process may go. */
static bool set_limit(int resource, rlim_t value) {
	struct rlimit limit;
	if (getrlimit(resource, &limit) < 0) {
		return false;
	}
	if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > value) {
		limit.rlim_max = value;
	}
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(resource, &limit) == 0;
}

static const char *drop_ids(const struct rc_sandbox_params *params) {
	if (geteuid() != 0) {
		return NULL;
	}
	if (params->gid && (setgroups(0, NULL) < 0 || setresgid(params->gid, params->gid, params->gid) < 0)) {
		return "setresgid";
	}
	if (params->uid && setresuid(params->uid, params->uid, params->uid) < 0) {
		return "setresuid";
	}
	/* Changing ids forgets the parent-death signal that the gateway set. It is one that can be handled: Venus clients are ended in order. */
	return prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 ? "PR_SET_PDEATHSIG" : NULL;
}

static const char *enter(const struct rc_sandbox_params *params) {
	const char *failed = drop_ids(params);
	if (failed) {
		return failed;
	}
	/* 32768 fds: each VkDeviceMemory that a Venus client maps is one, and there may be 16384 of them (docs/protocol/venus-limits.md).
	 * 32 GiB files: a memfd of guest memory counts as one. */
	if (!set_limit(RLIMIT_CORE, 0) || !set_limit(RLIMIT_NOFILE, 32768) || !set_limit(RLIMIT_FSIZE, (rlim_t)32 << 30)) {
		return "setrlimit";
	}
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		return "PR_SET_NO_NEW_PRIVS";
	}
	struct program program = {.length = 0};
	build(&program, params->allow_open);
	const struct sock_fprog fprog = {.len = program.length, .filter = program.code};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &fprog) != 0 ? "seccomp" : NULL;
}

enum rc_result rc_sandbox_enter(const struct rc_sandbox_params *params, char *message, size_t message_size) {
	errno = 0;
	const char *failed = enter(params);
	snprintf(message, message_size, "%s%s%s", failed ? failed : "", failed ? ": " : "", failed ? strerror(errno) : "");
	return failed ? RC_ERROR_UNSUPPORTED : RC_OK;
}
