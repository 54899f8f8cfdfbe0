/* test_queue_fair.c - who is served when: an engine and its clients, simulated with a virtual clock.
 *
 * The clock of the simulation counts milliseconds; whatever happens at one moment is settled and checked before it moves on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
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

/* ---- the simulation ---- */

#define CLIENTS  16
#define PLACES   16
#define GRANTS   64
#define NEVER    INT64_MAX

/* One key. It keeps `depth` requests under way, or sends one every so often. */
struct client {
	uint32_t weight, depth;
	uint32_t models;                 /* draws one of that many; 0: always the first */
	bool batch, guess;               /* guess: the length of its answers is not known before */
	int64_t every_least, every_most; /* between two requests where depth is 0 */
	int64_t input_most, output_most, from_ms;

	int64_t next_ms;
	uint32_t under_way;
	int64_t service, sent, done, refused, wait_most, wait_sum, wait_first;
};

struct job {
	struct client *client;
	struct ticket *ticket;
	uint32_t model;
	int64_t input, output, entered_ms, end_ms;
};

struct sim {
	struct queue *q;
	struct places target;
	struct client clients[CLIENTS];
	int client_count;
	struct job *running[PLACES];
	int running_count;
	struct ticket *granted[GRANTS];
	int granted_count;
	uint32_t looks;
	int64_t now, swap_ms, swaps, fifo_swaps, service_most;
	uint32_t engine_model, last_model;
	int64_t apart_least, apart_most; /* of the first two clients' weighted service, once both are there */
};

static void note_grant(void *user, struct ticket *t, void *worker)
{
	struct sim *s = user;
	assert_true(s->granted_count < GRANTS);
	s->granted[s->granted_count++] = t;
}

static void sim_open(struct sim *s, uint32_t places, struct queue_options o)
{
	random_state = 88172645463325252u;
	*s = (struct sim){.now = 1, .apart_least = NEVER, .apart_most = -NEVER};
	o.granted = note_grant;
	o.user = s;
	s->q = queue_new(&o);
	atomic_store(&s->target.limit, places);
}

static struct client *sim_client(struct sim *s, struct client like)
{
	struct client *c = &s->clients[s->client_count++];
	*c = like;
	c->weight = c->weight ? c->weight : 100;
	c->next_ms = c->from_ms;
	return c;
}

static uint32_t key_of_client(const struct sim *s, const struct client *c)
{
	return (uint32_t)(c - s->clients) + 1;
}

/* How far the first two are apart, from when both are there. */
static void compare(struct sim *s)
{
	if (s->client_count < 2 || s->now < s->clients[0].from_ms || s->now < s->clients[1].from_ms || s->clients[0].sent == 0 || s->clients[1].sent == 0)
		return;
	int64_t apart = s->clients[0].service * 100 / s->clients[0].weight - s->clients[1].service * 100 / s->clients[1].weight;
	s->apart_least = apart < s->apart_least ? apart : s->apart_least;
	s->apart_most = apart > s->apart_most ? apart : s->apart_most;
}

static void serve(struct sim *s, struct client *c, int64_t tokens)
{
	c->service += tokens;
	compare(s);
}

/* 1 ms for 100 tokens of input, 1 ms for each of output. */
static void start(struct sim *s, struct job *j)
{
	struct client *c = j->client;
	int64_t took = 1 + j->input / 100 + j->output, waited = s->now - j->entered_ms;
	if (s->swap_ms && s->engine_model != j->model) {
		took += s->swap_ms;
		s->engine_model = j->model;
		s->swaps++;
	}
	c->wait_sum += waited;
	if (!c->done && !c->wait_first)
		c->wait_first = waited;
	if (waited > c->wait_most)
		c->wait_most = waited;
	j->end_ms = s->now + took;
	s->service_most = took > s->service_most ? took : s->service_most;
	assert_true(s->running_count < PLACES);
	s->running[s->running_count++] = j;
	serve(s, c, j->input);
}

