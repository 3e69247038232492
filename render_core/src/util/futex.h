/* SPDX-License-Identifier: Apache-2.0
 * Sleeping on a word of this process's memory. */
#ifndef RC_FUTEX_H
#define RC_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleep while *word is `expected`, until rc_futex_wake() or for `timeout_ns`; may return early. */
static inline void rc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
	const struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &timeout, NULL, 0);
}

/* Change the word and wake all who sleep on it. */
static inline void rc_futex_wake(_Atomic uint32_t *word) {
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
