/* queue_lines.c - where tickets stand: reaches, lines and flows, made when somebody needs them and gone with their last ticket.
 *
 * Under the queue's lock; only `places.wanted` is read without it. The structs are told in queue_parts.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

/* ---- hash tables ---- */

void hash_init(struct hash *h)
{
	*h = (struct hash){.buckets = mem_array(16, sizeof(*h->buckets)), .mask = 15};
}

void hash_release(struct hash *h)
{
	free(h->buckets);
	*h = (struct hash){0};
}

static void hash_grow(struct hash *h)
{
	size_t mask = h->mask * 2 + 1;
	struct hash_node **larger = mem_array(mask + 1, sizeof(*larger));
	for (size_t i = 0; i <= h->mask; i++) {
		for (struct hash_node *n = h->buckets[i], *next; n; n = next) {
			next = n->next;
			n->next = larger[n->hash & mask];
			larger[n->hash & mask] = n;
		}
	}
	free(h->buckets);
	h->buckets = larger;
	h->mask = mask;
}

void hash_add(struct hash *h, struct hash_node *node, uint64_t hash)
{
	if (h->count > h->mask)
		hash_grow(h);
	node->hash = hash;
	node->next = h->buckets[hash & h->mask];
	h->buckets[hash & h->mask] = node;
	h->count++;
}

void hash_remove(struct hash *h, struct hash_node *node)
{
	struct hash_node **at = &h->buckets[node->hash & h->mask];
	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	h->count--;
}

/* ---- targets, and sets of them ---- */

struct spot *spot_of(struct queue *q, struct places *p)
{
	if (p->id >= q->spot_count) {
		uint32_t count = p->id < 16 ? 32 : p->id * 2;
		q->spots = mem_grow(q->spots, count * sizeof(struct spot *));
		memset(q->spots + q->spot_count, 0, (count - q->spot_count) * sizeof(struct spot *));
		q->spot_count = count;
	}
	struct spot *s = q->spots[p->id];
	if (!s) {
		s = q->spots[p->id] = mem_zero(sizeof(*s));
		s->places = p;
		list_init(&s->seats);
	}
	assert(s->places == p);
	return s;
}

/* Sorts by id and leaves out what stands twice; returns how many are left. */
static uint32_t sort_targets(struct places *sorted[QUEUE_TARGETS_MAX], struct places *const *targets, uint32_t count)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = n;
		while (at > 0 && sorted[at - 1]->id > targets[i]->id)
			at--;
		if (at > 0 && sorted[at - 1] == targets[i])
			continue;
		memmove(sorted + at + 1, sorted + at, (n - at) * sizeof(struct places *));
		sorted[at] = targets[i];
		n++;
	}
	return n;
}

static bool reach_is(const struct reach *r, struct places *const *sorted, uint32_t count)
{
	if (r->count != count)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (r->seats[i].spot->places != sorted[i])
			return false;
	return true;
}

/* From now on who gives a place of these targets back comes to the lock. */
static struct reach *reach_new(struct queue *q, struct places *const *sorted, uint32_t count, uint64_t hash)
{
	struct reach *r = mem_zero(sizeof(*r) + count * sizeof(r->seats[0]));
	r->count = count;
	list_init(&r->lines);
	for (uint32_t i = 0; i < count; i++) {
		r->seats[i] = (struct seat){.reach = r, .spot = spot_of(q, sorted[i])};
		list_push_back(&r->seats[i].spot->seats, &r->seats[i].link);
		atomic_fetch_add(&sorted[i]->wanted, 1);
	}
	hash_add(&q->reaches, &r->node, hash);
	return r;
}

struct reach *reach_of(struct queue *q, struct places *const *targets, uint32_t count)
{
	struct places *sorted[QUEUE_TARGETS_MAX];
	assert(count > 0 && count <= QUEUE_TARGETS_MAX);
	count = sort_targets(sorted, targets, count);
	uint64_t hash = count;
	for (uint32_t i = 0; i < count; i++)
		hash = hash_mix(hash, sorted[i]->id);
	for (struct hash_node *n = q->reaches.buckets[hash & q->reaches.mask]; n; n = n->next) {
		struct reach *r = CONTAINER_OF(n, struct reach, node);
		if (n->hash == hash && reach_is(r, sorted, count))
			return r;
	}
	return reach_new(q, sorted, count, hash);
}

void reach_done(struct queue *q, struct reach *r)
{
	if (!list_empty(&r->lines))
		return;
	for (uint32_t i = 0; i < r->count; i++) {
		list_remove(&r->seats[i].link);
		atomic_fetch_sub(&r->seats[i].spot->places->wanted, 1);
	}
	hash_remove(&q->reaches, &r->node);
	free(r);
}

void reach_rivals(struct queue *q, struct reach *r, bool (*each)(void *arg, struct line *l), void *arg)
{
	uint64_t stamp = ++q->stamp;
	for (uint32_t i = 0; i < r->count; i++) {
		LIST_EACH (&r->seats[i].spot->seats, seat) {
			struct reach *other = CONTAINER_OF(seat, struct seat, link)->reach;
			if (other->stamp == stamp)
				continue;
			other->stamp = stamp;
			LIST_EACH (&other->lines, line)
				if (!each(arg, CONTAINER_OF(line, struct line, of_reach)))
					return;
		}
	}
}

