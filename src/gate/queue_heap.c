/* queue_heap.c - heaps of flows: which key of a line is next.
 *
 * Under the queue's lock. An entry may be below the truth, never above it; the top is made true before it is looked at.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

static void set_item(struct heap *h, enum side side, uint32_t at, struct entry e)
{
	h->items[at] = e;
	e.flow->at[side] = at + 1;
}

static void sift_up(struct heap *h, enum side side, uint32_t at, struct entry e)
{
	while (at > 0 && entry_before(&e, &h->items[(at - 1) / 2])) {
		set_item(h, side, at, h->items[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	set_item(h, side, at, e);
}

static void sift_down(struct heap *h, enum side side, uint32_t at, struct entry e)
{
	for (;;) {
		uint32_t child = at * 2 + 1;
		if (child >= h->count)
			break;
		child += child + 1 < h->count && entry_before(&h->items[child + 1], &h->items[child]);
		if (!entry_before(&h->items[child], &e))
			break;
		set_item(h, side, at, h->items[child]);
		at = child;
	}
	set_item(h, side, at, e);
}

/* Where it belongs, up or down. */
static void place_item(struct heap *h, enum side side, uint32_t at, struct entry e)
{
	if (at > 0 && entry_before(&e, &h->items[(at - 1) / 2]))
		sift_up(h, side, at, e);
	else
		sift_down(h, side, at, e);
}

static void take_out(struct heap *h, enum side side, struct flow *f)
{
	uint32_t at = f->at[side] - 1;
	f->at[side] = 0;
	h->count--;
	if (at < h->count)
		place_item(h, side, at, h->items[h->count]);
}

struct ticket *flow_first(const struct flow *f, enum side side)
{
	if (side == BACK)
		return list_ticket_of_flow(&f->tickets[RANK_BATCH]);
	return older_ticket(list_ticket_of_flow(&f->tickets[RANK_FIRST]), list_ticket_of_flow(&f->tickets[RANK_AGED]));
}

void heap_put(struct flow *f, enum side side)
{
	struct heap *h = &f->line->heaps[side];
	const struct ticket *first = flow_first(f, side);
	if (!first) {
		if (f->at[side])
			take_out(h, side, f);
		return;
	}
	struct entry e = {f->key->counter, f->key->served, first->seq, f};
	if (f->at[side]) {
		place_item(h, side, f->at[side] - 1, e);
		return;
	}
	if (h->count == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 4;
		h->items = mem_grow(h->items, h->cap * sizeof(*h->items));
	}
	sift_up(h, side, h->count++, e);
}

void heap_fallen(struct key *k)
{
	LIST_EACH (&k->flows, at) {
		struct flow *f = CONTAINER_OF(at, struct flow, of_key);
		for (enum side side = FRONT; side < SIDES; side++)
			if (f->at[side] && f->line->heaps[side].items[f->at[side] - 1].counter > k->counter)
				heap_put(f, side);
	}
}

const struct entry *heap_top(struct line *l, enum side side)
{
	struct heap *h = &l->heaps[side];
	if (!h->count)
		return NULL;
	for (;;) {
		struct entry e = h->items[0];
		const struct key *k = e.flow->key;
		if (e.counter == k->counter && e.served == k->served)
			return &h->items[0];
		e.counter = k->counter;
		e.served = k->served;
		sift_down(h, side, 0, e);
	}
}
