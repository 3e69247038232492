/* SPDX-License-Identifier: Apache-2.0
 * What a fuzz target offers: libFuzzer calls it, and replay.c does with the files of the corpus. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
