/* SPDX-License-Identifier: Apache-2.0
 * The buddy allocator against a model that keeps one flag a leaf. */
#include "check.h"
#include "execute/venus/buddy.h"

#include <string.h>

enum { MAX_LEAVES = 4096 };

struct range {
	uint64_t offset, size;
};

struct model {
	uint64_t size, leaf;
	bool taken[MAX_LEAVES];
	struct range ranges[MAX_LEAVES];
	uint32_t count;
};

static uint64_t random_state;

static uint64_t next_random(void) {
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint64_t round_up_to_power(uint64_t value) {
	uint64_t power = 1;
	while (power < value) {
		power *= 2;
	}
	return power;
}

/* The largest aligned run of free leaves whose length is a power of two. */
static uint64_t model_largest(const struct model *model) {
	uint64_t leaves = model->size / model->leaf;
	for (uint64_t length = leaves; length; length /= 2) {
		for (uint64_t at = 0; at < leaves; at += length) {
			if (!memchr(model->taken + at, true, length)) {
				return length * model->leaf;
			}
		}
	}
	return 0;
}

static uint64_t model_free(const struct model *model) {
	uint64_t leaves = 0;
	for (uint64_t i = 0; i < model->size / model->leaf; i++) {
		leaves += !model->taken[i];
	}
	return leaves * model->leaf;
}

static void model_set(struct model *model, struct range range, bool taken) {
	uint64_t end = (range.offset + range.size + model->leaf - 1) / model->leaf;
	for (uint64_t i = range.offset / model->leaf; i < end; i++) {
		CHECK(model->taken[i] != taken); /* no overlap; nothing is given twice */
		model->taken[i] = taken;
	}
}

static void take(struct rc_vn_buddy *buddy, struct model *model, uint64_t size, uint64_t alignment) {
	uint64_t largest = model_largest(model);
	uint64_t needed = round_up_to_power(size);
	needed = needed > alignment ? needed : alignment;
	needed = needed > model->leaf ? needed : model->leaf;
	uint64_t offset = rc_vn_buddy_take(buddy, size, alignment);
	CHECK((offset != UINT64_MAX) == (needed <= largest)); /* what fits is found */
	if (offset == UINT64_MAX) {
		return;
	}
	CHECK(offset % needed == 0 && size <= model->size - offset);
	struct range range = {offset, size};
	model_set(model, range, true);
	model->ranges[model->count++] = range;
}

static void give(struct rc_vn_buddy *buddy, struct model *model, uint32_t index) {
	struct range range = model->ranges[index];
	model->ranges[index] = model->ranges[--model->count];
	model_set(model, range, false);
	rc_vn_buddy_give(buddy, range.offset, range.size);
}

static void check_same(const struct rc_vn_buddy *buddy, const struct model *model) {
	CHECK(rc_vn_buddy_free_bytes(buddy) == model_free(model));
	CHECK(rc_vn_buddy_largest_free(buddy) == model_largest(model));
	CHECK(rc_vn_buddy_empty(buddy) == (model->count == 0));
}

static void run(uint64_t seed, uint64_t size, uint64_t leaf, int steps) {
	random_state = seed * 0x9e3779b97f4a7c15u + 1;
	struct model *model = calloc(1, sizeof(*model));
	CHECK(model);
	model->size = size;
	model->leaf = leaf;
	struct rc_vn_buddy buddy;
	CHECK(rc_vn_buddy_init(&buddy, size, leaf));
	check_same(&buddy, model);
	for (int i = 0; i < steps; i++) {
		/* fills up and drains in turn */
		bool filling = (i / 64) % 2 == 0;
		if (model->count && next_random() % 4 < (filling ? 1 : 3)) {
			give(&buddy, model, (uint32_t)(next_random() % model->count));
		} else {
			uint64_t limit = size >> (next_random() % 12);
			uint64_t alignment = 1ull << (next_random() % 16);
			take(&buddy, model, 1 + next_random() % (limit + 1), alignment < size ? alignment : size);
		}
		check_same(&buddy, model);
	}
	while (model->count) {
		give(&buddy, model, (uint32_t)(next_random() % model->count));
		check_same(&buddy, model);
	}
	CHECK(rc_vn_buddy_largest_free(&buddy) == size); /* all is merged again */
	rc_vn_buddy_finish(&buddy);
	free(model);
}

static void fills_to_the_last_leaf(void) {
	struct rc_vn_buddy buddy;
	CHECK(rc_vn_buddy_init(&buddy, 64 << 10, 1 << 10));
	for (uint64_t i = 0; i < 64; i++) {
		CHECK(rc_vn_buddy_take(&buddy, 1 << 10, 1) == i << 10); /* lowest first */
	}
	CHECK(rc_vn_buddy_take(&buddy, 1, 1) == UINT64_MAX && rc_vn_buddy_largest_free(&buddy) == 0);
	for (uint64_t i = 0; i < 64; i += 2) {
		rc_vn_buddy_give(&buddy, i << 10, 1 << 10);
	}
	CHECK(rc_vn_buddy_take(&buddy, 2 << 10, 1) == UINT64_MAX); /* only every other leaf */
	CHECK(rc_vn_buddy_free_bytes(&buddy) == 32 << 10);
	rc_vn_buddy_finish(&buddy);
}

static void leaves_the_rest_of_a_node_free(void) {
	struct rc_vn_buddy buddy;
	CHECK(rc_vn_buddy_init(&buddy, 16, 1));
	CHECK(rc_vn_buddy_take(&buddy, 9, 1) == 0); /* a node of 16, of which 7 stay */
	CHECK(rc_vn_buddy_free_bytes(&buddy) == 7 && rc_vn_buddy_largest_free(&buddy) == 4);
	CHECK(rc_vn_buddy_take(&buddy, 4, 1) == 12 && rc_vn_buddy_take(&buddy, 2, 1) == 10);
	CHECK(rc_vn_buddy_take(&buddy, 1, 1) == 9 && rc_vn_buddy_free_bytes(&buddy) == 0);
	rc_vn_buddy_give(&buddy, 0, 9);
	CHECK(rc_vn_buddy_largest_free(&buddy) == 8);
	rc_vn_buddy_finish(&buddy);
}

static void refuses_nonsense(void) {
	struct rc_vn_buddy buddy;
	CHECK(!rc_vn_buddy_init(&buddy, 0, 1) && !rc_vn_buddy_init(&buddy, 3, 1) && !rc_vn_buddy_init(&buddy, 4, 3));
	CHECK(!rc_vn_buddy_init(&buddy, 4, 8) && !rc_vn_buddy_init(&buddy, 1ull << 40, 1));
	CHECK(rc_vn_buddy_init(&buddy, 1 << 20, 1 << 20)); /* one leaf */
	CHECK(rc_vn_buddy_take(&buddy, 0, 1) == UINT64_MAX && rc_vn_buddy_take(&buddy, 1, 3) == UINT64_MAX);
	CHECK(rc_vn_buddy_take(&buddy, (1 << 20) + 1, 1) == UINT64_MAX);
	CHECK(
		rc_vn_buddy_take(&buddy, UINT64_MAX, 1) == UINT64_MAX && rc_vn_buddy_take(&buddy, 1, 1ull << 63) == UINT64_MAX);
	CHECK(rc_vn_buddy_take(&buddy, 5, 1) == 0 && rc_vn_buddy_take(&buddy, 1, 1) == UINT64_MAX);
	rc_vn_buddy_give(&buddy, 0, 5);
	CHECK(rc_vn_buddy_empty(&buddy));
	rc_vn_buddy_finish(&buddy);
}

int main(void) {
	fills_to_the_last_leaf();
	leaves_the_rest_of_a_node_free();
	refuses_nonsense();
	for (uint64_t seed = 1; seed <= 40; seed++) {
		run(seed, 1 << 20, 1 << 10, 400);
		run(seed, 64 << 10, 256, 400);
		run(seed, 1 << (seed % 10), 1, 200);
	}
	return 0;
}
