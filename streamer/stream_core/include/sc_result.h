/* SPDX-License-Identifier: Apache-2.0
 * Results of the stream core's C API. Plain C with <std*.h> only: the Python binding's cdef is made of the headers in this folder. */
#ifndef SC_RESULT_H
#define SC_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero is success, > 0 a normal condition, < 0 an error. */
enum sc_result {
	SC_OK = 0,
	SC_AGAIN = 1,
	SC_ERROR_INVALID = -1,
	SC_ERROR_NOMEM = -2,
	SC_ERROR_IO = -3,
	SC_ERROR_CODEC = -4,
	SC_ERROR_CRYPTO = -5,
};

/* Name a result for people; static memory. Any thread. */
const char *sc_result_text(enum sc_result result);

#endif
