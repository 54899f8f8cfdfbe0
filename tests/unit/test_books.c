/* test_books.c - the books: a budget that really holds, windows that are entered once, and what claims are told.
 *
 * Leases, rates and threads are in test_books_live.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "books_fixture.h"

#define HOUR_S INT64_C(3600)

static const struct price free_of_charge = {.known = true};
static const struct price unknown;
/* A thousand nano-dollars for a token of input, two thousand for one of output. */
static const struct price cheap = {.known = true, .input = 1000000000, .cached = 1000000000, .output = 2000000000};

/* Books without a ledger, the book time, and the scope that most tests use. */
struct world {
	struct books *b;
	struct scope *key;
	int64_t now_s;
	struct claim_answer a;
	int warned, freed;
};

static void note_warning(void *user)
{
	((struct world *)user)->warned++;
}

static void note_freed(void *user)
{
	((struct world *)user)->freed++;
}

static void world_open(struct world *w)
{
	struct books_events events = {.warning = note_warning, .freed = note_freed, .user = w};
	memset(w, 0, sizeof(*w));
	w->b = books_new(&events);
	w->key = books_scope(w->b, 1, STR_NONE);
	w->now_s = NOON_S;
}

static void world_close(struct world *w)
{
	assert_audit(w->b);
	books_free(w->b);
}

static void limit(struct world *w, struct scope *s, bool soft, const char *const *budgets)
{
	struct limits l = {.soft = soft};
	for (; budgets && *budgets; budgets++)
		assert_null(budget_parse(str_from(*budgets), &l.budgets[l.budget_count++]));
	books_set_limits(w->b, s, &l);
}

#define LIMIT(w, s, soft, ...) limit((w), (s), (soft), (const char *const[]){__VA_ARGS__, NULL})

static struct ask ask_of(const struct world *w, int64_t input, int64_t output)
{
	return (struct ask){.mono_us = w->now_s * SECOND, .book_us = w->now_s * SECOND, .input_bound = input, .input_guess = input, .output = output,
			    .price = &free_of_charge};
}

static enum verdict claim_ask(struct world *w, struct scope *s, const struct ask *a, struct claim *c)
{
	memset(c, 0, sizeof(*c));
	books_claim(w->b, &s, 1, a, c, &w->a);
	assert_int_equal(c->count, w->a.verdict == CLAIM_GRANTED);
	return w->a.verdict;
}

static enum verdict claim(struct world *w, struct scope *s, int64_t input, int64_t output, struct claim *c)
{
	struct ask a = ask_of(w, input, output);
	return claim_ask(w, s, &a, c);
}

static void use(struct world *w, struct scope *s, int64_t tokens)
{
	struct claim c;
	assert_int_equal(claim(w, s, tokens, 0, &c), CLAIM_GRANTED);
	assert_false(books_settle(w->b, &c, tokens, 0, w->now_s * SECOND));
}

static struct scope_view view(struct world *w, struct scope *s)
{
	struct scope_view v;
	books_view(w->b, s, w->now_s * SECOND, &v);
	return v;
}

/* ---- a budget that holds ---- */

static void ten_of_two_hundred(void **state)
{
	static struct claim claims[200];
	struct world w;
	int granted = 0;
	world_open(&w);
	LIMIT(&w, w.key, false, "1000/month");
	for (int i = 0; i < 200; i++) {
		enum verdict v = claim(&w, w.key, 60, 40, &claims[i]);
		granted += v == CLAIM_GRANTED;
		assert_true(v == CLAIM_GRANTED || (v == CLAIM_LATER && w.a.by == LIMIT_BUDGET && w.a.left == 1000));
	}
	assert_int_equal(granted, 10);
	for (int i = 0; i < 200; i++)
		assert_false(books_settle(w.b, &claims[i], 100, 0, 0));
	struct claim c;
	assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_SPENT);
	assert_int_equal(w.a.left, 0);
	assert_int_equal(w.a.budget.period, PERIOD_MONTH);
	assert_int_equal(w.a.resets_s, civil_window(PERIOD_MONTH, NOON_S).to_s);
	struct scope_view v = view(&w, w.key);
	assert_int_equal(v.settled[PERIOD_MONTH][UNIT_TOKENS], 1000);
	assert_int_equal(v.held[UNIT_TOKENS], 0);
	assert_int_equal(v.in_flight, 0);
	world_close(&w);
}