static void start_granted(struct sim *s)
{
	for (int i = 0; i < s->granted_count; i++) {
		struct job *j = queue_owner(s->granted[i]);
		assert_ptr_equal(queue_receive(s->q, s->granted[i], s->now), &s->target);
		start(s, j);
	}
	s->granted_count = 0;
	if (s->looks++ % (queue_waiting(s->q, 1) / 20 + 1) == 0) /* looking takes the longer the more wait */
		assert_sound(s->q);
	assert_true(!atomic_load(&s->target.wanted) || atomic_load(&s->target.taken) == atomic_load(&s->target.limit)); /* no place idle */
}

static struct job *job_new(struct sim *s, struct client *c)
{
	struct job *j = mem_zero(sizeof(*j));
	*j = (struct job){.client = c, .model = c->models ? (uint32_t)draw(1, c->models) : 1, .input = draw(c->input_most / 2, c->input_most),
			  .output = draw(c->output_most / 2, c->output_most), .entered_ms = s->now};
	s->fifo_swaps += j->model != s->last_model;
	s->last_model = j->model;
	c->sent++;
	return j;
}

/* As a request does it: a place without waiting, or a ticket. */
static void send_one(struct sim *s, struct client *c)
{
	struct job *j = job_new(s, c);
	struct places *targets[] = {&s->target}, *place;
	int64_t guess = c->guess ? 0 : j->output;
	struct queue_ask a = {.model = j->model, .key = key_of_client(s, c), .weight = c->weight, .batch = c->batch, .input = j->input, .output = guess,
			      .targets = targets, .target_count = 1, .owner = j, .now_ms = s->now};
	c->under_way++;
	if (!queue_must_wait(s->q, j->model) && places_take(&s->target)) {
		queue_charge_begin(s->q, a.key, c->weight, j->input, guess);
		places_serve(&s->target, j->model);
		start(s, j);
		return;
	}
	enum queue_verdict v = queue_enter(s->q, &a, &j->ticket, &place);
	if (v == QUEUE_TAKEN) {
		start(s, j);
	} else if (v != QUEUE_WAITS) {
		c->refused++;
		c->under_way--;
		free(j);
	}
	start_granted(s);
}

static void send_due(struct sim *s)
{
	for (int i = 0; i < s->client_count; i++) {
		struct client *c = &s->clients[i];
		while (c->depth && s->now >= c->from_ms && c->under_way < c->depth)
			send_one(s, c);
		while (!c->depth && s->now >= c->next_ms) {
			c->next_ms += draw(c->every_least, c->every_most);
			send_one(s, c);
		}
	}
}

static void end(struct sim *s, struct job *j)
{
	struct client *c = j->client;
	serve(s, c, 2 * j->output);
	if (c->guess)
		queue_charge(s->q, key_of_client(s, c), c->weight, 0, j->output);
	c->done++;
	c->under_way--;
	free(j);
	queue_give_back(s->q, &s->target, s->now);
	start_granted(s);
}

static void end_due(struct sim *s)
{
	for (int i = 0; i < s->running_count;) {
		struct job *j = s->running[i];
		if (j->end_ms > s->now) {
			i++;
			continue;
		}
		s->running[i] = s->running[--s->running_count];
		end(s, j);
	}
}

static int64_t next_event(const struct sim *s)
{
	int64_t next = NEVER;
	for (int i = 0; i < s->running_count; i++)
		next = s->running[i]->end_ms < next ? s->running[i]->end_ms : next;
	for (int i = 0; i < s->client_count; i++) {
		const struct client *c = &s->clients[i];
		int64_t at = !c->depth ? c->next_ms : s->now < c->from_ms ? c->from_ms : NEVER;
		next = at < next ? at : next;
	}
	return next;
}

static void sim_run(struct sim *s, int64_t until_ms)
{
	while (s->now < until_ms) {
		send_due(s);
		s->now = next_event(s);
		end_due(s);
	}
}

/* Nobody sends any more; all that is under way ends. */
static void sim_close(struct sim *s)
{
	for (int i = 0; i < s->client_count; i++) {
		s->clients[i].depth = 0;
		s->clients[i].next_ms = NEVER;
	}
	while (s->running_count) {
		s->now = next_event(s);
		end_due(s);
	}
	assert_int_equal(atomic_load(&s->target.taken), 0);
	assert_sound(s->q);
	queue_free(s->q);
}

/* ---- fairness between keys ---- */

