/* SPDX-License-Identifier: Apache-2.0
 * CHECK(): an assert that stays on and says where. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
	do {                                                                                                               \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s: CHECK(%s) failed\n", __FILE__, __LINE__, __func__, #condition);                \
			abort();                                                                                                   \
		}                                                                                                              \
	} while (0)

#endif