static void all_or_nothing_in_every_scope(void **state)
{
	struct world w;
	struct claim c = {0}, none = {0};
	world_open(&w);
	struct scope *gateway = books_scope(w.b, 0, STR_NONE), *model = books_scope(w.b, 0, STR("qwen")), *both = books_scope(w.b, 1, STR("qwen*"));
	struct scope *scopes[CLAIM_SCOPES] = {gateway, NULL, model, w.key, both, w.key};
	struct ask a = ask_of(&w, 50, 50);
	a.price = &cheap;
	LIMIT(&w, both, false, "150/total");
	LIMIT(&w, gateway, false, "1G/total");
	books_claim(w.b, scopes, 6, &a, &c, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_GRANTED);
	assert_int_equal(c.count, 4);
	assert_true(w.a.budgeted);
	books_claim(w.b, scopes, 6, &a, &none, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_LATER);
	assert_int_equal(w.a.scope, 4);
	assert_false(w.a.budgeted);
	assert_int_equal(none.count, 0);
	assert_int_equal(view(&w, gateway).held[UNIT_TOKENS], 100);
	assert_int_equal(view(&w, w.key).in_flight, 1);
	assert_false(books_settle(w.b, &c, 70, 7, 0));
	assert_false(books_settle(w.b, &c, 70, 7, 0)); /* once */
	struct scope *all[] = {gateway, model, w.key, both};
	for (size_t i = 0; i < 4; i++) {
		struct scope_view v = view(&w, all[i]);
		assert_int_equal(v.settled[PERIOD_TOTAL][UNIT_TOKENS], 70);
		assert_int_equal(v.settled[PERIOD_DAY][UNIT_MONEY], 7);
		assert_int_equal(v.in_flight, 0);
	}
	world_close(&w);
}

static void nobody_asked_grants(void **state)
{
	struct world w;
	struct claim c = {0};
	struct scope *none[2] = {NULL, NULL};
	world_open(&w);
	struct ask a = ask_of(&w, 50, 0);
	books_claim(w.b, none, 2, &a, &c, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_GRANTED);
	assert_int_equal(c.count, 0);
	assert_int_equal(w.a.output, 0);
	world_close(&w);
}

/* ---- how long an answer may be ---- */

static void open_output_is_what_budgets_buy(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	struct ask a = ask_of(&w, 100, 0);
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED); /* no budget: no cap, held at what is likely at most */
	assert_int_equal(w.a.output, 0);
	assert_int_equal(c.hold_tokens, 100 + OUTPUT_UNKNOWN);
	assert_false(books_settle(w.b, &c, 200000, 0, 0)); /* nobody had told the target a cap */

	LIMIT(&w, w.key, false, "1M/day", "$1/month");
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	assert_int_equal(w.a.output, OUTPUT_UNKNOWN);
	books_settle(w.b, &c, 0, 0, 0);
	a.output_default = 5000;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	assert_int_equal(w.a.output, 5000);
	books_settle(w.b, &c, 0, 0, 0);

	LIMIT(&w, w.key, false, "201000/day"); /* 200000 are settled */
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	assert_int_equal(w.a.output, 900);
	assert_int_equal(c.hold_tokens, 1000);
	struct claim second;
	assert_int_equal(claim_ask(&w, w.key, &a, &second), CLAIM_LATER);
	assert_int_equal(w.a.by, LIMIT_BUDGET);
	assert_true(books_settle(w.b, &c, 1001, 0, 0)); /* beyond its cap */
	assert_int_equal(claim_ask(&w, w.key, &a, &second), CLAIM_SPENT);
	world_close(&w);
}

static void open_output_in_money(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	LIMIT(&w, w.key, false, "$0.001/day"); /* a million: 100 tokens in, and 450 out */
	struct ask a = ask_of(&w, 100, 0);
	a.price = &cheap;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	assert_int_equal(w.a.output, 450);
	assert_int_equal(c.hold_nanos, 1000000);
	assert_false(books_settle(w.b, &c, 200, 900001, 0));
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_SPENT);
	assert_int_equal(w.a.left, 99999);
	a.price = &free_of_charge; /* a model that costs nothing is not locked by money */
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 200, 0, 0);
	a.price = &unknown;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_UNPRICED);
	a.price = NULL;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_UNPRICED);
	LIMIT(&w, w.key, false, "1M/day");
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 200, 0, 0);
	world_close(&w);
}

