/* test_queue_plain.c - the queue against the same rules in a plain list that is searched from end to end: random operations, and both must choose alike.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random_fixture.h"

static uint64_t random_state;

static int64_t draw(int64_t least, int64_t most)
{
	return least + (int64_t)((random_next(&random_state) >> 16) % (uint64_t)(most - least + 1));
}

static void assert_sound(struct queue *q)
{
	const char *why = NULL;
	if (!queue_check(q, &why))
		fail_msg("%s", why);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 4
#else
#define ROUNDS 20
#endif

#define TARGETS 4
#define KEYS    6
#define MOST    120
#define AGE     300
#define STARVE  100
#define NEVER   INT64_MAX

/* The same rules, searched for in a list of all tickets. */
struct plain {
	struct plain_key {
		int64_t counter;
		uint64_t served;
		int waiting;
		uint32_t weight;
	} keys[KEYS];
	struct item {
		struct ticket *ticket;
		uint64_t seq;
		uint32_t key, model, targets;
		int64_t entered, cost;
		bool batch, aged;
		int place; /* where it was granted; -1: waits */
		bool left;
	} items[MOST * 2];
	int count;
	struct plain_target {
		uint32_t taken, limit, loaded, closed, turn;
		int64_t turn_ms;
	} targets[TARGETS];
	uint64_t seq, services;
	int64_t level, now;
};

struct fuzz {
	struct plain p;
	struct queue *q;
	struct places targets[TARGETS];
	struct ticket *granted[MOST * 2];
	int granted_count, expected_count;
	struct ticket *expected[MOST * 2];
	int waiting, grants, leaves, crossed, fulls, taken;
};

static bool in_front(const struct item *i)
{
	return !i->batch || i->aged;
}

static bool standing_before(const struct plain *p, const struct item *a, const struct item *b)
{
	const struct plain_key *x = &p->keys[a->key], *y = &p->keys[b->key];
	if (x->counter != y->counter)
		return x->counter < y->counter;
	return x->served != y->served ? x->served < y->served : a->seq < b->seq;
}

/* Of that side at that target; of that model where it is not 0; by coming or by standing. */
static struct item *search(struct plain *p, int target, bool front, uint32_t model, uint32_t not_model, bool by_coming)
{
	struct item *best = NULL;
	for (int k = 0; k < p->count; k++) {
		struct item *i = &p->items[k];
		if (i->place >= 0 || !(i->targets >> target & 1) || in_front(i) != front || (model && i->model != model) || (not_model && i->model == not_model))
			continue;
		if (!best || (by_coming ? i->seq < best->seq : standing_before(p, i, best)))
			best = i;
	}
	return best;
}

static struct item *plain_pick(struct plain *p, int target)
{
	struct plain_target *t = &p->targets[target];
	for (int k = 0; k < p->count; k++)
		if (p->items[k].place < 0 && p->items[k].targets >> target & 1 && p->now - p->items[k].entered >= AGE)
			p->items[k].aged = true;
	bool front = search(p, target, true, 0, 0, true) != NULL;
	if (!t->loaded)
		return search(p, target, front, 0, 0, false);
	struct item *oldest = search(p, target, front, 0, t->loaded, true), *best = NULL;
	if (oldest && p->now - (oldest->entered > t->turn_ms ? oldest->entered : t->turn_ms) >= STARVE)
		return search(p, target, front, oldest->model, 0, false);
	best = search(p, target, front, t->loaded, 0, false);
	return best ? best : search(p, target, front, 0, 0, false);
}

static void plain_serve(struct plain *p, uint32_t key, int64_t cost, int target, uint32_t model)
{
	struct plain_key *k = &p->keys[key];
	p->level = k->counter > p->level ? k->counter : p->level;
	k->counter += cost > 0 ? cost : 1;
	k->served = ++p->services;
	if (target < 0)
		return;
	struct plain_target *t = &p->targets[target];
	if (t->turn != model) {
		t->turn = model;
		t->turn_ms = p->now;
	}
	if (t->loaded)
		t->loaded = model;
}

static bool plain_free(const struct plain_target *t)
{
	return !t->closed && (!t->limit || t->taken < t->limit);
}

static void plain_grant(struct fuzz *f, struct item *i, int target)
{
	plain_serve(&f->p, i->key, i->cost, target, i->model);
	f->p.keys[i->key].waiting--;
	i->place = target;
	f->waiting--;
	f->expected[f->expected_count++] = i->ticket;
}

static void plain_hand_out(struct fuzz *f, int target)
{
	struct item *i;
	while (plain_free(&f->p.targets[target]) && (i = plain_pick(&f->p, target))) {
		f->p.targets[target].taken++;
		plain_grant(f, i, target);
	}
}

static void plain_give_back(struct fuzz *f, int target)
{
	struct plain_target *t = &f->p.targets[target];
	struct item *i = !t->closed && (!t->limit || t->taken <= t->limit) ? plain_pick(&f->p, target) : NULL;
	if (i)
		plain_grant(f, i, target);
	else
		t->taken--;
	plain_hand_out(f, target);
}

