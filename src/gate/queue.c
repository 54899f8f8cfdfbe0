/* queue.c - see queue.h: taking and giving back places, entering, leaving, and the race between them.
 *
 * Any thread. The lock covers all tickets and counters; `taken`, `limit`, `closed`, `loaded` and `wanted` of a target are atomics.
 *
 * No wake-up is lost. Without the lock there are only two steps: places_take() adds to `taken`, and queue_give_back() takes from it where it sees wanted == 0.
 * One that enters first stands in line, which makes `wanted` of its targets at least 1 (under the lock), and then looks at `taken` for a place. One that gives
 * back first takes from `taken`, then looks at `wanted` again. All four are sequentially consistent, so they have one order. Where the look at `taken` comes
 * after the taking-away, the place is seen and handed out. Where it comes before, `wanted` was raised before it and so before the second look at `wanted`, which
 * sees it (or the line is gone again, and nobody waits): the giver comes to the lock and hands out. Changes of `limit` and `closed` are followed by
 * queue_offer(), which always takes the lock: either it finds the ticket in line, or the ticket comes to the lock later and sees the change.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

/* ---- places ---- */

static bool places_free(struct places *p)
{
	uint32_t limit = atomic_load(&p->limit);
	return !atomic_load(&p->closed) && (!limit || atomic_load(&p->taken) < limit);
}

bool places_take(struct places *p)
{
	uint32_t taken = atomic_load(&p->taken);
	do {
		uint32_t limit = atomic_load_explicit(&p->limit, memory_order_relaxed);
		if (atomic_load_explicit(&p->closed, memory_order_relaxed) || (limit && taken >= limit))
			return false;
	} while (!atomic_compare_exchange_weak(&p->taken, &taken, taken + 1));
	return true;
}

static void places_untake(struct places *p)
{
	uint32_t before = atomic_fetch_sub(&p->taken, 1);
	assert(before > 0);
}

/* A place that is taken may go to another: there were not more than there should be. */
static bool places_pass_on(struct places *p)
{
	uint32_t limit = atomic_load(&p->limit);
	return !atomic_load(&p->closed) && (!limit || atomic_load(&p->taken) <= limit);
}

/* ---- the queue ---- */

static struct queue_options with_defaults(const struct queue_options *o)
{
	struct queue_options full = *o;
	full.age_ms = o->age_ms ? o->age_ms : 30000;
	full.starve_ms = o->starve_ms ? o->starve_ms : 10000;
	full.total_max = o->total_max ? o->total_max : 10000;
	full.key_max = o->key_max ? o->key_max : 1000;
	return full;
}

