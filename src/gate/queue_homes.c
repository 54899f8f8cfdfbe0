/* queue_homes.c - tickets whose target has the beginning of their prompt cached: a place there goes to one of them first, within bounds.
 *
 * Under the queue's lock. A *home* is a line's list of the tickets that belong to one target. Without it a line would undo what affinity does: each place would go to the
 * ticket that is next, whatever its target has cached, and where most of a request's time is its prompt, the line would never end again.
 *
 * The bounds: a ticket that is next lets those go first that came at most a quarter of starve_ms after it, and whose key is ahead of its own by no more than
 * the cost of their request. A place never stays free: where no such ticket waits, the next one gets it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

#define LOOK_MAX 8 /* tickets of a home that are looked at */

static struct home *home_find(const struct queue *q, const struct line *l, const struct spot *s)
{
	uint64_t hash = hash_mix((uintptr_t)l, (uintptr_t)s);
	for (struct hash_node *n = q->homes.buckets[hash & q->homes.mask]; n; n = n->next) {
		struct home *h = CONTAINER_OF(n, struct home, node);
		if (h->line == l && h->spot == s)
			return h;
	}
	return NULL;
}

void home_enter(struct queue *q, struct ticket *t, struct spot *s)
{
	struct line *l = t->flow->line;
	struct home *h = home_find(q, l, s);
	if (!h) {
		h = mem_zero(sizeof(*h));
		h->line = l;
		h->spot = s;
		list_init(&h->tickets[FRONT]);
		list_init(&h->tickets[BACK]);
		hash_add(&q->homes, &h->node, hash_mix((uintptr_t)l, (uintptr_t)s));
	}
	t->home = h;
	h->count++;
}

void home_leave(struct queue *q, struct ticket *t)
{
	struct home *h = t->home;
	t->home = NULL;
	if (!h || --h->count)
		return;
	hash_remove(&q->homes, &h->node);
	free(h);
}

/* It would have to wait for a target that takes nobody. */
static bool is_lost(const struct home *h)
{
	return atomic_load_explicit(&h->spot->places->closed, memory_order_relaxed) != 0;
}

struct ticket *home_prefer(struct queue *q, const struct spot *s, struct ticket *next, enum side side)
{
	const struct home *h = next->home && next->home->spot != s && !is_lost(next->home) ? home_find(q, next->flow->line, s) : NULL;
	int looked = 0;
	if (!h)
		return next;
	LIST_EACH (&h->tickets[side], at) {
		struct ticket *t = CONTAINER_OF(at, struct ticket, of_home);
		if (t->entered_ms - next->entered_ms > q->options.starve_ms / 4 || looked++ == LOOK_MAX)
			break;
		if (t->flow->key->counter - next->flow->key->counter <= t->cost)
			return t;
	}
	return next;
}
