/* test_health.c - the breaker, its probes, what busy and denied mean, and the retry budget; on simulated time, and with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/health.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "random_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 20000
#else
#define ROUNDS 300000
#endif
#define START  INT64_C(1000000)
#define SECOND INT64_C(1000)

/* The same sequence each time. */
static void report(struct health *h, enum health_outcome how, bool probe, int64_t now_ms)
{
	health_report(h, how, probe, 0, now_ms, 12345);
}

static void fail_times(struct health *h, int times, int64_t now_ms)
{
	for (int i = 0; i < times; i++)
		report(h, HEALTH_BAD, false, now_ms);
}

/* The cool-down that it is in now, found from outside. */
static int64_t first_yes(const struct health *h, int64_t from_ms)
{
	int64_t at = from_ms;
	while (!health_would(h, at) && at < from_ms + 1000 * SECOND)
		at++;
	return at - from_ms;
}

/* ---- the breaker ---- */

static void five_in_a_row_open_it(void **state)
{
	struct health h = {0};
	assert_int_equal(health_take(&h, START), HEALTH_ASK);
	fail_times(&h, HEALTH_FAILURES - 1, START);
	report(&h, HEALTH_GOOD, false, START);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	assert_int_equal(health_until_ms(&h, START), 0);
	fail_times(&h, HEALTH_FAILURES - 2, START);
	assert_int_equal(health_take(&h, START), HEALTH_ASK);
	fail_times(&h, 2, START);
	assert_int_equal(health_mode(&h), HEALTH_OPEN);
	assert_int_equal(health_take(&h, START), HEALTH_DO_NOT);
	assert_in_range(health_until_ms(&h, START), START + HEALTH_COOL_MS, START + HEALTH_COOL_MS * 11 / 10);
}

static void half_of_the_last_ones_open_it(void **state)
{
	struct health h = {0};
	int asked = 0;
	for (; health_take(&h, START) == HEALTH_ASK && asked < 100; asked++)
		report(&h, asked % 2 ? HEALTH_BAD : HEALTH_GOOD, false, START);
	assert_int_equal(asked, 16);
	h = (struct health){0};
	for (asked = 0; asked < 1000; asked++) /* one in three is not enough */
		report(&h, asked % 3 ? HEALTH_GOOD : HEALTH_BAD, false, START);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
}

static void cool_downs_double_with_jitter(void **state)
{
	static const struct {
		enum health_outcome how;
		int64_t wanted[9];
	} rows[] = {{HEALTH_BAD, {1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000, 4000}}, {HEALTH_SILENT, {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000}}};
	struct health h;
	int64_t lowest = INT64_MAX, highest = 0;
	for (size_t r = 0; r < 2; r++) {
		int64_t now = START;
		h = (struct health){0};
		fail_times(&h, HEALTH_FAILURES, now);
		for (size_t i = 0; i < 9; i++) {
			int64_t took = first_yes(&h, now);
			assert_in_range(took, rows[r].wanted[i], rows[r].wanted[i] * 11 / 10);
			assert_int_equal(health_until_ms(&h, now), now + took);
			now += took;
			assert_int_equal(health_until_ms(&h, now), 0);
			assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
			report(&h, rows[r].how, true, now);
		}
	}
	for (uint32_t i = 0; i < 1000; i++) {
		h = (struct health){0};
		for (int k = 0; k < HEALTH_FAILURES; k++)
			health_report(&h, HEALTH_BAD, false, 0, START, i * 2654435761U);
		int64_t until = health_until_ms(&h, START) - START;
		lowest = until < lowest ? until : lowest;
		highest = until > highest ? until : highest;
	}
	assert_in_range(lowest, HEALTH_COOL_MS, HEALTH_COOL_MS + 5);
	assert_in_range(highest, HEALTH_COOL_MS * 11 / 10 - 5, HEALTH_COOL_MS * 11 / 10);
}