static void answers_without_tokens(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	LIMIT(&w, w.key, false, "100/day");
	struct ask a = ask_of(&w, 100, 0);
	a.output_default = OUTPUT_NONE;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED);
	assert_int_equal(c.hold_tokens, 100);
	assert_int_equal(w.a.output, 0);
	books_settle(w.b, &c, 100, 0, 0);
	world_close(&w);
}

static void absurd_numbers(void **state)
{
	struct world w;
	struct claim c, more;
	world_open(&w);
	struct ask a = ask_of(&w, INT64_MAX, INT64_MAX);
	a.price = &cheap;
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_GRANTED); /* nothing limits it */
	assert_int_equal(claim_ask(&w, w.key, &a, &more), CLAIM_GRANTED);
	books_settle(w.b, &c, INT64_MAX, INT64_MIN, INT64_MAX);
	books_settle(w.b, &more, INT64_MAX, INT64_MAX, INT64_MIN);
	struct scope_view v = view(&w, w.key);
	assert_int_equal(v.held[UNIT_TOKENS], 0);
	assert_int_equal(v.held[UNIT_MONEY], 0);
	assert_true(v.settled[PERIOD_TOTAL][UNIT_TOKENS] >= INT64_C(1) << 61);
	LIMIT(&w, w.key, false, "1000000000G/day", "$1000000000/day");
	assert_int_equal(claim_ask(&w, w.key, &a, &c), CLAIM_SPENT);
	assert_int_equal(claim(&w, w.key, -5, 1, &c), CLAIM_SPENT);
	struct scope *other = books_scope(w.b, 2, STR_NONE);
	LIMIT(&w, other, false, "1000000000G/day", "0/total");
	assert_int_equal(claim(&w, other, -5, 1, &c), CLAIM_SPENT);
	LIMIT(&w, other, false, "1000000000G/day");
	assert_int_equal(claim(&w, other, -5, 1, &c), CLAIM_GRANTED);
	assert_int_equal(c.hold_tokens, 1);
	books_settle(w.b, &c, -1, -1, 0);
	assert_int_equal(view(&w, other).settled[PERIOD_TOTAL][UNIT_TOKENS], 0);
	world_close(&w);
}

static void soft_lets_the_last_one_finish(void **state)
{
	struct world w;
	struct claim c, d, e;
	world_open(&w);
	LIMIT(&w, w.key, true, "1000/day");
	assert_int_equal(claim(&w, w.key, 100, 400, &c), CLAIM_GRANTED);
	assert_int_equal(claim(&w, w.key, 100, 9900, &d), CLAIM_GRANTED); /* larger than the budget */
	assert_int_equal(claim(&w, w.key, 1, 1, &e), CLAIM_LATER);
	assert_int_equal(w.a.by, LIMIT_BUDGET);
	books_settle(w.b, &d, 400, 0, 0);
	assert_int_equal(claim(&w, w.key, 1, 1, &e), CLAIM_GRANTED);
	books_settle(w.b, &c, 500, 0, 0);
	assert_true(books_settle(w.b, &e, 700, 0, 0));
	assert_int_equal(claim(&w, w.key, 1, 1, &e), CLAIM_SPENT);
	assert_int_equal(w.a.left, -600);
	world_close(&w);
}

static void places(void **state)
{
	struct world w;
	struct claim c[3];
	world_open(&w);
	books_set_limits(w.b, w.key, &(struct limits){.concurrency = 2});
	assert_int_equal(claim(&w, w.key, 1, 1, &c[0]), CLAIM_GRANTED);
	assert_int_equal(claim(&w, w.key, 1, 1, &c[1]), CLAIM_GRANTED);
	assert_int_equal(claim(&w, w.key, 1, 1, &c[2]), CLAIM_LATER);
	assert_int_equal(w.a.by, LIMIT_CONCURRENCY);
	assert_int_equal(w.a.limit, 2);
	books_settle(w.b, &c[0], 1, 0, 0);
	assert_int_equal(w.freed, 0);
	books_wait(w.b);
	books_settle(w.b, &c[1], 1, 0, 0);
	assert_int_equal(w.freed, 1);
	books_wait_over(w.b);
	assert_int_equal(claim(&w, w.key, 1, 1, &c[2]), CLAIM_GRANTED);
	books_settle(w.b, &c[2], 1, 0, 0);
	assert_int_equal(w.freed, 1);
	world_close(&w);
}

