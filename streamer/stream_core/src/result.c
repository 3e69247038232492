/* SPDX-License-Identifier: Apache-2.0 */
#include "sc_result.h"

const char *sc_result_text(enum sc_result result) {
	switch (result) {
	case SC_OK:
		return "success";
	case SC_AGAIN:
		return "not now";
	case SC_ERROR_INVALID:
		return "an argument is wrong";
	case SC_ERROR_NOMEM:
		return "out of memory";
	case SC_ERROR_IO:
		return "a system call failed";
	case SC_ERROR_CODEC:
		return "the codec failed";
	case SC_ERROR_CRYPTO:
		return "the cipher failed";
	}
	return "unknown";
}
