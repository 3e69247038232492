/* SPDX-License-Identifier: Apache-2.0
 * A few threads that share one picture's work, by rows of macroblocks. */
#ifndef SC_BANDS_H
#define SC_BANDS_H

#include <stdint.h>

struct sc_bands;

/* Does rows [begin, end). Called on several threads at once, for rows that do not overlap. */
typedef void (*sc_band_work)(void *context, uint32_t begin, uint32_t end);

/* `threads` in all, the caller's included. NULL: there are none to be had, or needed; all of this takes NULL. */
struct sc_bands *sc_bands_create(uint32_t threads);
void sc_bands_destroy(struct sc_bands *bands);

/* Have rows [0, rows) done; returns when all are. One caller at a time. */
void sc_bands_run(struct sc_bands *bands, uint32_t rows, sc_band_work work, void *context);

#endif
