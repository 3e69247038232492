/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_MEMFD_H
#define RC_MEMFD_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/vfs.h>

/* True when a mapping of the peer's memory cannot make us fault: nobody can shrink it (only memfds can be sealed so), and its pages
 * are ordinary ones. Huge pages come from a pool that may be empty at a fault, and their mappings have other borders. Needs _GNU_SOURCE. */
static inline bool rc_memfd_is_safe(int fd) {
	const long hugetlbfs = 0x958458f6; /* linux/magic.h */
	struct statfs fs;
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & F_SEAL_SHRINK) && fstatfs(fd, &fs) == 0 && (long)fs.f_type != hugetlbfs;
}

#endif