static void what_cannot_be_waited_for_comes_first(void **state)
{
	struct world w;
	struct claim c, d = {0};
	world_open(&w);
	struct scope *gateway = books_scope(w.b, 0, STR_NONE), *scopes[] = {w.key, gateway};
	books_set_limits(w.b, w.key, &(struct limits){.concurrency = 1, .rpm = 1});
	LIMIT(&w, gateway, false, "100/total");
	assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_GRANTED);
	struct ask a = ask_of(&w, 100, 1);
	books_claim(w.b, scopes, 2, &a, &d, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_SPENT);
	assert_int_equal(w.a.scope, 1);
	a = ask_of(&w, 1, 1);
	books_claim(w.b, scopes, 2, &a, &d, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_LATER);
	books_settle(w.b, &c, 1, 0, 0);
	books_claim(w.b, scopes, 2, &a, &d, &w.a);
	assert_int_equal(w.a.verdict, CLAIM_RATE);
	world_close(&w);
}

/* ---- windows ---- */

static void a_request_belongs_to_the_window_of_its_claim(void **state)
{
	struct world w;
	struct claim old, c;
	world_open(&w);
	LIMIT(&w, w.key, false, "1000/day", "5000/week");
	use(&w, w.key, 300);
	assert_int_equal(claim(&w, w.key, 100, 500, &old), CLAIM_GRANTED);
	w.now_s = civil_window(PERIOD_DAY, NOON_S).to_s - 1;
	assert_int_equal(claim(&w, w.key, 101, 0, &c), CLAIM_LATER); /* nothing left but for an answer of none */
	w.now_s++;
	struct scope_view v = view(&w, w.key);
	assert_int_equal(v.settled[PERIOD_DAY][UNIT_TOKENS], 0);
	assert_int_equal(v.settled[PERIOD_WEEK][UNIT_TOKENS], 300);
	assert_int_equal(v.held[UNIT_TOKENS], 600);
	assert_int_equal(v.budgets[0].from_s, w.now_s);
	assert_int_equal(claim(&w, w.key, 100, 301, &c), CLAIM_LATER); /* strict: what runs still counts */
	assert_int_equal(claim(&w, w.key, 100, 300, &c), CLAIM_GRANTED);
	books_settle(w.b, &old, 600, 0, 0);
	v = view(&w, w.key);
	assert_int_equal(v.settled[PERIOD_DAY][UNIT_TOKENS], 0);
	assert_int_equal(v.settled[PERIOD_WEEK][UNIT_TOKENS], 900);
	assert_int_equal(v.settled[PERIOD_TOTAL][UNIT_TOKENS], 900);
	assert_int_equal(v.held[UNIT_TOKENS], 400);
	books_settle(w.b, &c, 400, 0, 0);
	assert_int_equal(view(&w, w.key).settled[PERIOD_DAY][UNIT_TOKENS], 400);
	use(&w, w.key, 0);
	world_close(&w);
}

static void a_window_is_never_entered_again(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	LIMIT(&w, w.key, false, "1000/day");
	assert_int_equal(claim(&w, w.key, 500, 500, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 1000, 0, 0);
	w.now_s += DAY_S;
	assert_int_equal(claim(&w, w.key, 500, 500, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 1000, 0, 0);
	for (int i = 1; i < 40; i++) { /* the clock goes back, again and again */
		w.now_s = NOON_S + DAY_S - i * HOUR_S;
		assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_SPENT);
		w.now_s = NOON_S + DAY_S;
		assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_SPENT);
	}
	w.now_s = civil_window(PERIOD_DAY, NOON_S + DAY_S).to_s;
	assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 1, 0, 0);
	world_close(&w);
}

