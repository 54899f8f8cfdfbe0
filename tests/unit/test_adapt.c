/* test_adapt.c - places that are learned, against simulated engines: hidden slots are found, also when they change; engines that work on all at once are left alone;
 * noise does no harm. The gateway's side is the real thing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "gate/adapt.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "random_fixture.h"

#define ACTIVE  256
#define CLIENTS 256

/* ---- the world ---- */

struct job {
	double sent, first, began, prefill, decode; /* work left in microseconds, alone */
	uint32_t client, others, input, output;
	struct job *next;
};

struct line {
	struct job *first, **last;
	uint32_t count;
};

struct load {
	uint32_t clients;         /* closed loop; 0: open */
	double think_us, apart_us;
	uint32_t input_least, input_spread, output_least, output_mean; /* tokens; spread evenly; exponential beyond the least */
	double prefill_us, decode_us; /* a token */
	double cached;            /* share of the requests whose prompt is cached */
	bool whole;               /* no streams */
};

struct world {
	struct load load;
	uint32_t slots;           /* ACTIVE: it works on all */
	double share;             /* each beside it slows a request by that share of itself */
	double prefill_share;     /* negative: the same for prompts */
	bool unlimited;           /* what is learned is not used */
	struct adapt adapt;
	struct places places;
	struct job *jobs[ACTIVE];
	uint32_t active;
	struct line inside, outside;
	double wakes[CLIENTS], now, next_arrival, stalled_until;
	uint64_t random, done, trials;
	double output_done, measured_from;
	uint32_t lowest, highest; /* limits since measured_from; 0 counts as ACTIVE */
	double limit_time;        /* its integral */
	double waited_inside, waited_count;
};

static double fraction(struct world *w)
{
	return (double)(random_next(&w->random) >> 11) / (double)(UINT64_C(1) << 53);
}

static double exponential(struct world *w, double mean)
{
	return -mean * log(1 - fraction(w));
}

static void line_put(struct line *l, struct job *j)
{
	j->next = NULL;
	if (!l->first)
		l->last = &l->first;
	*l->last = j;
	l->last = &j->next;
	l->count++;
}

static struct job *line_get(struct line *l)
{
	struct job *j = l->first;
	l->first = j->next;
	l->count--;
	return j;
}

static void activate(struct world *w)
{
	while (w->inside.first && w->active < w->slots && w->active < ACTIVE) {
		struct job *j = line_get(&w->inside);
		j->began = w->now;
		w->jobs[w->active++] = j;
	}
}

static void send_waiting(struct world *w)
{
	while (w->outside.first && (w->unlimited ? w->places.taken < ACTIVE * 4 : w->places.limit == 0 || w->places.taken < w->places.limit)) {
		struct job *j = line_get(&w->outside);
		j->sent = w->now;
		j->others = w->places.taken++;
		line_put(&w->inside, j);
	}
	activate(w);
}

static void arrive(struct world *w, uint32_t client)
{
	const struct load *l = &w->load;
	struct job *j = mem_zero(sizeof(*j));
	j->client = client;
	j->input = l->input_least + (uint32_t)(fraction(w) * l->input_spread);
	j->output = l->output_least + (uint32_t)exponential(w, l->output_mean);
	j->prefill = 5000 + (fraction(w) < l->cached ? 0.05 : 1) * j->input * l->prefill_us;
	j->decode = j->output * l->decode_us;
	line_put(&w->outside, j);
	send_waiting(w);
}

static struct adapt_answer answer_of(const struct world *w, const struct job *j)
{
	return (struct adapt_answer){
		.first_us = !w->load.whole && j->first > 0 ? (int64_t)(j->first - j->sent) : 0, .others = j->others, .now_us = (int64_t)w->now};
}

static void first_token(struct world *w, struct job *j)
{
	j->first = w->now;
	if (w->load.whole)
		return;
	struct adapt_answer a = answer_of(w, j);
	adapt_first(&w->adapt, &w->places, NULL, &a);
}

static void note_limit(struct world *w, double before)
{
	uint32_t limit = w->places.limit ? w->places.limit : ACTIVE;
	if (w->now < w->measured_from)
		return;
	w->lowest = limit < w->lowest ? limit : w->lowest;
	w->highest = limit > w->highest ? limit : w->highest;
	w->limit_time += limit * (w->now - before);
}

