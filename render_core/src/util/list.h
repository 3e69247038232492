/* SPDX-License-Identifier: Apache-2.0
 * An intrusive doubly linked list. A head and its links are the same type; an unlinked link points at itself. */
#ifndef RC_LIST_H
#define RC_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct rc_list {
	struct rc_list *prev, *next;
};

#define rc_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void rc_list_init(struct rc_list *list) {
	list->prev = list->next = list;
}

static inline bool rc_list_empty(const struct rc_list *list) {
	return list->next == list;
}

static inline void rc_list_append(struct rc_list *head, struct rc_list *link) {
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void rc_list_remove(struct rc_list *link) {
	link->prev->next = link->next;
	link->next->prev = link->prev;
	rc_list_init(link);
}

#endif