static void plain_lift(struct plain *p, uint32_t key, uint32_t targets, bool batch)
{
	int64_t floor = NEVER;
	for (int k = 0; k < p->count; k++) {
		struct item *i = &p->items[k];
		if (i->place < 0 && i->targets & targets && in_front(i) != batch && p->keys[i->key].counter < floor)
			floor = p->keys[i->key].counter;
	}
	if (floor == NEVER)
		floor = p->level;
	if (!p->keys[key].waiting && p->keys[key].counter < floor)
		p->keys[key].counter = floor;
}

static int64_t plain_cost(const struct plain *p, uint32_t key, int64_t input, int64_t output)
{
	return (input + 2 * output) * 10000 / p->keys[key].weight; /* in hundredths */
}

static void plain_charge(struct plain *p, uint32_t key, int64_t cost)
{
	int64_t sum = p->keys[key].counter + cost;
	p->keys[key].counter = sum > 0 ? sum : 0;
}

/* What both did must be the same, in the same order. */
static void agree(struct fuzz *f)
{
	assert_int_equal(f->granted_count, f->expected_count);
	for (int i = 0; i < f->granted_count; i++)
		assert_ptr_equal(f->granted[i], f->expected[i]);
	f->grants += f->granted_count;
	f->granted_count = f->expected_count = 0;
	for (int i = 0; i < TARGETS; i++) {
		assert_int_equal(atomic_load(&f->targets[i].taken), f->p.targets[i].taken);
		assert_int_equal(atomic_load(&f->targets[i].loaded), f->p.targets[i].loaded);
	}
	assert_sound(f->q);
}

static void note_fuzz_grant(void *user, struct ticket *t, void *worker)
{
	struct fuzz *f = user;
	f->granted[f->granted_count++] = t;
}

/* The target that a request gets without waiting; -1: none. */
static int plain_unwanted(struct plain *p, const int *order, int count)
{
	for (int i = 0; i < count; i++) {
		bool wanted = false;
		for (int k = 0; k < p->count; k++)
			wanted = wanted || (p->items[k].place < 0 && p->items[k].targets >> order[i] & 1);
		if (!wanted && plain_free(&p->targets[order[i]]))
			return order[i];
	}
	return -1;
}

static void fuzz_enter(struct fuzz *f)
{
	struct plain *p = &f->p;
	struct places *targets[TARGETS], *place;
	struct item i = {.key = (uint32_t)draw(0, KEYS - 1), .model = (uint32_t)draw(1, 3), .batch = draw(0, 2) == 0, .entered = p->now, .place = -1};
	int order[TARGETS], n = (int)draw(1, TARGETS);
	for (int k = 0; k < n; k++) {
		order[k] = (int)draw(0, TARGETS - 1);
		targets[k] = &f->targets[order[k]];
		i.targets |= 1u << order[k];
	}
	struct queue_ask a = {.model = i.model, .key = i.key, .weight = p->keys[i.key].weight, .batch = i.batch, .input = draw(0, 50) * draw(0, 50),
			      .output = draw(0, 20), .targets = targets, .target_count = (uint32_t)n, .now_ms = p->now};
	i.cost = plain_cost(p, i.key, a.input, a.output);
	int at = plain_unwanted(p, order, n);
	enum queue_verdict v = queue_enter(f->q, &a, &i.ticket, &place), expected = at >= 0 ? QUEUE_TAKEN : f->waiting < MOST ? QUEUE_WAITS : QUEUE_FULL;
	assert_int_equal(v, expected);
	f->fulls += v == QUEUE_FULL;
	f->taken += v == QUEUE_TAKEN;
	if (v == QUEUE_TAKEN) {
		assert_ptr_equal(place, &f->targets[at]);
		plain_lift(p, i.key, 0, false);
		plain_serve(p, i.key, i.cost, at, i.model);
		p->targets[at].taken++;
	} else if (v == QUEUE_WAITS) {
		i.seq = ++p->seq;
		plain_lift(p, i.key, i.targets, i.batch);
		p->keys[i.key].waiting++;
		p->items[p->count++] = i;
		f->waiting++;
	}
}

static void forget_item(struct plain *p, struct item *i)
{
	*i = p->items[--p->count];
}

static void fuzz_leave(struct fuzz *f, struct item *i)
{
	if (i->left)
		return;
	queue_leave(f->q, i->ticket, f->p.now);
	f->leaves++;
	if (i->place >= 0) {
		i->left = true;
		f->crossed++;
		return;
	}
	f->p.keys[i->key].waiting--;
	f->waiting--;
	forget_item(&f->p, i);
}

static struct item *p_end(struct plain *p)
{
	return p->items + p->count;
}