static void one_probe_passes(void **state)
{
	struct health h = {0};
	int64_t now = START + 2 * SECOND;
	fail_times(&h, HEALTH_FAILURES, START);
	assert_true(health_would(&h, now));
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	assert_false(health_would(&h, now));
	assert_int_equal(health_take(&h, now), HEALTH_DO_NOT);
	assert_in_range(health_until_ms(&h, now), now + 1, now + HEALTH_COOL_MS);
	/* what was sent before it opened changes nothing */
	report(&h, HEALTH_GOOD, false, now);
	report(&h, HEALTH_BAD, false, now);
	report(&h, HEALTH_CANCELLED, false, now);
	assert_int_equal(health_take(&h, now), HEALTH_DO_NOT);
	/* a client that leaves gives the turn back */
	report(&h, HEALTH_CANCELLED, true, now);
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	report(&h, HEALTH_GOOD, true, now);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	assert_int_equal(health_take(&h, now), HEALTH_ASK);
}

static void a_lost_probe_does_not_block_for_ever(void **state)
{
	struct health h = {0};
	int64_t now = START + 2 * SECOND;
	fail_times(&h, HEALTH_FAILURES, START);
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	assert_int_equal(health_take(&h, now + HEALTH_PROBE_MS - 1), HEALTH_DO_NOT);
	assert_int_equal(health_take(&h, now + HEALTH_PROBE_MS), HEALTH_ASK_AS_PROBE);
	report(&h, HEALTH_BAD, true, now + HEALTH_PROBE_MS);
	assert_int_equal(health_mode(&h), HEALTH_OPEN);
	report(&h, HEALTH_GOOD, true, now + HEALTH_PROBE_MS + 1); /* the first one answers after all */
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
}

static void on_probation_less_is_enough(void **state)
{
	struct health h = {0};
	int64_t now = START + 2 * SECOND;
	fail_times(&h, HEALTH_FAILURES, START);
	health_take(&h, now);
	report(&h, HEALTH_GOOD, true, now);
	fail_times(&h, HEALTH_FAILURES_AGAIN - 1, now);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	fail_times(&h, 1, now);
	assert_int_equal(health_mode(&h), HEALTH_OPEN);
	assert_in_range(first_yes(&h, now), 2 * HEALTH_COOL_MS, 2 * HEALTH_COOL_MS * 11 / 10);
	/* and after it all is as at first */
	health_seen_up(&h, now);
	health_take(&h, now);
	report(&h, HEALTH_GOOD, true, now);
	now += HEALTH_PROBATION_MS;
	fail_times(&h, HEALTH_FAILURES - 1, now);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	fail_times(&h, 1, now);
	assert_in_range(first_yes(&h, now), HEALTH_COOL_MS, HEALTH_COOL_MS * 11 / 10);
}

/* ---- what the watcher sees, busy, denied, maintenance ---- */

static void the_watcher_ends_a_cool_down(void **state)
{
	struct health h = {0};
	health_seen_up(&h, START);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	fail_times(&h, HEALTH_FAILURES, START);
	assert_int_equal(health_take(&h, START + 1), HEALTH_DO_NOT);
	health_seen_up(&h, START + 1);
	assert_int_equal(health_mode(&h), HEALTH_HALF_OPEN);
	assert_int_equal(health_take(&h, START + 1), HEALTH_ASK_AS_PROBE);
	health_seen_up(&h, START + 2); /* the probe is on its way: no second one */
	assert_int_equal(health_take(&h, START + 2), HEALTH_DO_NOT);
}

static void retry_after_is_honoured(void **state)
{
	struct health h = {0};
	health_report(&h, HEALTH_BUSY, false, 7000, START, 9);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	assert_int_equal(health_until_ms(&h, START), START + 7000);
	report(&h, HEALTH_GOOD, false, START + 10); /* another answer, sent before: no reason to come earlier */
	health_report(&h, HEALTH_BUSY, false, 1000, START + 10, 9);
	assert_int_equal(health_take(&h, START + 6999), HEALTH_DO_NOT);
	assert_int_equal(health_take(&h, START + 7000), HEALTH_ASK);
	health_report(&h, HEALTH_BUSY, false, INT64_MAX / 2, START, 9);
	assert_int_equal(health_until_ms(&h, START), START + HEALTH_WAIT_MAX_MS);
	for (int i = 0; i < 100; i++) /* no failures */
		health_report(&h, HEALTH_BUSY, false, 1000, START, 9);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	assert_int_equal(health_take(&h, START + HEALTH_WAIT_MAX_MS), HEALTH_ASK);
}