static void finish(struct world *w, uint32_t at)
{
	struct job *j = w->jobs[at];
	struct adapt_answer a = answer_of(w, j);
	a.took_us = (int64_t)(w->now - j->sent);
	a.output = j->output;
	adapt_done(&w->adapt, &w->places, NULL, &a);
	w->jobs[at] = w->jobs[--w->active];
	w->places.taken--;
	w->done++;
	w->output_done += j->output;
	if (w->load.clients)
		w->wakes[j->client] = w->now + exponential(w, w->load.think_us);
	if (w->now >= w->measured_from) {
		w->waited_inside += j->began - j->sent;
		w->waited_count++;
	}
	free(j);
	send_waiting(w);
}

static double slowed(const struct world *w, const struct job *j)
{
	double share = j->first > 0 || w->prefill_share < 0 ? w->share : w->prefill_share;
	return w->now < w->stalled_until ? 1e9 : 1 + share * (w->active ? w->active - 1 : 0);
}

static double *left(struct job *j)
{
	return j->first > 0 ? &j->decode : &j->prefill;
}

static void advance(struct world *w, double to)
{
	double before = w->now;
	for (uint32_t k = 0; k < w->active; k++)
		*left(w->jobs[k]) -= (to - before) / slowed(w, w->jobs[k]);
	w->now = to;
	note_limit(w, before);
}

/* Until so many more answers are done, or so much time has passed. */
static void run(struct world *w, uint64_t answers, double seconds)
{
	uint64_t until = w->done + answers;
	double end = w->now + seconds * 1e6;
	w->lowest = UINT32_MAX;
	w->highest = 0;
	w->limit_time = w->waited_inside = w->waited_count = w->output_done = 0;
	w->measured_from = w->now;
	while (w->done < until && w->now < end) {
		double at = w->load.clients ? INFINITY : w->next_arrival;
		uint32_t client = 0;
		int job = -1;
		for (uint32_t i = 0; i < w->load.clients; i++)
			if (w->wakes[i] < at) {
				at = w->wakes[i];
				client = i;
			}
		for (uint32_t k = 0; k < w->active; k++) {
			double then = w->now + *left(w->jobs[k]) * slowed(w, w->jobs[k]);
			if (then < at) {
				at = then;
				job = (int)k;
			}
		}
		if (w->now < w->stalled_until && at > w->stalled_until) {
			advance(w, w->stalled_until);
			continue;
		}
		advance(w, at > w->now ? at : w->now);
		if (job >= 0 && w->jobs[job]->first == 0) {
			first_token(w, w->jobs[job]);
		} else if (job >= 0) {
			finish(w, (uint32_t)job);
		} else {
			w->wakes[client] = INFINITY;
			w->next_arrival = w->now + exponential(w, w->load.apart_us);
			arrive(w, client);
		}
	}
}

static struct world *world_new(uint32_t slots, double share, const struct load *load, uint64_t seed)
{
	struct world *w = mem_zero(sizeof(*w));
	w->slots = slots;
	w->share = share;
	w->prefill_share = -1;
	w->load = *load;
	w->random = 88172645463325252U + seed * UINT64_C(0x9e3779b97f4a7c15);
	for (uint32_t i = 0; i < load->clients; i++)
		w->wakes[i] = (double)i * 1000;
	adapt_switch(&w->adapt, &w->places, true);
	return w;
}

static void world_free(struct world *w)
{
	for (uint32_t k = 0; k < w->active; k++)
		free(w->jobs[k]);
	while (w->inside.first)
		free(line_get(&w->inside));
	while (w->outside.first)
		free(line_get(&w->outside));
	free(w);
}

static const struct load chat = {
	.clients = 40, .think_us = 1000, .input_least = 50, .input_spread = 1000, .output_least = 10, .output_mean = 120, .prefill_us = 250, .decode_us = 10000};

static struct load with(struct load l, uint32_t clients)
{
	l.clients = clients;
	return l;
}

/* Output tokens a second. */
static double rate(struct world *w, uint64_t answers)
{
	double from = w->now;
	run(w, answers, 1e9);
	return w->output_done / (w->now - from) * 1e6;
}

static bool is_near(double limit, uint32_t slots)
{
	return limit >= slots - 1 - slots / 4.0 && limit <= slots + (slots / 4.0 > 1 ? slots / 4.0 : 1);
}

/* ---- hidden slots ---- */