/* The first that was granted, from there on. */
static void fuzz_receive(struct fuzz *f, struct item *i)
{
	while (i->place < 0)
		if (++i == p_end(&f->p))
			return;
	struct item gone = *i;
	forget_item(&f->p, i);
	struct places *place = queue_receive(f->q, gone.ticket, f->p.now);
	assert_ptr_equal(place, gone.left ? NULL : &f->targets[gone.place]);
	if (gone.left) {
		plain_charge(&f->p, gone.key, gone.cost > 0 ? -gone.cost : -1);
		plain_give_back(f, gone.place);
	}
}

/* A place whose grant was received, or that was taken without waiting. */
static void fuzz_give_back(struct fuzz *f, int target)
{
	uint32_t on_the_way = 0;
	for (int k = 0; k < f->p.count; k++)
		on_the_way += f->p.items[k].place == target;
	if (f->p.targets[target].taken <= on_the_way)
		return;
	plain_give_back(f, target);
	queue_give_back(f->q, &f->targets[target], f->p.now);
}

static void fuzz_charge(struct fuzz *f)
{
	struct plain *p = &f->p;
	uint32_t key = (uint32_t)draw(0, KEYS - 1);
	int64_t input = draw(-900, 900), output = draw(-50, 50);
	if (draw(0, 1)) {
		plain_lift(p, key, 0, false);
		plain_serve(p, key, plain_cost(p, key, input, output), -1, 0);
		queue_charge_begin(f->q, key, p->keys[key].weight, input, output);
		return;
	}
	if (!p->keys[key].served) /* not known to the queue */
		return;
	if (plain_cost(p, key, input, output) > 0 && !p->keys[key].waiting && p->keys[key].counter > p->level)
		p->level = p->keys[key].counter;
	plain_charge(p, key, plain_cost(p, key, input, output));
	queue_charge(f->q, key, p->keys[key].weight, input, output);
}

static void fuzz_target(struct fuzz *f, int target)
{
	struct plain_target *t = &f->p.targets[target];
	switch (draw(0, 4)) {
	case 0:
		t->limit = draw(0, 40) ? (uint32_t)draw(1, 5) : 0;
		break;
	case 1:
		t->closed = draw(0, 7) == 0;
		break;
	default:
		t->loaded = (uint32_t)draw(0, 3);
	}
	atomic_store(&f->targets[target].limit, t->limit);
	atomic_store(&f->targets[target].closed, t->closed);
	atomic_store(&f->targets[target].loaded, t->loaded);
	plain_hand_out(f, target);
	queue_offer(f->q, &f->targets[target], f->p.now);
}

static void fuzz_step(struct fuzz *f)
{
	struct plain *p = &f->p;
	int what = (int)draw(0, 99), target = (int)draw(0, TARGETS - 1);
	struct item *some = p->count ? &p->items[draw(0, p->count - 1)] : NULL;
	p->now += draw(0, 3);
	if (what < 26)
		fuzz_enter(f);
	else if (what < 64)
		fuzz_give_back(f, target);
	else if (what < 67 && some)
		fuzz_leave(f, some);
	else if (what < 90 && some)
		fuzz_receive(f, some);
	else if (what < 98)
		fuzz_charge(f);
	else if (what < 100)
		fuzz_target(f, target);
	agree(f);
}

static void fuzz_close(struct fuzz *f)
{
	struct plain *p = &f->p;
	while (p->count) {
		if (p->items[0].place < 0)
			fuzz_leave(f, &p->items[0]);
		else
			fuzz_receive(f, &p->items[0]);
		agree(f);
	}
	for (int i = 0; i < TARGETS; i++)
		while (p->targets[i].taken)
			fuzz_give_back(f, i);
	agree(f);
	queue_free(f->q);
}

static void like_a_plain_list(void **state)
{
	static struct fuzz f;
	int all[5] = {0};
	for (uint64_t round = 0; round < ROUNDS; round++) {
		random_state = 0x9e3779b97f4a7c15u * (round + 1);
		memset(&f, 0, sizeof(f));
		f.q = queue_new(&(struct queue_options){.age_ms = AGE, .starve_ms = STARVE, .total_max = MOST, .granted = note_fuzz_grant, .user = &f});
		f.p.now = 1;
		for (uint32_t i = 0; i < KEYS; i++)
			f.p.keys[i].weight = (uint32_t)draw(1, 4) * 50;
		for (uint32_t i = 0; i < TARGETS; i++) {
			f.targets[i].id = i * 7;
			f.p.targets[i].limit = (uint32_t)draw(1, 5);
			atomic_store(&f.targets[i].limit, f.p.targets[i].limit);
		}
		for (int i = 0; i < 10000; i++)
			fuzz_step(&f);
		const int seen[5] = {f.grants, f.leaves, f.crossed, f.fulls, f.taken};
		for (int i = 0; i < 5; i++)
			all[i] += seen[i];
		fuzz_close(&f);
	}
	print_message("           %d grants, %d left, %d of them after their grant, %d refused, %d need not wait\n", all[0], all[1], all[2], all[3], all[4]);
	for (int i = 0; i < 5; i++)
		assert_true(all[i] > 10 * ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_a_plain_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