static void busy_without_a_time_pauses(void **state)
{
	static const int64_t wanted[] = {250, 500, 1000, 2000, 4000, 4000, 4000};
	struct health h = {0};
	int64_t now = START;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		for (int together = 0; together < 10; together++)
			report(&h, HEALTH_BUSY, false, now);
		assert_int_equal(first_yes(&h, now), wanted[i]);
		now += wanted[i];
	}
	report(&h, HEALTH_GOOD, false, now);
	report(&h, HEALTH_BUSY, false, now);
	assert_int_equal(first_yes(&h, now), HEALTH_BUSY_MS);
}

static void a_busy_probe_closes_and_waits(void **state)
{
	struct health h = {0};
	int64_t now = START + 2 * SECOND;
	fail_times(&h, HEALTH_FAILURES, START);
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	health_report(&h, HEALTH_BUSY, true, 5000, now, 9);
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
	assert_int_equal(first_yes(&h, now), 5000);
}

static void denied_is_set_aside(void **state)
{
	static const int64_t wanted[] = {60000, 120000, 240000, 480000, 600000, 600000};
	struct health h = {0};
	int64_t now = START;
	for (int i = 0; i < 20; i++) /* all that were in flight hear it */
		report(&h, HEALTH_DENIED, false, now);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		health_seen_up(&h, now);
		assert_in_range(first_yes(&h, now), wanted[i], wanted[i] * 11 / 10);
		now += wanted[i] * 11 / 10;
		assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
		report(&h, HEALTH_DENIED, true, now);
	}
	health_reset(&h); /* a new secret */
	assert_int_equal(health_take(&h, now), HEALTH_ASK);
	report(&h, HEALTH_DENIED, false, now);
	now += 66000;
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	report(&h, HEALTH_BAD, true, now); /* accepted, but broken: the short cool-downs of a failure */
	assert_in_range(first_yes(&h, now), HEALTH_COOL_MS, HEALTH_COOL_MS * 11 / 10);
}

static void denied_weighs_more_than_open(void **state)
{
	struct health h = {0};
	fail_times(&h, HEALTH_FAILURES, START);
	report(&h, HEALTH_DENIED, false, START);
	assert_in_range(first_yes(&h, START), HEALTH_DENIED_MS, HEALTH_DENIED_MS * 11 / 10);
}

static void denied_can_be_seen(void **state)
{
	struct health h = {0};
	fail_times(&h, HEALTH_FAILURES, START);
	assert_false(health_denied(&h)); /* it only fails */
	report(&h, HEALTH_DENIED, false, START);
	assert_true(health_denied(&h));
	int64_t now = START + HEALTH_DENIED_MS * 2;
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	assert_true(health_denied(&h)); /* not before the probe has told */
	report(&h, HEALTH_DENIED, true, now);
	assert_true(health_denied(&h));
	now += HEALTH_DENIED_MS * 3;
	assert_int_equal(health_take(&h, now), HEALTH_ASK_AS_PROBE);
	report(&h, HEALTH_GOOD, true, now);
	assert_false(health_denied(&h));
	report(&h, HEALTH_DENIED, false, now);
	health_reset(&h);
	assert_false(health_denied(&h));
}

static void maintenance_lets_nothing_new_in(void **state)
{
	struct health h = {0};
	health_drain(&h, true);
	assert_int_equal(health_take(&h, START), HEALTH_DO_NOT);
	assert_false(health_would(&h, START));
	assert_true(health_until_ms(&h, START) == INT64_MAX);
	report(&h, HEALTH_GOOD, false, START); /* what was on its way ends as always */
	health_reset(&h);
	assert_false(health_would(&h, START));
	health_drain(&h, false);
	assert_int_equal(health_take(&h, START), HEALTH_ASK);
}

/* ---- the retry budget ---- */

static void retries_are_a_share(void **state)
{
	struct health h = {0};
	int64_t now = START;
	int allowed = 0;
	for (int i = 0; i < 100; i++)
		allowed += health_count(&h, true, now);
	assert_int_equal(allowed, HEALTH_RETRY_MIN); /* at once, with no requests at all */
	h = (struct health){0};
	allowed = 0;
	for (int ms = 0; ms < 20000; ms++) { /* 1000 requests a second, and as many retries as it lets */
		assert_true(health_count(&h, false, START + ms));
		for (int i = 0; i < 3; i++)
			allowed += health_count(&h, true, START + ms);
	}
	assert_in_range(allowed, 1900, 20000 / 10 + 20 * HEALTH_RETRY_MIN + 103);
	now = START + 40000; /* a long pause: nothing is left of it */
	allowed = 0;
	for (int i = 0; i < 100; i++)
		allowed += health_count(&h, true, now);
	assert_int_equal(allowed, HEALTH_RETRY_MIN);
}

