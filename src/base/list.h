/* list.h - an intrusive doubly linked list.
 *
 * A link is in one list or, pointing at itself, in none. Not thread-safe; whoever owns the head owns the list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_LIST_H
#define VALET_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

/* The struct of type `type` whose member `member` is at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* For each link of `head`; `at` may be removed inside the loop. */
#define LIST_EACH(head, at) \
	for (struct list *at = (head)->next, *at##_next = at->next; at != (head); at = at##_next, at##_next = at->next)

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_push_before(struct list *at, struct list *link)
{
	link->prev = at->prev;
	link->next = at;
	at->prev->next = link;
	at->prev = link;
}

static inline void list_push_back(struct list *head, struct list *link)
{
	list_push_before(head, link);
}

static inline void list_push_front(struct list *head, struct list *link)
{
	list_push_before(head->next, link);
}

/* Takes the link out of its list; does nothing to one that is in none. */
static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

#endif