/* The paper's bound on how far the service of two keys that always wait can move apart, in any stretch of time. */
static int64_t bound(int64_t places, int64_t input, int64_t output, int64_t least_weight)
{
	int64_t of_places = places * 2 * output;
	return 2 * (input > of_places ? input : of_places) * 100 / least_weight;
}

static void assert_apart(struct sim *s, const char *what, int64_t most)
{
	print_message("           %s: at most %lld apart, bound %lld, served %lld and %lld\n", what, (long long)(s->apart_most - s->apart_least), (long long)most,
		      (long long)s->clients[0].service, (long long)s->clients[1].service);
	assert_true(s->clients[0].service > 20 * most && s->clients[1].service > 20 * most);
	assert_true(s->apart_most - s->apart_least <= most);
}

static void two_that_always_wait(void **state)
{
	for (int guess = 0; guess < 2; guess++) {
		for (uint32_t places = 1; places <= 8; places *= 8) {
			struct sim s;
			sim_open(&s, places, (struct queue_options){0});
			sim_client(&s, (struct client){.depth = 40, .input_most = 3000, .output_most = 100, .guess = guess});
			sim_client(&s, (struct client){.depth = 20, .input_most = 200, .output_most = 400, .guess = guess});
			sim_run(&s, 1000000);
			assert_apart(&s, guess ? "lengths not known before" : "lengths known", bound(places, 3000, 400, 100));
			sim_close(&s);
		}
	}
}

static void weights_one_to_three(void **state)
{
	struct sim s;
	sim_open(&s, 4, (struct queue_options){0});
	struct client *one = sim_client(&s, (struct client){.weight = 50, .depth = 20, .input_most = 1000, .output_most = 200, .guess = true});
	struct client *three = sim_client(&s, (struct client){.weight = 150, .depth = 20, .input_most = 1000, .output_most = 200, .guess = true});
	sim_run(&s, 1000000);
	assert_apart(&s, "weights 1 and 3", bound(4, 1000, 200, 50));
	assert_in_range(three->service * 1000 / one->service, 2980, 3020);
	sim_close(&s);
}

/* The second key comes when the first has had everything for itself for a long time; neither is ahead then. */
static void time_away_is_not_saved(void **state)
{
	struct sim s;
	sim_open(&s, 4, (struct queue_options){0});
	sim_client(&s, (struct client){.depth = 30, .input_most = 500, .output_most = 300});
	struct client *late = sim_client(&s, (struct client){.depth = 30, .input_most = 500, .output_most = 300, .from_ms = 500000});
	sim_run(&s, 500000);
	assert_int_equal(late->service, 0);
	s.clients[0].service = 0;
	sim_run(&s, 1500000);
	assert_apart(&s, "one comes late", bound(4, 500, 300, 100));
	sim_close(&s);
}

/* The same, where the first has never waited: it used places that nobody wanted, and that is not held against it. */
static void idle_places_are_free(void **state)
{
	struct sim s;
	sim_open(&s, 4, (struct queue_options){0});
	sim_client(&s, (struct client){.depth = 30, .input_most = 500, .output_most = 300, .from_ms = 500000}); /* comes before the other waits */
	struct client *c = sim_client(&s, (struct client){.depth = 3, .input_most = 500, .output_most = 300});
	sim_run(&s, 500000);
	assert_int_equal(c->wait_most, 0);
	c->depth = 30;
	c->service = 0;
	sim_run(&s, 1500000);
	assert_apart(&s, "one was alone", bound(4, 500, 300, 100));
	sim_close(&s);
}

/* Waiting times of a key that asks now and then, alone and beside one that asks 50 times as often. */
static void a_flood_from_one_key(void **state)
{
	for (uint32_t places = 1; places <= 4; places *= 4) {
		int64_t most[2], mean[2];
		for (int flooded = 0; flooded < 2; flooded++) {
			struct sim s;
			sim_open(&s, places, (struct queue_options){0});
			struct client *c = sim_client(&s, (struct client){.every_least = 400, .every_most = 1200, .input_most = 500, .output_most = 100});
			if (flooded)
				sim_client(&s, (struct client){.every_least = 8, .every_most = 24, .input_most = 500, .output_most = 100});
			sim_run(&s, 2000000);
			most[flooded] = c->wait_most;
			mean[flooded] = c->wait_sum / c->done;
			assert_true(c->done > 2000 && c->refused == 0);
			assert_true(!flooded || s.clients[1].refused > 1000);
			if (flooded)
				assert_true(most[1] <= most[0] + s.service_most);
			sim_close(&s);
		}
		print_message("           %u places: waits at most %lld ms alone, %lld ms in the flood (mean %lld)\n", places, (long long)most[0], (long long)most[1],
			      (long long)mean[1]);
	}
}