/* Answers until the limit is about right for the first time. */
static uint64_t search(struct world *w, uint32_t slots, uint64_t most)
{
	uint64_t from = w->done;
	while (w->done - from < most) {
		run(w, 1, 1e9);
		if (w->places.limit && is_near(w->places.limit, slots))
			return w->done - from;
	}
	return most + 1;
}

struct found {
	uint64_t after;           /* answers */
	double mean, kept;        /* limit, and throughput of what there is without one */
};

static struct found look_for(const char *what, uint32_t slots, double share, const struct load *load, uint64_t seed)
{
	struct world *w = world_new(slots, share, load, seed), *without = world_new(slots, share, load, seed);
	struct found f = {0};
	without->unlimited = true;
	f.after = search(w, slots, 1000);
	run(w, 200, 1e9);
	rate(without, f.after + 200);
	double from = w->now, got = rate(w, 2000);
	f.mean = w->limit_time / (w->now - from);
	f.kept = got / rate(without, 2000);
	print_message("%-28s %2u slots, %3u in flight at most: found after %4llu, then %u to %u, mean %.2f; %.3f of the throughput; waits inside %.2f -> %.2f s\n", what, slots,
		      load->clients, (unsigned long long)f.after, w->lowest, w->highest, f.mean, f.kept, without->waited_inside / without->waited_count / 1e6,
		      w->waited_inside / w->waited_count / 1e6);
	world_free(w);
	world_free(without);
	return f;
}

#define SEEDS 3

static void finds_hidden_slots(void **state)
{
	static const uint32_t slots[] = {1, 2, 4, 16};
	uint32_t near = 0, all = 0;
	for (size_t i = 0; i < 4; i++)
		for (uint32_t clients = slots[i] * 2; clients <= 64; clients *= 2)
			for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
				struct load l = with(chat, clients);
				struct found f = look_for(seed % 2 ? "chat, beside each other slower" : "chat", slots[i], seed % 2 ? 0.05 : 0, &l, seed);
				assert_true(f.after <= clients + 64);
				assert_true(f.kept >= 0.95);
				near += is_near(f.mean, slots[i]); /* a trial that chance speaks against is repeated later: then there was no limit for a while */
				all++;
			}
	print_message("near: %u of %u\n", near, all);
	assert_true(near * 100 >= all * 95);
}

/* Answers that are no streams show only how long all took. */
static void finds_hidden_slots_without_streams(void **state)
{
	static const uint32_t slots[] = {1, 2, 4, 16};
	uint32_t near = 0, all = 0;
	for (size_t i = 0; i < 4; i++)
		for (uint32_t clients = slots[i] * 4; clients <= 64; clients *= 2)
			for (uint64_t seed = 0; seed < SEEDS; seed++) {
				struct load l = with(chat, clients);
				l.whole = true;
				struct found f = look_for("no streams", slots[i], 0, &l, seed);
				assert_true(f.after <= 300);
				assert_true(f.kept >= 0.95);
				near += is_near(f.mean, slots[i]);
				all++;
			}
	print_message("near: %u of %u\n", near, all);
	assert_true(near * 4 >= all * 3);
}

/* Prompts of very different lengths, of which half are cached: the time to the first token says little by itself. */
static void finds_hidden_slots_in_noise(void **state)
{
	static const uint32_t slots[] = {1, 2, 4, 16};
	uint32_t near = 0, all = 0;
	for (size_t i = 0; i < 4; i++)
		for (uint32_t clients = slots[i] * 4; clients <= 64; clients *= 2)
			for (uint64_t seed = 0; seed < SEEDS; seed++) {
				struct load l = with(chat, clients);
				l.input_spread = 4000;
				l.cached = 0.5;
				struct found f = look_for("half of the prompts cached", slots[i], 0, &l, seed);
				assert_true(f.after <= 300);
				assert_true(f.kept >= 0.93);
				near += is_near(f.mean, slots[i]);
				all++;
			}
	print_message("near: %u of %u\n", near, all);
	assert_true(near * 4 >= all * 3);
}

static double kept_of(const char *what, double share, const struct load *load, uint64_t seed)
{
	struct world *w = world_new(ACTIVE, share, load, seed), *without = world_new(ACTIVE, share, load, seed);
	without->unlimited = true;
	double got = rate(w, 6000), kept = got / rate(without, 6000);
	print_message("%-28s share %.2f, %3u in flight at most: %.3f of the throughput, limits %u to %u, mean %.1f, lifted %u\n", what, share, load->clients, kept, w->lowest,
		      w->highest, w->limit_time / w->now, w->adapt.lifted);
	world_free(w);
	world_free(without);
	return kept;
}

