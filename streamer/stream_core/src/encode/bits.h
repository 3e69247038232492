/* SPDX-License-Identifier: Apache-2.0
 * Bits of an RBSP (ITU-T H.264, 7.2 and 9.1), and the emulation prevention around them (7.4.1). */
#ifndef SC_BITS_H
#define SC_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Writes to memory that the caller has made large enough; `end` is checked all the same, and `full` is sticky. */
struct sc_bits {
	uint8_t *at, *end, *begin;
	uint64_t cache;
	unsigned count; /* bits in `cache`, < 32 between calls */
	bool full;
};

static inline void sc_bits_init(struct sc_bits *bits, uint8_t *data, size_t size) {
	*bits = (struct sc_bits){.at = data, .begin = data, .end = data + size};
}

/* Up to 32 bits. */
static inline void sc_bits_put(struct sc_bits *bits, unsigned length, uint32_t value) {
	bits->cache = bits->cache << length | value;
	bits->count += length;
	if (bits->count < 32) {
		return;
	}
	if (bits->end - bits->at < 4) {
		bits->full = true;
		bits->count -= 32;
		return;
	}
	bits->count -= 32;
	uint32_t word = __builtin_bswap32((uint32_t)(bits->cache >> bits->count));
	memcpy(bits->at, &word, sizeof(word));
	bits->at += 4;
}

static inline void sc_bits_ue(struct sc_bits *bits, uint32_t value) {
	unsigned length = 31 - (unsigned)__builtin_clz(value + 1);
	sc_bits_put(bits, length, 0);
	sc_bits_put(bits, length + 1, value + 1);
}

static inline void sc_bits_se(struct sc_bits *bits, int32_t value) {
	sc_bits_ue(bits, value > 0 ? 2 * (uint32_t)value - 1 : 2 * (uint32_t)-value);
}

static inline size_t sc_bits_written(const struct sc_bits *bits) {
	return (size_t)(bits->at - bits->begin) * 8 + bits->count;
}

/* rbsp_trailing_bits(); returns the bytes. */
static inline size_t sc_bits_finish(struct sc_bits *bits) {
	sc_bits_put(bits, 1, 1);
	while (bits->count % 8) {
		sc_bits_put(bits, 1, 0);
	}
	for (; bits->count; bits->count -= 8) {
		if (bits->at == bits->end) {
			bits->full = true;
			return 0;
		}
		*bits->at++ = (uint8_t)(bits->cache >> (bits->count - 8));
	}
	return (size_t)(bits->at - bits->begin);
}

/* Reads an RBSP; past its end it gives zeros and `over` is set. */
struct sc_bit_reader {
	const uint8_t *data;
	size_t size, at; /* bytes; bits */
	bool over;
};

static inline uint32_t sc_bits_get(struct sc_bit_reader *reader, unsigned length) {
	uint32_t value = 0;
	for (; length; length--, reader->at++) {
		size_t byte = reader->at / 8;
		if (byte >= reader->size) {
			reader->over = true;
			return 0;
		}
		value = value << 1 | (reader->data[byte] >> (7 - reader->at % 8) & 1);
	}
	return value;
}

static inline uint32_t sc_bits_get_ue(struct sc_bit_reader *reader) {
	unsigned zeros = 0;
	while (zeros < 32 && !sc_bits_get(reader, 1)) {
		if (reader->over) {
			return 0;
		}
		zeros++;
	}
	if (zeros >= 32) {
		reader->over = true;
		return 0;
	}
	return (UINT32_C(1) << zeros) - 1 + sc_bits_get(reader, zeros);
}

static inline int32_t sc_bits_get_se(struct sc_bit_reader *reader) {
	uint32_t value = sc_bits_get_ue(reader);
	return value & 1 ? (int32_t)((value + 1) / 2) : -(int32_t)(value / 2);
}

/* Copy an RBSP with emulation prevention; `out` holds size * 3 / 2. Returns the bytes written. */
static inline size_t sc_escape(uint8_t *out, const uint8_t *data, size_t size) {
	uint8_t *at = out;
	unsigned zeros = 0;
	for (size_t i = 0; i < size; i++) {
		if (zeros == 2 && data[i] <= 3) {
			*at++ = 3;
			zeros = 0;
		}
		zeros = data[i] ? 0 : zeros + 1;
		*at++ = data[i];
	}
	return (size_t)(at - out);
}

/* The other way. Returns the bytes written, at most `size`. */
static inline size_t sc_unescape(uint8_t *out, const uint8_t *data, size_t size) {
	uint8_t *at = out;
	unsigned zeros = 0;
	for (size_t i = 0; i < size; i++) {
		if (zeros >= 2 && data[i] == 3) {
			zeros = 0;
			continue;
		}
		zeros = data[i] ? 0 : zeros + 1;
		*at++ = data[i];
	}
	return (size_t)(at - out);
}

#endif