/* ---- classes and models ---- */

static void batch_starves_no_longer_than_it_may(void **state)
{
	struct sim s;
	sim_open(&s, 2, (struct queue_options){.age_ms = 5000});
	for (int i = 0; i < 3; i++)
		sim_client(&s, (struct client){.depth = 10, .input_most = 500, .output_most = 100});
	struct client *batch = sim_client(&s, (struct client){.depth = 1, .batch = true, .input_most = 500, .output_most = 100, .from_ms = 1000});
	sim_run(&s, 500000);
	print_message("           batch waits at most %lld ms, first %lld ms\n", (long long)batch->wait_most, (long long)batch->wait_first);
	assert_true(batch->done > 50);
	assert_true(batch->wait_first >= 5000);
	assert_true(batch->wait_most <= 5000 + s.service_most);
	sim_close(&s);
}

static void batch_has_what_others_leave(void **state)
{
	struct sim s;
	sim_open(&s, 2, (struct queue_options){0});
	struct client *c = sim_client(&s, (struct client){.every_least = 100, .every_most = 300, .input_most = 500, .output_most = 100});
	struct client *batch = sim_client(&s, (struct client){.depth = 50, .batch = true, .input_most = 500, .output_most = 100});
	sim_run(&s, 200000);
	assert_true(c->wait_most <= s.service_most);
	assert_true(batch->done > 3 * c->done / 2); /* two places, of which the other uses less than one */
	sim_close(&s);
}

/* An engine that holds one of two models, and takes two seconds to change them. */
static void models_change_rarely(void **state)
{
	struct sim s;
	const int64_t starve_ms = 10000;
	sim_open(&s, 1, (struct queue_options){.starve_ms = starve_ms});
	s.swap_ms = 2000;
	s.engine_model = 1;
	s.last_model = 1;
	atomic_store(&s.target.loaded, 1);
	for (int i = 0; i < 4; i++)
		sim_client(&s, (struct client){.every_least = 400, .every_most = 1200, .models = 2, .input_most = 500, .output_most = 100});
	sim_run(&s, 2000000);
	int64_t waited = 0;
	for (int i = 0; i < 4; i++)
		waited = s.clients[i].wait_most > waited ? s.clients[i].wait_most : waited;
	print_message("           %lld changes, %lld in the order of coming; waits at most %lld ms, a service takes up to %lld\n", (long long)s.swaps,
		      (long long)s.fifo_swaps, (long long)waited, (long long)s.service_most);
	assert_true(s.swaps > 50);
	assert_true(s.swaps * 5 <= s.fifo_swaps);
	assert_true(waited <= starve_ms + s.service_most);
	sim_close(&s);
}

/* More than it can serve, of both: they take turns of that length, and not with every request. */
static void two_models_with_long_lines(void **state)
{
	struct sim s;
	sim_open(&s, 1, (struct queue_options){.starve_ms = 10000});
	s.swap_ms = 1000;
	s.engine_model = 1;
	atomic_store(&s.target.loaded, 1);
	for (int i = 0; i < 2; i++)
		sim_client(&s, (struct client){.depth = 400, .models = 2, .input_most = 500, .output_most = 100});
	sim_run(&s, 1000000);
	assert_in_range(s.swaps, 80, 101);
	sim_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_that_always_wait),
		cmocka_unit_test(weights_one_to_three),
		cmocka_unit_test(time_away_is_not_saved),
		cmocka_unit_test(idle_places_are_free),
		cmocka_unit_test(a_flood_from_one_key),
		cmocka_unit_test(batch_starves_no_longer_than_it_may),
		cmocka_unit_test(batch_has_what_others_leave),
		cmocka_unit_test(models_change_rarely),
		cmocka_unit_test(two_models_with_long_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