/* ---- lines and flows ---- */

static struct line *line_of(struct queue *q, struct reach *r, uint32_t model)
{
	uint64_t hash = hash_mix((uintptr_t)r, model);
	for (struct hash_node *n = q->lines.buckets[hash & q->lines.mask]; n; n = n->next) {
		struct line *l = CONTAINER_OF(n, struct line, node);
		if (l->reach == r && l->model == model)
			return l;
	}
	struct line *l = mem_zero(sizeof(*l));
	l->reach = r;
	l->model = model;
	for (enum rank rank = 0; rank < RANKS; rank++)
		list_init(&l->tickets[rank]);
	list_push_back(&r->lines, &l->of_reach);
	hash_add(&q->lines, &l->node, hash);
	return l;
}

static void line_done(struct queue *q, struct line *l)
{
	struct reach *r = l->reach;
	if (l->flows)
		return;
	list_remove(&l->of_reach);
	hash_remove(&q->lines, &l->node);
	for (enum side side = FRONT; side < SIDES; side++)
		free(l->heaps[side].items);
	free(l);
	reach_done(q, r);
}

static struct flow *flow_of(struct queue *q, struct line *l, struct key *k)
{
	uint64_t hash = hash_mix((uintptr_t)l, k->serial);
	for (struct hash_node *n = q->flows.buckets[hash & q->flows.mask]; n; n = n->next) {
		struct flow *f = CONTAINER_OF(n, struct flow, node);
		if (f->line == l && f->key == k)
			return f;
	}
	struct flow *f = mem_zero(sizeof(*f));
	f->line = l;
	f->key = k;
	for (enum rank rank = 0; rank < RANKS; rank++)
		list_init(&f->tickets[rank]);
	list_push_back(&k->flows, &f->of_key);
	hash_add(&q->flows, &f->node, hash);
	l->flows++;
	return f;
}

static void flow_done(struct queue *q, struct flow *f)
{
	struct line *l = f->line;
	if (f->waiting[FRONT] || f->waiting[BACK])
		return;
	list_remove(&f->of_key);
	hash_remove(&q->flows, &f->node);
	free(f);
	l->flows--;
	line_done(q, l);
}

/* ---- tickets ---- */

static void count_model(struct queue *q, uint32_t model, uint32_t by)
{
	_Atomic(struct cells *) *at = &q->models[model / CELLS % CELLS];
	struct cells *cells = atomic_load_explicit(at, memory_order_relaxed);
	if (!cells) {
		cells = mem_zero(sizeof(*cells));
		atomic_store_explicit(at, cells, memory_order_release);
	}
	atomic_fetch_add(&cells->waiting[model % CELLS], by);
}

static void stand(struct ticket *t, enum rank rank)
{
	struct flow *f = t->flow;
	enum side side = rank_side(rank);
	t->rank = (uint8_t)rank;
	list_push_back(&f->tickets[rank], &t->of_flow);
	list_push_back(&f->line->tickets[rank], &t->of_line);
	if (t->home)
		list_push_back(&t->home->tickets[side], &t->of_home);
	f->waiting[side]++;
	f->line->waiting[side]++;
	if (flow_first(f, side) == t)
		heap_put(f, side);
}

static void step_out(struct ticket *t)
{
	struct flow *f = t->flow;
	enum side side = rank_side(t->rank);
	bool first = flow_first(f, side) == t;
	list_remove(&t->of_flow);
	list_remove(&t->of_line);
	if (t->home)
		list_remove(&t->of_home);
	f->waiting[side]--;
	f->line->waiting[side]--;
	if (first)
		heap_put(f, side);
}

void lines_add(struct queue *q, struct ticket *t, struct reach *r, const struct queue_ask *ask, struct key *k)
{
	t->flow = flow_of(q, line_of(q, r, ask->model), k);
	if (ask->home)
		home_enter(q, t, spot_of(q, ask->home));
	t->order = t->flow->entered++;
	t->seq = ++q->seq;
	list_push_back(&q->tickets, &t->of_queue);
	if (!k->waiting++)
		list_remove(&k->idle);
	q->waiting++;
	q->waiting_batch += t->batch;
	count_model(q, ask->model, 1);
	stand(t, t->batch ? RANK_BATCH : RANK_FIRST);
}

void lines_remove(struct queue *q, struct ticket *t)
{
	struct flow *f = t->flow;
	struct key *k = f->key;
	step_out(t);
	home_leave(q, t);
	list_remove(&t->of_queue);
	t->flow = NULL;
	q->waiting--;
	q->waiting_batch -= t->batch;
	count_model(q, f->line->model, UINT32_MAX); /* one less */
	flow_done(q, f);
	if (!--k->waiting)
		key_rests(q, k);
}

void lines_age(struct queue *q, struct line *l, int64_t now_ms)
{
	for (int i = 0; i < AGED_AT_ONCE; i++) {
		struct ticket *t = list_ticket_of_line(&l->tickets[RANK_BATCH]);
		if (!t || now_ms - t->entered_ms < q->options.age_ms)
			return;
		step_out(t);
		stand(t, RANK_AGED);
	}
}
