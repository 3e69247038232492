/* SPDX-License-Identifier: Apache-2.0
 * test_venus_wire FILE: each line of FILE is a command's name, number, flags, request, reply and extensions ("-": none). The request is read to
 * its last byte and written again, the reply too: both must come out as they went in. Commands and extensions that the installed registry
 * lacks are passed over; with --all, they are failures. */
#define _GNU_SOURCE
#include <stdio.h>

#include "venus_codec.h"

struct line {
	char *name;
	uint32_t number;
	uint8_t *request, *reply; /* behind number and flags; NULL: none */
	size_t request_size, reply_size;
};

static uint8_t *parse_hex(const char *text, size_t *size) {
	*size = strlen(text) / 2;
	uint8_t *bytes = malloc(*size ? *size : 1);
	for (size_t i = 0; i < *size; i++) {
		unsigned byte;
		if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
			fprintf(stderr, "no hexadecimal bytes: %.40s\n", text);
			exit(2);
		}
		bytes[i] = (uint8_t)byte;
	}
	return bytes;
}

static bool compare(const struct line *line, const char *what, const uint8_t *want, size_t size, const uint8_t *got,
	const struct rc_vn_encoder *enc) {
	size_t written = (size_t)(enc->cursor - got);
	if (!enc->overflow && written == size && memcmp(want, got, size) == 0) {
		return true;
	}
	size_t at = 0;
	while (at < written && at < size && want[at] == got[at]) {
		at++;
	}
	fprintf(stderr, "%s: the %s comes out with %zu bytes, not %zu%s; they differ at %zu\n", line->name, what, written,
		size, enc->overflow ? " (or more)" : "", at);
	return false;
}

static bool read_whole(const struct line *line, const char *what, const struct rc_vn_decoder *dec) {
	if (dec->error) {
		fprintf(stderr, "%s: %s: %s: %s\n", line->name, what, dec->error_field, dec->error);
	} else if (dec->cursor != dec->end) {
		fprintf(stderr, "%s: %zu bytes of the %s are left\n", line->name, (size_t)(dec->end - dec->cursor), what);
	}
	return !dec->error && dec->cursor == dec->end;
}

static bool check_line(struct codec *codec, const struct line *line, const struct rc_vn_test_command *command) {
	codec_reset(codec);
	size_t room = line->request_size > line->reply_size ? line->request_size : line->reply_size;
	uint8_t *out = malloc(room + 4);
	struct rc_vn_decoder dec = codec_decoder(codec, line->request, line->request_size);
	command->decode(&dec, codec->args);
	bool fine = read_whole(line, "request", &dec);
	if (fine) {
		struct rc_vn_encoder enc = {.cursor = out, .end = out + room + 4};
		command->encode_request(&enc, codec->args);
		fine = compare(line, "request", line->request, line->request_size, out, &enc);
	}
	if (fine && line->reply) {
		dec = codec_decoder(codec, line->reply, line->reply_size);
		command->decode_reply(&dec, codec->args);
		fine = read_whole(line, "reply", &dec);
		struct rc_vn_encoder enc = {.cursor = out, .end = out + room + 4};
		if (fine) {
			command->encode_reply(&enc, codec->args);
			fine = compare(line, "reply", line->reply, line->reply_size, out, &enc);
		}
	}
	free(out);
	return fine;
}

/* No part of a command is a command. */
static bool check_cut(struct codec *codec, const struct line *line, const struct rc_vn_test_command *command) {
	size_t step = line->request_size / 128 / 4 * 4 + 4;
	for (size_t size = 0; size < line->request_size; size += step) {
		codec_reset(codec);
		uint8_t *part = malloc(size + 1);
		memcpy(part, line->request, size);
		struct rc_vn_decoder dec = codec_decoder(codec, part, size);
		command->decode(&dec, codec->args);
		free(part);
		if (!dec.error || !dec.error_field || dec.cursor != dec.end) {
			fprintf(stderr, "%s: the first %zu bytes of %zu are accepted\n", line->name, size, line->request_size);
			return false;
		}
	}
	return true;
}

static void fail_usage(void) {
	fprintf(stderr, "usage: test_venus_wire [--all] FILE\n");
	exit(2);
}

/* "471,500": all are in the registry. */
static bool knows_extensions(const char *numbers) {
	for (const char *at = numbers; *at >= '0' && *at <= '9';) {
		char *end;
		unsigned long number = strtoul(at, &end, 10);
		if (number > 1023 || !(rc_vn_extension_mask[number / 32] >> number % 32 & 1)) {
			return false;
		}
		at = *end == ',' ? end + 1 : end;
	}
	return true;
}

int main(int argc, char **argv) {
	bool all = argc == 3 && strcmp(argv[1], "--all") == 0;
	FILE *file = argc == 2 + all ? fopen(argv[1 + all], "r") : NULL;
	if (!file) {
		fail_usage();
	}
	struct codec codec;
	codec_init(&codec);
	char *text = NULL;
	size_t capacity = 0;
	unsigned checked = 0, failed = 0, passed_over = 0;
	while (getline(&text, &capacity, file) > 0) {
		struct line line = {.name = NULL};
		char *request = NULL, *reply = NULL, *extensions = NULL;
		unsigned flags;
		if (text[0] == '#') {
			continue;
		}
		if (sscanf(text, "%ms %u %u %ms %ms %ms", &line.name, &line.number, &flags, &request, &reply, &extensions) !=
			6) {
			fprintf(stderr, "no line of six words: %.60s\n", text);
			return 2;
		}
		uint8_t *bytes = parse_hex(request, &line.request_size);
		line.request = bytes + 8;
		line.request_size -= 8;
		if (reply[0] != '-') {
			line.reply = parse_hex(reply, &line.reply_size);
		}
		const struct rc_vn_test_command *command = codec_command(line.number);
		if (command && knows_extensions(extensions)) {
			checked++;
			failed += !check_line(&codec, &line, command) || !check_cut(&codec, &line, command);
		} else {
			passed_over++;
			if (all) {
				fprintf(stderr, "%s: not known\n", line.name);
			}
		}
		free(line.name);
		free(request);
		free(reply);
		free(extensions);
		free(bytes);
		free(line.reply);
	}
	free(text);
	fclose(file);
	codec_finish(&codec);
	printf("%u commands, %u not known, %u wrong\n", checked, passed_over, failed);
	return failed || !checked || (all && passed_over) ? 1 : 0;
}