static void no_second_has_more_retries(void **state)
{
	struct health h = {0};
	uint64_t random = 88172645463325252U;
	static int retries[60000], requests[60000];
	memset(retries, 0, sizeof(retries));
	memset(requests, 0, sizeof(requests));
	for (int ms = 0; ms < 60000; ms++) {
		requests[ms] = random_next(&random) % 10 == 0; /* 100 a second */
		if (requests[ms])
			health_count(&h, false, START + ms);
		retries[ms] = random_next(&random) % 4 == 0 && health_count(&h, true, START + ms);
	}
	for (int from = 1000; from + 1000 <= 60000; from += 37) {
		int tried = 0, asked = 0;
		for (int ms = from; ms < from + 1000; ms++)
			tried += retries[ms];
		for (int ms = from - 1000; ms < from + 1000; ms++)
			asked += requests[ms];
		assert_in_range(tried, 0, asked * HEALTH_RETRY_SHARE / 100 + 2 * HEALTH_RETRY_MIN);
	}
}

/* ---- on simulated time ---- */

/* A target that is up when told so, asked `per_second` times; the watcher looks once a second. */
struct timeline {
	struct health h;
	uint64_t random;
	int per_second;
	bool watched, silent;
	int sent, failed, probes;
	int64_t last_good_ms;
};

static void timeline_run(struct timeline *t, int64_t from_ms, int64_t to_ms, bool up)
{
	for (int64_t now = from_ms; now < to_ms; now += 1000 / t->per_second) {
		if (t->watched && up && now % 1000 < 1000 / t->per_second)
			health_seen_up(&t->h, now);
		enum health_verdict v = health_take(&t->h, now);
		if (v == HEALTH_DO_NOT)
			continue;
		t->sent++;
		t->probes += v == HEALTH_ASK_AS_PROBE;
		t->failed += !up;
		if (up)
			t->last_good_ms = now;
		health_report(&t->h, up ? HEALTH_GOOD : t->silent ? HEALTH_SILENT : HEALTH_BAD, v == HEALTH_ASK_AS_PROBE, 0, now, (uint32_t)random_next(&t->random));
	}
}

static void a_target_that_dies_and_comes_back(void **state)
{
	for (int silent = 0; silent < 2; silent++) {
		struct timeline t = {.random = 7, .per_second = 100, .watched = true, .silent = silent};
		timeline_run(&t, START, START + 10 * SECOND, true);
		assert_int_equal(t.sent, 1000);
		timeline_run(&t, START + 10 * SECOND, START + 310 * SECOND, false);
		assert_int_equal(t.failed, HEALTH_FAILURES + t.probes);
		if (silent)
			assert_in_range(t.probes, 10, 15); /* five while the cool-down grows, then one in 30 s */
		else
			assert_in_range(t.probes, 67, 77); /* one in 4 s */
		int before = t.sent;
		timeline_run(&t, START + 310 * SECOND, START + 315 * SECOND, true);
		assert_in_range(t.sent - before, 390, 500); /* at work again after a second */
		assert_int_equal(health_mode(&t.h), HEALTH_CLOSED);
	}
}

static void without_a_watcher_it_comes_back_as_well(void **state)
{
	struct timeline t = {.random = 7, .per_second = 100};
	timeline_run(&t, START, START + 300 * SECOND, false);
	int before = t.sent;
	timeline_run(&t, START + 300 * SECOND, START + 305 * SECOND, true); /* it answered the watcher all the time, only its work failed */
	assert_true(t.sent > before);
	assert_int_equal(health_mode(&t.h), HEALTH_CLOSED);
}