static void book_time_never_goes_back(void **state)
{
	struct world w;
	world_open(&w);
	int64_t now = books_now_us(w.b);
	assert_true(now >= clock_wall_us() - SECOND && books_now_us(w.b) >= now);
	books_set_clock(w.b, NOON_S * SECOND);
	assert_int_equal(books_now_us(w.b), NOON_S * SECOND);
	books_set_clock(w.b, 5);
	assert_int_equal(books_now_us(w.b), NOON_S * SECOND);
	world_close(&w);
}

/* Ten years, a request every few hours: what the books say of each window is what was used in it, counted apart. */
static void sweep_years(const char *zone)
{
	struct world w;
	struct buf why;
	struct window windows[PERIOD_COUNT] = {{0}};
	int64_t counted[PERIOD_COUNT] = {0};
	int entered[PERIOD_COUNT] = {0};
	buf_init(&why, 256);
	assert_true(civil_set_zone(zone, &why));
	world_open(&w);
	LIMIT(&w, w.key, false, "1000/day", "1G/week", "1G/month");
	for (int64_t at = NOON_S; at < NOON_S + 3653 * DAY_S; at += 2 * HOUR_S + 1777) {
		w.now_s = at;
		for (int p = 0; p < PERIOD_COUNT; p++) {
			struct window now = civil_window((enum period)p, at);
			if (now.from_s != windows[p].from_s || entered[p] == 0) {
				counted[p] = 0;
				entered[p]++;
			}
			windows[p] = now;
			counted[p] += 10;
		}
		use(&w, w.key, 10);
		struct scope_view v = view(&w, w.key);
		for (int p = 0; p < PERIOD_COUNT; p++)
			assert_int_equal(v.settled[p][UNIT_TOKENS], counted[p]);
		assert_int_equal(v.budgets[0].resets_s, windows[PERIOD_DAY].to_s);
	}
	assert_int_equal(entered[PERIOD_TOTAL], 1);
	assert_true(entered[PERIOD_DAY] >= 3653 && entered[PERIOD_DAY] <= 3654);
	assert_true(entered[PERIOD_MONTH] >= 120 && entered[PERIOD_MONTH] <= 122);
	assert_true(entered[PERIOD_WEEK] >= 522 && entered[PERIOD_WEEK] <= 524);
	world_close(&w);
	assert_true(civil_set_zone("UTC", &why));
	buf_release(&why);
}

static void ten_years_of_windows(void **state)
{
	sweep_years("UTC");
	sweep_years("Europe/Berlin");
	sweep_years("America/Santiago"); /* its clocks change at midnight */
}

static void a_day_of_23_hours_is_a_day(void **state)
{
	struct world w;
	struct buf why;
	struct claim c;
	buf_init(&why, 256);
	assert_true(civil_set_zone("Europe/Berlin", &why));
	world_open(&w);
	LIMIT(&w, w.key, false, "100/day");
	int64_t day = civil_window(PERIOD_DAY, NOON_S).from_s, short_days = 0, long_days = 0;
	for (int i = 0; i < 366; i++) {
		struct window d = civil_window(PERIOD_DAY, day);
		short_days += d.to_s - d.from_s == 23 * HOUR_S;
		long_days += d.to_s - d.from_s == 25 * HOUR_S;
		w.now_s = d.from_s;
		assert_int_equal(claim(&w, w.key, 50, 50, &c), CLAIM_GRANTED);
		books_settle(w.b, &c, 100, 0, 0);
		w.now_s = d.to_s - 1;
		assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_SPENT);
		assert_int_equal(w.a.resets_s, d.to_s);
		day = d.to_s;
	}
	assert_int_equal(short_days, 1);
	assert_int_equal(long_days, 1);
	world_close(&w);
	assert_true(civil_set_zone("UTC", &why));
	buf_release(&why);
}

/* ---- warnings ---- */

static void expect_warning(struct world *w, int percent, int64_t settled)
{
	struct budget_warning got;
	assert_true(books_next_warning(w->b, &got));
	assert_int_equal(got.percent, percent);
	assert_int_equal(got.settled, settled);
	assert_int_equal(got.key, 1);
	assert_false(books_next_warning(w->b, &got));
}