static void leaves_sharing_alone(void **state)
{
	static const double shares[] = {0, 0.02, 0.05, 0.3, 1};
	double sum = 0;
	uint32_t all = 0;
	for (size_t i = 0; i < 5; i++)
		for (uint32_t clients = 4; clients <= 64; clients *= 4)
			for (uint64_t seed = 0; seed < SEEDS; seed++) {
				struct load l = with(chat, clients);
				assert_true(kept_of("chat", shares[i], &l, seed) >= 0.97);
				l.input_spread = 8000;
				assert_true(kept_of("long prompts", shares[i], &l, seed) >= 0.95);
				l = with(chat, clients);
				l.whole = true;
				assert_true(kept_of("no streams", shares[i], &l, seed) >= 0.95);
				/* most of the time goes into prompts: between one that waits and one that is slow is little to see */
				l = with(chat, clients);
				l.input_spread = 8000;
				l.output_mean = 20;
				sum += kept_of("long prompts, short answers", shares[i], &l, seed);
				l.cached = 0.5;
				sum += kept_of("the same, half cached", shares[i], &l, seed);
				all += 2;
			}
	print_message("prompts above all: %.3f\n", sum / all);
	assert_true(sum / all >= 0.95);
}

/* ---- changes ---- */

static void follows_the_engine(void **state)
{
	static const uint32_t from[] = {2, 16, 4, 1, 8}, to[] = {8, 4, 1, 4, 2};
	for (size_t i = 0; i < 5; i++) {
		struct world *w = world_new(from[i], 0, &chat, i);
		search(w, from[i], 1000);
		run(w, 300, 1e9);
		w->slots = to[i];
		double began = w->now;
		uint64_t after = search(w, to[i], 2000);
		print_message("%u slots, then %u: found after %llu answers, %.0f s\n", from[i], to[i], (unsigned long long)after, (w->now - began) / 1e6);
		assert_true(after <= 1000);
		run(w, 500, 1e9);
		assert_true(is_near(w->limit_time / (w->now - w->measured_from), to[i]));
		world_free(w);
	}
}

/* It batches from now on: a limit that was right must go, or grow. */
static void never_stuck_low(void **state)
{
	struct world *w = world_new(2, 0, &chat, 1);
	search(w, 2, 1000);
	run(w, 300, 1e9);
	w->slots = ACTIVE;
	run(w, 1500, 1e9);
	double got = rate(w, 1000);
	print_message("2 slots, then all of 40: limit %u, %.0f tokens a second of %.0f\n", w->places.limit, got, 40 / 0.0112);
	assert_true(w->places.limit == 0 || w->places.limit >= 30);
	world_free(w);
}

/* ---- what is no queue ---- */

static void a_stall_is_no_queue(void **state)
{
	for (uint32_t clients = 2; clients <= 32; clients *= 4)
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			struct load l = with(chat, clients);
			struct world *w = world_new(ACTIVE, 0.05, &l, seed);
			run(w, 100 + seed * 7, 1e9);
			w->stalled_until = w->now + 30e6; /* a model is loaded */
			run(w, 100, 1e9);
			run(w, 500, 1e9);
			print_message("%u clients, 30 s once: limits %u to %u\n", clients, w->lowest, w->highest);
			assert_int_equal(w->lowest, ACTIVE);
			world_free(w);
		}
}

static void the_first_load_is_no_measure(void **state)
{
	struct load l = with(chat, 16);
	struct world *w = world_new(2, 0, &l, 5);
	w->stalled_until = 30e6;
	uint64_t after = search(w, 2, 1000);
	print_message("loaded for 30 s at first: found after %llu\n", (unsigned long long)after);
	run(w, 1000, 1e9);
	assert_true(after <= 1000);
	assert_true(is_near(w->limit_time / (w->now - w->measured_from), 2));
	world_free(w);
}