struct queue *queue_new(const struct queue_options *o)
{
	struct queue *q = mem_zero(sizeof(*q));
	pthread_mutex_init(&q->lock, NULL);
	q->options = with_defaults(o);
	hash_init(&q->reaches);
	hash_init(&q->lines);
	hash_init(&q->flows);
	hash_init(&q->keys);
	hash_init(&q->homes);
	list_init(&q->tickets);
	list_init(&q->idle);
	return q;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	assert(!q->waiting);
	LIST_EACH (&q->idle, at)
		free(CONTAINER_OF(at, struct key, idle));
	for (uint32_t i = 0; i < q->spot_count; i++)
		free(q->spots[i]);
	free(q->spots);
	for (uint32_t i = 0; i < CELLS; i++)
		free(atomic_load(&q->models[i]));
	hash_release(&q->reaches);
	hash_release(&q->lines);
	hash_release(&q->flows);
	hash_release(&q->keys);
	hash_release(&q->homes);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void queue_set(struct queue *q, const struct queue_options *o)
{
	pthread_mutex_lock(&q->lock);
	struct queue_options full = with_defaults(o);
	q->options.age_ms = full.age_ms; /* not the callback: it is read without the lock */
	q->options.starve_ms = full.starve_ms;
	q->options.total_max = full.total_max;
	q->options.key_max = full.key_max;
	pthread_mutex_unlock(&q->lock);
}

/* Threads tell slightly different times: the latest counts. Without the lock an older one may overwrite it for a moment, which does no harm. */
static int64_t told(struct queue *q, int64_t now_ms)
{
	int64_t last = atomic_load_explicit(&q->now_ms, memory_order_relaxed);
	if (now_ms > last) {
		atomic_store_explicit(&q->now_ms, now_ms, memory_order_relaxed);
		return now_ms;
	}
	return last;
}

uint32_t queue_waiting(const struct queue *q, uint32_t model)
{
	const struct cells *cells = atomic_load_explicit(&q->models[model / CELLS % CELLS], memory_order_acquire);
	return cells ? atomic_load_explicit(&cells->waiting[model % CELLS], memory_order_relaxed) : 0;
}

bool queue_must_wait(const struct queue *q, uint32_t model)
{
	return queue_waiting(q, model) != 0;
}

/* ---- handing out ---- */

/* The target serves that model from now on. */
static void serve(struct spot *s, uint32_t model, int64_t now_ms)
{
	if (s->turn != model) {
		s->turn = model;
		s->turn_ms = now_ms;
	}
	places_serve(s->places, model);
}

/* The place is taken already. The callback follows when the lock is free. */
static void grant(struct queue *q, struct spot *s, struct ticket *t, int64_t now_ms, struct list *granted)
{
	serve(s, t->flow->line->model, now_ms);
	key_serve(q, t->flow->key, t->cost);
	lines_remove(q, t);
	t->state = TICKET_GRANTED;
	t->place = s->places;
	list_push_back(granted, &t->of_queue);
	q->granted++;
}

static void hand_out(struct queue *q, struct spot *s, int64_t now_ms, struct list *granted)
{
	while (places_free(s->places)) {
		struct ticket *t = queue_pick(q, s, now_ms);
		if (!t || !places_take(s->places))
			return;
		grant(q, s, t, now_ms, granted);
	}
}

/* Unlocks and tells. A granted ticket lives until its message is received, which is sent here. */
static void unlock_and_tell(struct queue *q, struct list *granted)
{
	pthread_mutex_unlock(&q->lock);
	LIST_EACH (granted, at) {
		struct ticket *t = CONTAINER_OF(at, struct ticket, of_queue);
		q->options.granted(q->options.user, t, t->worker);
	}
}

static void give_back_locked(struct queue *q, struct places *p, int64_t now_ms, struct list *granted)
{
	struct spot *s = spot_of(q, p);
	struct ticket *t = places_pass_on(p) ? queue_pick(q, s, now_ms) : NULL;
	if (t)
		grant(q, s, t, now_ms, granted);
	else
		places_untake(p);
	hand_out(q, s, now_ms, granted);
}

void queue_give_back(struct queue *q, struct places *p, int64_t now_ms)
{
	struct list granted;
	now_ms = told(q, now_ms);
	bool given = atomic_load(&p->wanted) == 0;
	if (given) {
		places_untake(p);
		if (atomic_load(&p->wanted) == 0)
			return;
	}
	list_init(&granted);
	pthread_mutex_lock(&q->lock);
	if (given)
		hand_out(q, spot_of(q, p), now_ms, &granted);
	else
		give_back_locked(q, p, now_ms, &granted);
	unlock_and_tell(q, &granted);
}

void queue_offer(struct queue *q, struct places *p, int64_t now_ms)
{
	struct list granted;
	list_init(&granted);
	pthread_mutex_lock(&q->lock);
	hand_out(q, spot_of(q, p), told(q, now_ms), &granted);
	unlock_and_tell(q, &granted);
}

/* ---- entering and leaving ---- */

/* A place at a target that nobody waits for. */
static struct places *take_unwanted(struct queue *q, const struct queue_ask *ask)
{
	for (uint32_t i = 0; i < ask->target_count; i++)
		if (list_empty(&spot_of(q, ask->targets[i])->seats) && places_take(ask->targets[i]))
			return ask->targets[i];
	return NULL;
}

static struct ticket *ticket_new(const struct queue_ask *ask, int64_t now_ms)
{
	struct ticket *t = mem_zero(sizeof(*t));
	*t = (struct ticket){
		.owner = ask->owner, .worker = ask->worker, .entered_ms = now_ms, .cost = weighted_cost(ask->input, ask->output, ask->weight),
		.key = ask->key, .batch = ask->batch,
	};
	list_init(&t->of_queue);
	return t;
}

static struct ticket *stand_in_line(struct queue *q, const struct queue_ask *ask, struct key *k, int64_t now_ms)
{
	struct ticket *t = ticket_new(ask, now_ms);
	struct reach *r = reach_of(q, ask->targets, ask->target_count);
	if (!k->waiting)
		key_lift(q, k, r, ask->batch ? BACK : FRONT);
	lines_add(q, t, r, ask, k);
	q->entered++;
	return t;
}

/* Looks for places again now that the ticket stands in line (see above): true where it has got one. */
static bool look_again(struct queue *q, const struct queue_ask *ask, const struct ticket *t, int64_t now_ms, struct list *granted)
{
	for (uint32_t i = 0; i < ask->target_count && t->state == TICKET_WAITING; i++)
		hand_out(q, spot_of(q, ask->targets[i]), now_ms, granted);
	return t->state == TICKET_GRANTED;
}

static enum queue_verdict enter_locked(struct queue *q, const struct queue_ask *ask, struct ticket **ticket, struct places **place, struct list *granted)
{
	int64_t now_ms = told(q, ask->now_ms);
	struct key *k = key_of(q, ask->key);
	*place = take_unwanted(q, ask);
	if (*place) {
		if (!k->waiting)
			key_lift(q, k, NULL, FRONT);
		key_serve(q, k, weighted_cost(ask->input, ask->output, ask->weight));
		serve(spot_of(q, *place), ask->model, now_ms);
		return QUEUE_TAKEN;
	}
	if (k->waiting >= q->options.key_max)
		return QUEUE_KEY_FULL;
	if (q->waiting >= q->options.total_max)
		return QUEUE_FULL;
	struct ticket *t = stand_in_line(q, ask, k, now_ms);
	if (look_again(q, ask, t, now_ms, granted)) {
		*place = t->place;
		list_remove(&t->of_queue);
		free(t);
		return QUEUE_TAKEN;
	}
	*ticket = t;
	return QUEUE_WAITS;
}

enum queue_verdict queue_enter(struct queue *q, const struct queue_ask *ask, struct ticket **ticket, struct places **place)
{
	struct list granted;
	assert(ask->target_count > 0 && ask->target_count <= QUEUE_TARGETS_MAX);
	list_init(&granted);
	*ticket = NULL;
	*place = NULL;
	pthread_mutex_lock(&q->lock);
	enum queue_verdict verdict = enter_locked(q, ask, ticket, place, &granted);
	unlock_and_tell(q, &granted);
	return verdict;
}

void *queue_owner(const struct ticket *t)
{
	return t->owner;
}

struct places *queue_receive(struct queue *q, struct ticket *t, int64_t now_ms)
{
	struct places *p = t->place;
	pthread_mutex_lock(&q->lock);
	assert(t->state != TICKET_WAITING);
	bool left = t->state == TICKET_LEFT;
	struct key *k = left ? key_find(q, t->key) : NULL;
	if (k)
		key_add(q, k, t->cost > 0 ? -t->cost : -1);
	pthread_mutex_unlock(&q->lock);
	free(t);
	if (!left)
		return p;
	queue_give_back(q, p, now_ms);
	return NULL;
}

void queue_leave(struct queue *q, struct ticket *t, int64_t now_ms)
{
	pthread_mutex_lock(&q->lock);
	told(q, now_ms);
	assert(t->state != TICKET_LEFT);
	bool waiting = t->state == TICKET_WAITING;
	if (waiting)
		lines_remove(q, t);
	else
		t->state = TICKET_LEFT;
	t->owner = NULL;
	q->left++;
	pthread_mutex_unlock(&q->lock);
	if (waiting)
		free(t);
}

/* ---- charging ---- */

void queue_charge_begin(struct queue *q, uint32_t key, uint32_t weight, int64_t input, int64_t output)
{
	pthread_mutex_lock(&q->lock);
	struct key *k = key_of(q, key);
	if (!k->waiting)
		key_lift(q, k, NULL, FRONT);
	key_serve(q, k, weighted_cost(input, output, weight));
	pthread_mutex_unlock(&q->lock);
}

/* A key that was forgotten meanwhile would be lifted when it comes back: nothing is paid back then, and what is charged comes on top of that. A key of which nothing
 * waits has used places that nobody else wanted, or has been charged before: where it stands is the level for those who come, so that it is not held against it. */
void queue_charge(struct queue *q, uint32_t key, uint32_t weight, int64_t input, int64_t output)
{
	int64_t cost = weighted_cost(input, output, weight);
	pthread_mutex_lock(&q->lock);
	struct key *k = key_find(q, key);
	if (!k && cost > 0) {
		k = key_of(q, key);
		key_lift(q, k, NULL, FRONT);
	}
	if (k && cost > 0 && !k->waiting && q->level < k->counter)
		q->level = k->counter;
	if (k)
		key_add(q, k, cost);
	pthread_mutex_unlock(&q->lock);
}
