/* queue_keys.c - the virtual counters: what each key was served, and what it begins with when it comes back.
 *
 * Under the queue's lock. A counter counts weighted tokens, in hundredths so that rounding adds up to nothing: (input + 2 * output) * 100 / weight. A key that has
 * nothing waiting and asks again is lifted to the smallest counter among those of its class that wait for one of the same targets; where it meets nobody, to the
 * level: the highest counter that was served so far. So time away is neither saved nor, for whoever used idle places meanwhile, held against anybody.
 *
 * A key that is not seen for ten minutes and would be lifted anyway is forgotten: that changes nothing for it. Each coming of a key looks at two of those that rest.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

#define TOKENS_MAX (INT64_C(1) << 40) /* of one charge; keeps products far from overflow */
#define WEIGHT_MAX 1000
#define HUNDREDTHS 100

static int64_t clamp(int64_t n, int64_t least, int64_t most)
{
	return n < least ? least : n > most ? most : n;
}

int64_t weighted_cost(int64_t input, int64_t output, uint32_t weight)
{
	int64_t tokens = clamp(input, -TOKENS_MAX, TOKENS_MAX) + 2 * clamp(output, -TOKENS_MAX, TOKENS_MAX);
	return tokens * 100 * HUNDREDTHS / clamp(weight, 1, WEIGHT_MAX);
}

struct key *key_find(struct queue *q, uint32_t serial)
{
	uint64_t hash = hash_mix(serial, 0);
	for (struct hash_node *n = q->keys.buckets[hash & q->keys.mask]; n; n = n->next) {
		struct key *k = CONTAINER_OF(n, struct key, node);
		if (k->serial == serial)
			return k;
	}
	return NULL;
}

void key_rests(struct queue *q, struct key *k)
{
	list_remove(&k->idle);
	k->due_ms = atomic_load_explicit(&q->now_ms, memory_order_relaxed) + FORGET_MS;
	list_push_back(&q->idle, &k->idle);
}

/* Looks at the key that rests longest. A counter above the level has to be answered for when it comes back. */
static void forget_one(struct queue *q)
{
	if (list_empty(&q->idle))
		return;
	struct key *k = CONTAINER_OF(q->idle.next, struct key, idle);
	if (k->due_ms > atomic_load_explicit(&q->now_ms, memory_order_relaxed))
		return;
	if (k->counter > q->level) {
		key_rests(q, k);
		return;
	}
	list_remove(&k->idle);
	hash_remove(&q->keys, &k->node);
	free(k);
}

struct key *key_of(struct queue *q, uint32_t serial)
{
	forget_one(q);
	forget_one(q);
	struct key *k = key_find(q, serial);
	if (!k) {
		k = mem_zero(sizeof(*k));
		k->serial = serial;
		list_init(&k->flows);
		list_init(&k->idle);
		hash_add(&q->keys, &k->node, hash_mix(serial, 0));
	}
	if (!k->waiting)
		key_rests(q, k);
	return k;
}

/* ---- lifting ---- */

struct lowest {
	enum side side;
	bool found;
	int64_t counter;
};

static bool lower(void *arg, struct line *l)
{
	struct lowest *low = arg;
	const struct entry *e = heap_top(l, low->side);
	if (e && (!low->found || e->counter < low->counter)) {
		low->found = true;
		low->counter = e->counter;
	}
	return true;
}

void key_lift(struct queue *q, struct key *k, struct reach *r, enum side side)
{
	struct lowest low = {.side = side};
	if (r)
		reach_rivals(q, r, lower, &low);
	int64_t floor = low.found ? low.counter : q->level;
	if (k->counter < floor)
		k->counter = floor;
}

/* ---- charging ---- */

void key_add(struct queue *q, struct key *k, int64_t cost)
{
	int64_t sum;
	if (__builtin_add_overflow(k->counter, cost, &sum))
		sum = INT64_MAX;
	k->counter = sum > 0 ? sum : 0;
	if (cost < 0)
		heap_fallen(k);
}

/* It costs something in any case: else a key whose requests are not estimated would always be first. */
void key_serve(struct queue *q, struct key *k, int64_t cost)
{
	if (q->level < k->counter)
		q->level = k->counter;
	k->served = ++q->services;
	key_add(q, k, cost > 0 ? cost : 1);
}