static void warnings_come_once_in_a_window(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	LIMIT(&w, w.key, true, "1000/day");
	use(&w, w.key, 499);
	assert_int_equal(w.warned, 0);
	use(&w, w.key, 1);
	assert_int_equal(w.warned, 1);
	expect_warning(&w, 50, 500);
	use(&w, w.key, 299);
	assert_int_equal(w.warned, 1);
	use(&w, w.key, 2);
	expect_warning(&w, 80, 801);
	use(&w, w.key, 198);
	assert_int_equal(w.warned, 2);
	assert_int_equal(claim(&w, w.key, 1, 0, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 1, 0, 0);
	expect_warning(&w, 100, 1000);
	LIMIT(&w, w.key, true, "1000/day"); /* nothing new */
	assert_int_equal(w.warned, 3);
	w.now_s += DAY_S;
	assert_int_equal(claim(&w, w.key, 900, 1, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 850, 0, 0); /* both at once: the higher one */
	expect_warning(&w, 80, 850);
	LIMIT(&w, w.key, true, "10000/day"); /* more room: what is crossed from now on */
	use(&w, w.key, 4150);
	expect_warning(&w, 50, 5000);
	world_close(&w);
}

/* More at once than the list has room for: none is lost, only late. */
static void warnings_wait_for_room(void **state)
{
	struct world w;
	struct budget_warning got;
	size_t n = 0;
	world_open(&w);
	for (uint32_t i = 1; i <= 1000; i++) {
		struct scope *s = books_scope(w.b, i, STR_NONE);
		LIMIT(&w, s, true, "100/day");
		use(&w, s, 60);
	}
	while (books_next_warning(w.b, &got))
		n++;
	assert_int_equal(n, 256);
	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 1; i <= 1000; i++)
			use(&w, books_scope(w.b, i, STR_NONE), 1);
		while (books_next_warning(w.b, &got))
			n++;
	}
	assert_int_equal(n, 1000 + 256); /* 50 % of each, and of 80 %, which came in the last round, what there is room for */
	world_close(&w);
}

/* ---- scopes and limits ---- */

static void scopes_are_found_again(void **state)
{
	struct world w;
	uint32_t key;
	struct str pattern;
	size_t n = 0;
	world_open(&w);
	struct scope *far = books_scope(w.b, 4000000000u, STR_NONE), *rule = books_scope(w.b, 1, STR("q*")), *model = books_scope(w.b, 0, STR("q*"));
	struct scope *gateway = books_scope(w.b, 0, STR_NONE);
	for (uint32_t i = 1; i < 5000; i++)
		assert_ptr_equal(books_scope(w.b, i, STR_NONE), books_scope(w.b, i, STR("")));
	assert_ptr_equal(books_scope(w.b, 4000000000u, STR_NONE), far);
	assert_ptr_equal(books_find(w.b, 1, STR("q*")), rule);
	assert_ptr_equal(books_find(w.b, 0, STR("q*")), model);
	assert_ptr_equal(books_find(w.b, 0, STR_NONE), gateway);
	assert_ptr_equal(books_find(w.b, 1, STR_NONE), w.key);
	assert_null(books_find(w.b, 7777, STR_NONE));
	assert_null(books_find(w.b, 1, STR("q")));
	assert_true(far != rule && rule != model && model != gateway && gateway != w.key);
	while (books_scope_at(w.b, n, &key, &pattern))
		n++;
	assert_int_equal(n, 5003);
	assert_ptr_equal(books_scope_at(w.b, 2, &key, &pattern), rule);
	assert_true(key == 1 && str_eq(pattern, STR("q*")));
	struct scope_view v;
	assert_true(books_view_at(w.b, 2, w.now_s * SECOND, &v));
	assert_true(v.key == 1 && str_eq(v.pattern, STR("q*")));
	assert_false(books_view_at(w.b, 5003, w.now_s * SECOND, &v));
	world_close(&w);
}