static void a_flapping_target_costs_little(void **state)
{
	static const int64_t periods[] = {200, 500, 1000, 2000, 3000, 5000, 10000};
	for (size_t p = 0; p < sizeof(periods) / sizeof(*periods); p++) {
		struct timeline t = {.random = 99, .per_second = 100, .watched = true};
		int64_t now = START;
		for (bool up = false; now < START + 60 * SECOND; up = !up, now += periods[p])
			timeline_run(&t, now, now + periods[p], up);
		print_message("flapping every %4d ms for 60 s: %4d sent, %2d failed, %2d probes\n", (int)periods[p], t.sent, t.failed, t.probes);
		/* of 3000 that it was down for: five of the first time, then two each time that it came back, and a probe in four seconds */
		int64_t times = 60 * SECOND / (2 * periods[p]);
		assert_in_range(t.failed, 0, times < 30 ? HEALTH_FAILURES + 2 * times + 30 * SECOND / HEALTH_COOL_MAX_MS : 70);
		timeline_run(&t, now, now + 5 * SECOND, true);
		assert_in_range(now + 5 * SECOND - t.last_good_ms, 0, 20); /* and it is in use again within 5 s */
		assert_int_equal(health_mode(&t.h), HEALTH_CLOSED);
	}
}

/* ---- any interleaving ---- */

#define IN_FLIGHT 16

static void one_random_step(struct health *h, uint64_t *random, int8_t *flying, int64_t *now)
{
	uint64_t r = random_next(random);
	int8_t *f = &flying[r >> 8 & (IN_FLIGHT - 1)];
	if (r % 64 == 0)
		*now += (int64_t)(r >> 16 & 0x3fff);
	else if (r % 64 == 1)
		health_seen_up(h, *now);
	else if (*f < 0) { /* at rest: -1; else whether it is the probe */
		enum health_verdict v = health_take(h, *now);
		*f = v == HEALTH_DO_NOT ? -1 : v == HEALTH_ASK_AS_PROBE;
	} else {
		enum health_outcome how = (enum health_outcome)(r >> 20 & 7) % 5;
		int64_t wait = r >> 24 & 1 ? (int64_t)(r >> 30 & 0x3ff) : 0;
		health_report(h, how, *f, wait, *now, (uint32_t)r);
		if (*f == 1 && how == HEALTH_GOOD)
			assert_int_equal(health_mode(h), HEALTH_CLOSED);
		*f = -1;
	}
}

static void nothing_gets_stuck(void **state)
{
	uint64_t random = 362436069;
	for (int round = 0; round < 300; round++) {
		struct health h = {0};
		int8_t flying[IN_FLIGHT];
		int64_t now = START;
		memset(flying, -1, sizeof(flying));
		for (int step = 0; step < 1000; step++)
			one_random_step(&h, &random, flying, &now);
		for (int i = 0; i < IN_FLIGHT; i++)
			if (flying[i] >= 0)
				health_report(&h, HEALTH_CANCELLED, flying[i], 0, now, 1);
		/* the longest that anything may last, and it is asked again; a good answer then closes it */
		now += HEALTH_DENIED_MAX_MS * 11 / 10 + HEALTH_WAIT_MAX_MS;
		enum health_verdict v = health_take(&h, now);
		assert_int_not_equal(v, HEALTH_DO_NOT);
		health_report(&h, HEALTH_GOOD, v == HEALTH_ASK_AS_PROBE, 0, now, 1);
		assert_int_equal(health_mode(&h), HEALTH_CLOSED);
		assert_int_equal(health_take(&h, now), HEALTH_ASK);
	}
}

#define THREADS 4

struct race {
	struct health h;
	pthread_barrier_t start;
	_Atomic int probes, passed, most;
	int rounds;
};

/* All take at the same time, again and again; whoever has the probe sometimes gives it back, fails, or succeeds. Threads may be far apart, but all of it lasts
 * less than HEALTH_PROBE_MS. */
