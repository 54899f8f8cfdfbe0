/* queue_check.c - looking at the queue: numbers for the live view, and invariants for tests.
 *
 * Takes the queue's lock; the checks are O(n).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

void queue_look(struct queue *q, int64_t now_ms, struct queue_look *out)
{
	pthread_mutex_lock(&q->lock);
	*out = (struct queue_look){.waiting = q->waiting, .waiting_batch = q->waiting_batch, .entered = q->entered, .granted = q->granted, .left = q->left};
	if (!list_empty(&q->tickets)) {
		int64_t waited = now_ms - CONTAINER_OF(q->tickets.next, struct ticket, of_queue)->entered_ms;
		out->oldest_ms = waited > 0 ? waited : 0;
	}
	pthread_mutex_unlock(&q->lock);
}

/* ---- invariants ---- */

/* What was found of each kind, to be compared with the counts. */
struct census {
	const char *why;
	uint64_t tickets, batch, flows, lines, at_home, homes;
};

static void demand(struct census *c, bool holds, const char *why)
{
	if (!holds && !c->why)
		c->why = why;
}

static uint32_t check_tickets(struct census *c, const struct list *head, bool of_flow, enum rank rank)
{
	uint32_t count = 0;
	uint64_t seq = 0;
	LIST_EACH (head, at) {
		const struct ticket *t = of_flow ? CONTAINER_OF(at, struct ticket, of_flow) : CONTAINER_OF(at, struct ticket, of_line);
		demand(c, t->state == TICKET_WAITING, "a ticket in line does not wait");
		demand(c, t->rank == rank, "a ticket stands in the wrong list");
		demand(c, t->seq > seq, "tickets of a list are not in the order of their coming");
		seq = t->seq;
		count++;
	}
	return count;
}

static void check_heap(struct census *c, const struct line *l, enum side side)
{
	const struct heap *h = &l->heaps[side];
	for (uint32_t i = 0; i < h->count; i++) {
		const struct entry *e = &h->items[i];
		const struct key *k = e->flow->key;
		const struct ticket *first = flow_first(e->flow, side);
		demand(c, i == 0 || !entry_before(e, &h->items[(i - 1) / 2]), "a heap is not a heap");
		demand(c, e->flow->at[side] == i + 1, "a flow does not know where it stands in the heap");
		demand(c, first && first->seq == e->seq, "an entry does not name its flow's first ticket");
		demand(c, e->counter < k->counter || (e->counter == k->counter && e->served <= k->served), "an entry is above the standing of its key");
	}
}

static void check_flow(struct census *c, const struct flow *f)
{
	uint32_t counts[RANKS];
	for (enum rank rank = 0; rank < RANKS; rank++)
		counts[rank] = check_tickets(c, &f->tickets[rank], true, rank);
	demand(c, f->waiting[FRONT] == counts[RANK_FIRST] + counts[RANK_AGED] && f->waiting[BACK] == counts[RANK_BATCH], "a flow counts its tickets wrongly");
	demand(c, f->waiting[FRONT] + f->waiting[BACK] > 0, "an empty flow is kept");
	demand(c, !f->at[FRONT] == !f->waiting[FRONT] && !f->at[BACK] == !f->waiting[BACK], "a flow with tickets is not in its heap, or one without is");
	c->flows++;
	c->tickets += f->waiting[FRONT] + f->waiting[BACK];
}

static void check_key(struct census *c, const struct key *k)
{
	uint64_t before = c->tickets;
	LIST_EACH (&k->flows, at)
		check_flow(c, CONTAINER_OF(at, struct flow, of_key));
	demand(c, c->tickets - before == k->waiting, "a key counts its tickets wrongly");
	demand(c, !k->waiting == !list_empty(&k->idle), "a key rests with tickets, or does not rest without");
}

static void check_line(struct census *c, const struct queue *q, const struct line *l)
{
	uint32_t counts[RANKS];
	for (enum rank rank = 0; rank < RANKS; rank++)
		counts[rank] = check_tickets(c, &l->tickets[rank], false, rank);
	demand(c, l->waiting[FRONT] == counts[RANK_FIRST] + counts[RANK_AGED] && l->waiting[BACK] == counts[RANK_BATCH], "a line counts its tickets wrongly");
	demand(c, l->waiting[FRONT] + l->waiting[BACK] > 0, "an empty line is kept");
	demand(c, queue_waiting(q, l->model) >= l->waiting[FRONT] + l->waiting[BACK], "a model counts fewer tickets than one of its lines");
	check_heap(c, l, FRONT);
	check_heap(c, l, BACK);
	c->lines++;
}

static void check_home(struct census *c, const struct home *h)
{
	uint32_t count = 0;
	for (enum side side = FRONT; side < SIDES; side++) {
		LIST_EACH (&h->tickets[side], at) {
			const struct ticket *t = CONTAINER_OF(at, struct ticket, of_home);
			demand(c, t->home == h && t->flow->line == h->line, "a ticket is in the list of a home that is not its own");
			demand(c, rank_side((enum rank)t->rank) == side, "a ticket stands on the wrong side of its home");
			count++;
		}
	}
	demand(c, count && count == h->count, "a home counts its tickets wrongly, or is kept without any");
	c->at_home += count;
	c->homes++;
}

static void check_spot(struct census *c, const struct spot *s)
{
	uint32_t seats = 0, limit = atomic_load(&s->places->limit);
	LIST_EACH (&s->seats, at) {
		demand(c, !list_empty(&CONTAINER_OF(at, struct seat, link)->reach->lines), "an empty reach is kept");
		seats++;
	}
	demand(c, atomic_load(&s->places->wanted) == seats, "a target is wanted by more or fewer than stand there");
	bool open = !atomic_load(&s->places->closed) && (!limit || atomic_load(&s->places->taken) < limit);
	demand(c, !open || !seats, "a place is free beside a ticket that could use it");
}

static void check_all(struct census *c, const struct queue *q)
{
	for (size_t i = 0; i <= q->keys.mask; i++)
		for (struct hash_node *n = q->keys.buckets[i]; n; n = n->next)
			check_key(c, CONTAINER_OF(n, struct key, node));
	for (size_t i = 0; i <= q->lines.mask; i++)
		for (struct hash_node *n = q->lines.buckets[i]; n; n = n->next)
			check_line(c, q, CONTAINER_OF(n, struct line, node));
	for (uint32_t i = 0; i < q->spot_count; i++)
		if (q->spots[i])
			check_spot(c, q->spots[i]);
	uint64_t at_home = 0;
	for (size_t i = 0; i <= q->homes.mask; i++)
		for (struct hash_node *n = q->homes.buckets[i]; n; n = n->next)
			check_home(c, CONTAINER_OF(n, struct home, node));
	LIST_EACH (&q->tickets, at) {
		const struct ticket *t = CONTAINER_OF(at, struct ticket, of_queue);
		c->batch += t->batch;
		at_home += t->home != NULL;
	}
	demand(c, c->at_home == at_home && c->homes == q->homes.count, "homes or their tickets are lost");
	demand(c, c->tickets == q->waiting && c->batch == q->waiting_batch, "the queue counts its tickets wrongly");
	demand(c, c->flows == q->flows.count && c->lines == q->lines.count, "flows or lines are lost");
}

bool queue_check(struct queue *q, const char **why)
{
	struct census c = {0};
	pthread_mutex_lock(&q->lock);
	check_all(&c, q);
	pthread_mutex_unlock(&q->lock);
	*why = c.why;
	return !c.why;
}