static void new_limits_keep_what_was_used(void **state)
{
	struct world w;
	struct claim c, d;
	world_open(&w);
	assert_int_equal(claim(&w, w.key, 100, 100, &c), CLAIM_GRANTED);
	use(&w, w.key, 300);
	LIMIT(&w, w.key, false, "600/day"); /* set in the middle: both count */
	assert_audit(w.b);
	assert_int_equal(claim(&w, w.key, 50, 51, &d), CLAIM_LATER);
	assert_int_equal(claim(&w, w.key, 50, 50, &d), CLAIM_GRANTED);
	LIMIT(&w, w.key, false, "400/day", "500/month", "$1/day");
	assert_audit(w.b);
	struct scope_view v = view(&w, w.key);
	assert_int_equal(v.limits.budget_count, 3);
	assert_int_equal(v.budgets[0].settled, 300);
	assert_int_equal(v.budgets[0].held, 300);
	assert_int_equal(v.budgets[1].settled, 300);
	assert_int_equal(v.budgets[2].settled, 0);
	books_set_limits(w.b, w.key, NULL);
	books_settle(w.b, &c, 150, 0, 0);
	books_settle(w.b, &d, 50, 0, 0);
	LIMIT(&w, w.key, false, "500/day");
	assert_int_equal(claim(&w, w.key, 1, 1, &c), CLAIM_SPENT);
	assert_int_equal(view(&w, w.key).budgets[0].leased, 500);
	world_close(&w);
}

static void loaded_is_settled(void **state)
{
	struct world w;
	struct claim c;
	world_open(&w);
	books_set_clock(w.b, NOON_S * SECOND);
	LIMIT(&w, w.key, false, "1000/day", "$1/month");
	books_load(w.b, w.key, PERIOD_DAY, 900, 5);
	books_load(w.b, w.key, PERIOD_MONTH, 5000, 999000000);
	assert_audit(w.b);
	assert_int_equal(w.warned, 0); /* said in the life before */
	assert_int_equal(claim(&w, w.key, 50, 51, &c), CLAIM_SPENT);
	assert_int_equal(claim(&w, w.key, 50, 50, &c), CLAIM_GRANTED);
	books_settle(w.b, &c, 100, 0, 0);
	expect_warning(&w, 100, 1000);
	struct scope_view v = view(&w, w.key);
	assert_int_equal(v.budgets[1].settled, 999000000);
	assert_int_equal(v.settled[PERIOD_MONTH][UNIT_TOKENS], 5100);
	world_close(&w);
}

static void the_audit_finds_what_does_not_add_up(void **state)
{
	struct world w;
	struct buf report;
	world_open(&w);
	buf_init(&report, 4096);
	assert_int_equal(books_audit(w.b, &report), 0);
	assert_int_equal(report.len, 0);
	/* A claim that says it held more than it did. */
	struct claim c;
	assert_int_equal(claim(&w, w.key, 10, 10, &c), CLAIM_GRANTED);
	c.hold_tokens += 5;
	books_settle(w.b, &c, 1, 0, 0);
	assert_int_equal(books_audit(w.b, &report), 1);
	assert_non_null(memmem(report.ptr, report.len, "-5 tokens are held by 0 requests", 32));
	buf_release(&report);
	books_free(w.b);
}

int main(void)
{
	struct buf why;
	buf_init(&why, 256);
	if (!civil_set_zone("UTC", &why))
		return 1;
	buf_release(&why);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_of_two_hundred),
		cmocka_unit_test(all_or_nothing_in_every_scope),
		cmocka_unit_test(nobody_asked_grants),
		cmocka_unit_test(open_output_is_what_budgets_buy),
		cmocka_unit_test(open_output_in_money),
		cmocka_unit_test(answers_without_tokens),
		cmocka_unit_test(absurd_numbers),
		cmocka_unit_test(soft_lets_the_last_one_finish),
		cmocka_unit_test(places),
		cmocka_unit_test(what_cannot_be_waited_for_comes_first),
		cmocka_unit_test(a_request_belongs_to_the_window_of_its_claim),
		cmocka_unit_test(a_window_is_never_entered_again),
		cmocka_unit_test(book_time_never_goes_back),
		cmocka_unit_test(ten_years_of_windows),
		cmocka_unit_test(a_day_of_23_hours_is_a_day),
		cmocka_unit_test(warnings_come_once_in_a_window),
		cmocka_unit_test(warnings_wait_for_room),
		cmocka_unit_test(scopes_are_found_again),
		cmocka_unit_test(new_limits_keep_what_was_used),
		cmocka_unit_test(loaded_is_settled),
		cmocka_unit_test(the_audit_finds_what_does_not_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
