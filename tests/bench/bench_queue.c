/* bench_queue.c - what a place and a ticket cost: with nobody waiting, and with 10,000
 *
 * Prints one line a row, for run.py: NAME NANOSECONDS. Each number is the median of rounds. Time is taken around batches of calls, so that reading the clock does
 * not count; what the caller does between them (marking what was granted) does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gate/choose.h"
#include "gate/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WAITING 10000
#define TARGETS 8
#define BATCH   1000
#define ROUNDS  21

struct shop {
	struct queue *queue;
	struct places places[TARGETS], *list[TARGETS];
	struct ticket *granted[WAITING + TARGETS];
	unsigned granted_count, keys, turn;
	int64_t now_ms;
};

static void on_granted(void *user, struct ticket *t, void *worker)
{
	struct shop *s = user;
	s->granted[s->granted_count++] = t;
}

static double now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void report(const char *name, double *times, unsigned count)
{
	qsort(times, count, sizeof(*times), by_size);
	printf("%s %.1f\n", name, times[count / 2]);
}

static void open_shop(struct shop *s, unsigned keys)
{
	*s = (struct shop){.keys = keys, .now_ms = 1000};
	s->queue = queue_new(&(struct queue_options){.total_max = 2 * WAITING, .key_max = 2 * WAITING, .granted = on_granted, .user = s});
	for (uint32_t i = 0; i < TARGETS; i++) {
		atomic_store(&s->places[i].limit, 1);
		s->places[i].id = i;
		s->list[i] = &s->places[i];
	}
}

/* Every second one has its beginning cached somewhere, as conversations do. */
static struct ticket *enter(struct shop *s)
{
	unsigned n = s->turn++;
	struct places *place;
	struct ticket *t;
	struct queue_ask ask = {
		.model = 1, .key = 1 + n * 7919 % s->keys, .weight = 100, .input = 100 + n % 1000, .output = 50 + n % 300, .targets = s->list, .target_count = TARGETS,
		.home = n % 2 ? s->list[n * 31 % TARGETS] : NULL, .worker = s, .owner = s, .now_ms = s->now_ms + n / 16,
	};
	return queue_enter(s->queue, &ask, &t, &place) == QUEUE_WAITS ? t : NULL;
}

/* A place is given back and goes to a ticket, whose message is received. */
static void serve(struct shop *s, unsigned n)
{
	queue_give_back(s->queue, &s->places[n % TARGETS], s->now_ms);
	queue_receive(s->queue, s->granted[--s->granted_count], s->now_ms);
}

/* A batch of calls, and what one of them took. */
#define TIMED(out, call) \
	do { \
		double begun = now_ns(); \
		for (unsigned i = 0; i < BATCH; i++) \
			call; \
		(out) = (now_ns() - begun) / BATCH; \
	} while (0)
#define SOME(i) more[(i) * 613 % BATCH] /* all of them, in no order */

enum row { ENTER, POSITION, LEAVE, GRANT, ROWS };
static const char *const row_names[ROWS] = {"enter", "position", "leave", "grant"};

static void measure_line(unsigned keys)
{
	static struct shop s;
	static double times[ROWS][ROUNDS];
	struct ticket *more[BATCH];
	open_shop(&s, keys);
	for (unsigned i = 0; i < TARGETS; i++)
		places_take(&s.places[i]);
	for (unsigned i = 0; i < WAITING; i++)
		enter(&s);
	for (unsigned round = 0; round < ROUNDS; round++) {
		TIMED(times[ENTER][round], more[i] = enter(&s));
		TIMED(times[POSITION][round], queue_position(s.queue, SOME(i)));
		TIMED(times[LEAVE][round], queue_leave(s.queue, SOME(i), s.now_ms));
		TIMED(times[GRANT][round], serve(&s, i));
		for (unsigned i = 0; i < BATCH; i++)
			enter(&s);
	}
	for (enum row row = 0; row < ROWS; row++) {
		char name[64];
		snprintf(name, sizeof(name), "%s_%u", row_names[row], keys);
		report(name, times[row], ROUNDS);
	}
}

/* What a request that finds a place does more than one that never asks: look whether others wait, choose, take, give back. */
static void pass(struct shop *s, struct candidate *list, bool chosen)
{
	struct choice_ask ask = {.strategy = STRATEGY_CAPACITY, .input_tokens = 200, .output_tokens = 100, .turn = s->turn++};
	int at = 0;
	if (queue_must_wait(s->queue, 1))
		abort();
	for (unsigned i = 0; chosen && i < TARGETS; i++)
		list[i].taken = atomic_load_explicit(&s->places[i].taken, memory_order_relaxed);
	if (chosen)
		at = choose(&ask, list, TARGETS);
	if (at < 0 || !places_take(&s->places[at]))
		abort();
	places_serve(&s->places[at], 1);
	queue_give_back(s->queue, &s->places[at], s->now_ms);
}

static void measure_free(void)
{
	static struct shop s;
	static struct pace paces[TARGETS];
	static double places[ROUNDS], chosen[ROUNDS], charged[ROUNDS];
	struct candidate list[TARGETS];
	open_shop(&s, 1);
	for (unsigned i = 0; i < TARGETS; i++) {
		pace_first(&paces[i], 50000 + 1000 * i, 200, 0);
		pace_done(&paces[i], 50000, 500000, 100, 0);
		list[i] = (struct candidate){.limit = 1, .weight = 100, .usable = true, .pace = &paces[i]};
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		TIMED(places[round], pass(&s, list, false));
		TIMED(chosen[round], pass(&s, list, true));
		TIMED(charged[round], queue_charge_begin(s.queue, 1 + i % 100, 100, 200, 100));
	}
	report("free_place", places, ROUNDS);
	report("free_chosen", chosen, ROUNDS);
	report("charge", charged, ROUNDS);
}

/* Which engine has the beginning of a prompt of 4 KiB: hashing, looking, noting. */
static void measure_prefix(void)
{
	static char prompt[4096];
	static double times[ROUNDS];
	struct prefixes *p = prefixes_new(0);
	struct prefix_look seen[TARGETS];
	uint32_t targets[TARGETS];
	uint64_t hashes[PREFIX_BLOCKS];
	for (uint32_t i = 0; i < TARGETS; i++)
		targets[i] = i;
	for (unsigned round = 0; round < ROUNDS; round++) {
		double begun = now_ns();
		for (uint32_t i = 0; i < BATCH; i++) {
			prompt[1024] = (char)(i % 50);
			uint32_t count = prefix_hashes(prompt, sizeof(prompt), 1, hashes);
			prefixes_look(p, hashes, count, targets, TARGETS, seen);
			prefixes_note(p, hashes, count, i % TARGETS);
		}
		times[round] = (now_ns() - begun) / BATCH;
	}
	report("prefix", times, ROUNDS);
	prefixes_free(p);
}

int main(void)
{
	measure_free();
	measure_prefix();
	measure_line(1);
	measure_line(100);
	measure_line(10000);
	return 0;
}