static void *racer(void *arg)
{
	struct race *w = arg;
	uint64_t random = (uint64_t)(uintptr_t)&random | 1;
	for (int i = 0; i < w->rounds; i++) {
		int64_t now = START + i / 2;
		uint64_t r = random_next(&random);
		enum health_verdict v = health_take(&w->h, now);
		if (v == HEALTH_ASK_AS_PROBE) {
			int now_out = atomic_fetch_add(&w->probes, 1) + 1;
			if (now_out > atomic_load(&w->most))
				atomic_store(&w->most, now_out);
			atomic_fetch_sub(&w->probes, 1); /* before the report, which may let another one through */
			health_report(&w->h, (enum health_outcome[]){HEALTH_BAD, HEALTH_CANCELLED, HEALTH_GOOD, HEALTH_BUSY}[r & 3], true, 0, now, (uint32_t)r);
		} else if (v == HEALTH_ASK) {
			atomic_fetch_add(&w->passed, 1);
			health_report(&w->h, r & 7 ? HEALTH_BAD : HEALTH_GOOD, false, 0, now, (uint32_t)r);
		}
		health_count(&w->h, r >> 10 & 1, now);
		if (r % 97 == 0)
			health_seen_up(&w->h, now);
	}
	return NULL;
}

static void one_probe_among_threads(void **state)
{
	struct race w = {.rounds = ROUNDS / 4};
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, racer, &w);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(w.most, 1);
	assert_true(w.passed > 0);
	int64_t now = START + w.rounds / 2 + HEALTH_WAIT_MAX_MS + HEALTH_COOL_MAX_MS * 11 / 10;
	enum health_verdict v = health_take(&w.h, now);
	assert_int_not_equal(v, HEALTH_DO_NOT);
	report(&w.h, HEALTH_GOOD, v == HEALTH_ASK_AS_PROBE, now);
	assert_int_equal(health_mode(&w.h), HEALTH_CLOSED);
}

static void *take_once(void *arg)
{
	struct race *w = arg;
	for (int i = 0; i < w->rounds; i++) {
		pthread_barrier_wait(&w->start);
		if (health_take(&w->h, START + 2 * SECOND) == HEALTH_ASK_AS_PROBE)
			atomic_fetch_add(&w->probes, 1);
		pthread_barrier_wait(&w->start);
	}
	return NULL;
}

static void exactly_one_of_all_who_ask_at_once(void **state)
{
	struct race w = {.rounds = 500};
	pthread_t threads[THREADS];
	pthread_barrier_init(&w.start, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, take_once, &w);
	for (int i = 0; i < w.rounds; i++) {
		health_reset(&w.h);
		fail_times(&w.h, HEALTH_FAILURES, START);
		atomic_store(&w.probes, 0);
		pthread_barrier_wait(&w.start);
		pthread_barrier_wait(&w.start);
		assert_int_equal(w.probes, 1);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&w.start);
}

static void what_it_costs(void **state)
{
	struct health h = {0};
	int64_t start = clock_mono_us();
	for (int i = 0; i < ROUNDS; i++) {
		health_count(&h, false, START + i);
		health_take(&h, START + i);
		report(&h, HEALTH_GOOD, false, START + i);
	}
	print_message("count, take and report: %d ns\n", (int)((clock_mono_us() - start) * 1000 / ROUNDS));
	assert_int_equal(health_mode(&h), HEALTH_CLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(five_in_a_row_open_it),
		cmocka_unit_test(half_of_the_last_ones_open_it),
		cmocka_unit_test(cool_downs_double_with_jitter),
		cmocka_unit_test(one_probe_passes),
		cmocka_unit_test(a_lost_probe_does_not_block_for_ever),
		cmocka_unit_test(on_probation_less_is_enough),
		cmocka_unit_test(the_watcher_ends_a_cool_down),
		cmocka_unit_test(retry_after_is_honoured),
		cmocka_unit_test(busy_without_a_time_pauses),
		cmocka_unit_test(a_busy_probe_closes_and_waits),
		cmocka_unit_test(denied_is_set_aside),
		cmocka_unit_test(denied_weighs_more_than_open),
		cmocka_unit_test(denied_can_be_seen),
		cmocka_unit_test(maintenance_lets_nothing_new_in),
		cmocka_unit_test(retries_are_a_share),
		cmocka_unit_test(no_second_has_more_retries),
		cmocka_unit_test(a_target_that_dies_and_comes_back),
		cmocka_unit_test(without_a_watcher_it_comes_back_as_well),
		cmocka_unit_test(a_flapping_target_costs_little),
		cmocka_unit_test(nothing_gets_stuck),
		cmocka_unit_test(one_probe_among_threads),
		cmocka_unit_test(exactly_one_of_all_who_ask_at_once),
		cmocka_unit_test(what_it_costs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