/* Nobody waits where little is asked. */
static void open_loop(void **state)
{
	static const uint32_t slots[] = {1, 4, 16, ACTIVE};
	for (size_t i = 0; i < 4; i++)
		for (int of = 1; of <= 2; of++) {
			struct load l = chat;
			double service = 5000 + 550 * 250 + 130 * 10000;
			l.clients = 0;
			l.apart_us = service / (slots[i] == ACTIVE ? 40 : slots[i]) / (of == 1 ? 0.5 : 1.3);
			struct world *w = world_new(slots[i], 0, &l, 7);
			run(w, 300, 1e9);
			run(w, 1000, 1e9);
			double mean = w->limit_time / (w->now - w->measured_from);
			print_message("%u slots, open loop at %.1f: limit %u to %u, mean %.1f, %u wait outside, %u inside\n", slots[i], of == 1 ? 0.5 : 1.3, w->lowest, w->highest,
				      mean, w->outside.count, w->inside.count);
			if (of == 2 && slots[i] < ACTIVE) {
				assert_true(is_near(mean, slots[i]));
				assert_true(w->inside.count <= 2 + slots[i] / 2);
			}
			if (of == 1)
				assert_true(w->outside.count <= 8);
			if (slots[i] == ACTIVE)
				assert_int_equal(w->lowest, ACTIVE);
			world_free(w);
		}
}

/* ---- switching, threads ---- */

static void off_it_does_nothing(void **state)
{
	struct adapt a = {0};
	struct places p = {0};
	struct adapt_answer slow = {.first_us = 9000000, .took_us = 9500000, .output = 50, .others = 20, .now_us = 10000000};
	atomic_store(&p.limit, 7);
	for (int i = 0; i < 200; i++) {
		slow.now_us += 500000;
		adapt_first(&a, &p, NULL, &slow);
		adapt_done(&a, &p, NULL, &slow);
	}
	adapt_forget(&a, &p);
	assert_int_equal(atomic_load(&p.limit), 7);
	adapt_switch(&a, &p, true);
	assert_int_equal(atomic_load(&p.limit), 0);
	struct world *w = world_new(2, 0, &chat, 3);
	search(w, 2, 1000);
	assert_int_equal(atomic_load(&w->places.limit), 2);
	adapt_forget(&w->adapt, &w->places);
	assert_int_equal(atomic_load(&w->places.limit), 0);
	assert_int_equal(atomic_load(&w->adapt.state), ADAPT_OPEN);
	assert_true(search(w, 2, 1000) <= 200);
	world_free(w);
}

struct feeder {
	struct adapt *adapt;
	struct places *places;
	uint32_t number;
};

/* As from an engine with two slots: whoever has N in flight waits (N - 2) / 2 of a second. */
static void *feed(void *arg)
{
	struct feeder *f = arg;
	for (uint32_t i = 1; i <= 20000; i++) {
		uint32_t limit = atomic_load(&f->places->limit), in_flight = limit && limit < 20 ? limit : 20;
		struct adapt_answer a = {.first_us = 50000 + (in_flight > 2 ? in_flight - 2 : 0) * INT64_C(500000), .output = 100, .others = in_flight - 1,
					 .now_us = i * INT64_C(2000000) + f->number};
		if (i % 500 == 1)
			a.others = 0;
		adapt_first(f->adapt, f->places, NULL, &a);
		a.took_us = a.first_us + 950000;
		adapt_done(f->adapt, f->places, NULL, &a);
		if (f->number == 0 && i % 5000 == 0)
			adapt_forget(f->adapt, f->places);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct adapt a = {0};
	struct places p = {0};
	pthread_t threads[4];
	struct feeder feeders[4];
	adapt_switch(&a, &p, true);
	for (uint32_t i = 0; i < 4; i++) {
		feeders[i] = (struct feeder){&a, &p, i};
		assert_int_equal(pthread_create(&threads[i], NULL, feed, &feeders[i]), 0);
	}
	for (uint32_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&a.deciding), 0);
	adapt_forget(&a, &p);
	struct feeder alone = {&a, &p, 9};
	feed(&alone);
	assert_true(atomic_load(&p.limit) >= 1 && atomic_load(&p.limit) <= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_hidden_slots),
		cmocka_unit_test(finds_hidden_slots_without_streams),
		cmocka_unit_test(finds_hidden_slots_in_noise),
		cmocka_unit_test(leaves_sharing_alone),
		cmocka_unit_test(follows_the_engine),
		cmocka_unit_test(never_stuck_low),
		cmocka_unit_test(a_stall_is_no_queue),
		cmocka_unit_test(the_first_load_is_no_measure),
		cmocka_unit_test(open_loop),
		cmocka_unit_test(off_it_does_nothing),
		cmocka_unit_test(many_threads),
	};
#ifdef __SANITIZE_THREAD__
	cmocka_set_test_filter("*threads*"); /* the others have one thread, and are slow there */
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
