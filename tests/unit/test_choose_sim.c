/* test_choose_sim.c - what the choice does to simulated engines: throughput of equal and unequal ones, and caches that are hit. The gateway's side is the real
 * choose(), pace and prefix table; places at the engines are limited or not, and who finds none waits in line.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "gate/choose.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "random_fixture.h"

#define ENGINES 4
#define JOBS    4096
#define ACTIVE  64
#define BLOCKS  PREFIX_BLOCKS
#define TOKENS_PER_BLOCK 128

static double fraction(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / (double)(UINT64_C(1) << 53);
}

static double exponential(uint64_t *state, double mean)
{
	return -mean * log(1 - fraction(state));
}

/* ---- an engine's cache of blocks: the least recently used go ---- */

#define CHAINS 4096

struct block {
	uint64_t hash;
	int32_t next, older, newer;
};

struct cache {
	struct block *blocks;
	int32_t chains[CHAINS];
	int32_t count, room, oldest, newest;
};

static void cache_init(struct cache *c, int32_t room)
{
	memset(c->chains, -1, sizeof(c->chains));
	c->blocks = mem_array((size_t)room + 1, sizeof(*c->blocks));
	c->room = room;
	c->count = 0;
	c->oldest = c->newest = -1;
}

static int32_t cache_find(const struct cache *c, uint64_t hash)
{
	int32_t at = c->chains[hash % CHAINS];
	while (at >= 0 && c->blocks[at].hash != hash)
		at = c->blocks[at].next;
	return at;
}

static void cache_unlink(struct cache *c, int32_t at)
{
	struct block *b = &c->blocks[at];
	*(b->older < 0 ? &c->oldest : &c->blocks[b->older].newer) = b->newer;
	*(b->newer < 0 ? &c->newest : &c->blocks[b->newer].older) = b->older;
}

static int32_t cache_evict(struct cache *c)
{
	int32_t at = c->oldest, *link = &c->chains[c->blocks[at].hash % CHAINS];
	cache_unlink(c, at);
	while (*link != at)
		link = &c->blocks[*link].next;
	*link = c->blocks[at].next;
	return at;
}

static void cache_touch(struct cache *c, uint64_t hash)
{
	int32_t at = cache_find(c, hash);
	if (at >= 0) {
		cache_unlink(c, at);
	} else {
		at = c->count < c->room ? c->count++ : cache_evict(c);
		c->blocks[at].hash = hash;
		c->blocks[at].next = c->chains[hash % CHAINS];
		c->chains[hash % CHAINS] = at;
	}
	c->blocks[at].older = c->newest;
	c->blocks[at].newer = -1;
	*(c->newest < 0 ? &c->oldest : &c->blocks[c->newest].newer) = at;
	c->newest = at;
}

static uint32_t cache_prefix(const struct cache *c, const uint64_t *hashes, uint32_t count)
{
	uint32_t n = 0;
	while (n < count && cache_find(c, hashes[n]) >= 0)
		n++;
	return n;
}

/* ---- the world ---- */

struct job {
	double arrived, sent, first, prefill, decode; /* work left in microseconds at speed 1 */
	uint32_t client, others, output, guessed;     /* guessed: blocks that the choice took to be cached */
	uint32_t count;
	uint64_t hashes[BLOCKS];
	struct job *next;
};

struct line {
	struct job *first, **last;
};

struct engine {
	double speed, share; /* each beside it slows a request by that share of itself: 1 shares the machine out, 0 costs nothing */
	uint32_t slots, limit, active, taken;
	struct job *jobs[ACTIVE];
	struct line waiting;
	struct pace pace;
	struct cache cache;
	uint64_t chosen;
};

enum knowledge { BY_TABLE, BY_ORACLE };

struct world;
typedef void prompt_fn(struct world *w, struct job *j);

struct world {
	struct engine engines[ENGINES];
	uint32_t engine_count;
	enum strategy strategy;
	bool affinity;
	enum knowledge knowledge;
	uint32_t clients;      /* closed loop: so many, each thinking for think_us between its requests; 0: open loop */
	double think_us, apart_us;
	double prefill_us, decode_us; /* a token, at speed 1 */
	prompt_fn *prompt;
	uint32_t turns_left[1024];
	uint64_t threads[1024];      /* of each client: its conversation */
	uint32_t lengths[1024];
	double wakes[1024];
	uint64_t random, content; /* when something happens; what is asked, the same in each world */
	double now, next_arrival, measure_from;
	struct prefixes *prefixes;
	struct line line;
	uint32_t turn;
	/* results */
	uint64_t done, blocks, hits;
	double *times;           /* to the first token */
	size_t time_count;
	uint64_t window[2];      /* of the last 100 choices, for each of two engines */
	double share_low, share_high;
};

static void line_put(struct line *l, struct job *j)
{
	j->next = NULL;
	if (!l->first)
		l->last = &l->first;
	*l->last = j;
	l->last = &j->next;
}

static struct job *line_get(struct line *l)
{
	struct job *j = l->first;
	l->first = j->next;
	return j;
}

static void activate(struct world *w, struct engine *e)
{
	while (e->waiting.first && e->active < e->slots) {
		struct job *j = line_get(&e->waiting);
		uint32_t cached = e->cache.room ? cache_prefix(&e->cache, j->hashes, j->count) : 0;
		if (w->now >= w->measure_from) {
			w->hits += cached;
			w->blocks += j->count;
		}
		j->prefill = (j->count - cached) * TOKENS_PER_BLOCK * w->prefill_us + 5000;
		e->jobs[e->active++] = j;
	}
}

static void note_share(struct world *w, int at)
{
	if (at < 2)
		w->window[at]++;
	if (w->window[0] + w->window[1] < 100)
		return;
	double share = (double)w->window[0] / 100;
	w->window[0] = w->window[1] = 0;
	if (w->now < w->measure_from)
		return;
	w->share_low = share < w->share_low ? share : w->share_low;
	w->share_high = share > w->share_high ? share : w->share_high;
}

/* Asks for one job as the gateway would; false: no place is free. */
static bool place(struct world *w, struct job *j)
{
	struct candidate list[ENGINES] = {0};
	uint32_t targets[ENGINES] = {0, 1, 2, 3};
	struct prefix_look prefix[ENGINES] = {0};
	prefixes_look(w->prefixes, j->hashes, j->count, targets, w->engine_count, prefix);
	for (uint32_t i = 0; i < w->engine_count; i++) {
		struct engine *e = &w->engines[i];
		if (w->knowledge == BY_ORACLE)
			prefix[i] = (struct prefix_look){.blocks = cache_prefix(&e->cache, j->hashes, j->count)};
		list[i] = (struct candidate){.taken = e->taken, .limit = e->limit, .weight = 100, .usable = true, .prefix = prefix[i], .pace = &e->pace};
	}
	struct choice_ask ask = {.strategy = w->strategy, .affinity = w->affinity, .input_tokens = j->count * TOKENS_PER_BLOCK,
				 .blocks = j->count, .turn = w->turn};
	int at = choose(&ask, list, w->engine_count);
	if (at < 0)
		return false;
	struct engine *e = &w->engines[at];
	w->turn++;
	note_share(w, at);
	if (w->affinity)
		prefixes_note(w->prefixes, j->hashes, j->count, (uint32_t)at);
	j->sent = w->now;
	j->others = e->taken++;
	j->guessed = w->affinity ? prefix[at].blocks : 0;
	e->chosen++;
	line_put(&e->waiting, j);
	activate(w, e);
	return true;
}

static void arrive(struct world *w, uint32_t client)
{
	struct job *j = mem_zero(sizeof(*j));
	j->client = client;
	j->arrived = w->now;
	w->prompt(w, j);
	j->decode = j->output * w->decode_us;
	if (w->line.first || !place(w, j))
		line_put(&w->line, j);
}

static void first_token(struct world *w, struct engine *e, struct job *j)
{
	j->first = w->now;
	pace_first(&e->pace, (int64_t)(w->now - j->sent), (int64_t)(j->count - j->guessed) * TOKENS_PER_BLOCK, j->others);
	for (uint32_t i = j->count; i > 0 && e->cache.room; i--) /* the beginning is the last to be thrown out */
		cache_touch(&e->cache, j->hashes[i - 1]);
	if (w->now >= w->measure_from)
		w->times[w->time_count++] = w->now - j->arrived;
}

static void finish(struct world *w, struct engine *e, uint32_t at)
{
	struct job *j = e->jobs[at];
	pace_done(&e->pace, (int64_t)(j->first - j->sent), (int64_t)(w->now - j->sent), j->output, j->others);
	e->jobs[at] = e->jobs[--e->active];
	e->taken--;
	w->done += w->now >= w->measure_from;
	if (w->clients)
		w->wakes[j->client] = w->now + exponential(&w->random, w->think_us);
	free(j);
	activate(w, e);
	while (w->line.first) {
		struct job *head = line_get(&w->line);
		if (place(w, head))
			continue;
		head->next = w->line.first;
		if (!head->next)
			w->line.last = &head->next;
		w->line.first = head;
		break;
	}
}

static double rate_of(const struct engine *e)
{
	return e->speed / (1 + e->share * (e->active ? e->active - 1 : 0));
}

/* Of the prompt until the first token, then of the answer. */
static double *work_left(struct job *j)
{
	return j->first > 0 ? &j->decode : &j->prefill;
}

/* What happens next: an engine's request gets its first token or ends, or one arrives. */
struct event {
	double at;
	struct engine *engine;
	uint32_t job, client;
};

static struct event next_event(struct world *w)
{
	struct event next = {.at = w->clients ? INFINITY : w->next_arrival};
	for (uint32_t i = 0; i < w->clients; i++)
		if (w->wakes[i] < next.at)
			next = (struct event){.at = w->wakes[i], .client = i};
	for (uint32_t i = 0; i < w->engine_count; i++) {
		struct engine *e = &w->engines[i];
		for (uint32_t k = 0; k < e->active; k++) {
			double at = w->now + *work_left(e->jobs[k]) / rate_of(e);
			if (at < next.at)
				next = (struct event){.at = at, .engine = e, .job = k};
		}
	}
	return next;
}

static void advance(struct world *w, double to)
{
	for (uint32_t i = 0; i < w->engine_count; i++) {
		struct engine *e = &w->engines[i];
		double work = (to - w->now) * rate_of(e);
		for (uint32_t k = 0; k < e->active; k++)
			*work_left(e->jobs[k]) -= work;
	}
	w->now = to;
}

static void handle(struct world *w, const struct event *next)
{
	if (next->engine && !next->engine->jobs[next->job]->first)
		first_token(w, next->engine, next->engine->jobs[next->job]);
	else if (next->engine)
		finish(w, next->engine, next->job);
	else if (w->clients) {
		w->wakes[next->client] = INFINITY;
		arrive(w, next->client);
	} else {
		w->next_arrival = w->now + exponential(&w->random, w->apart_us);
		arrive(w, 0);
	}
}

/* Answers a second, from `measure_from` on. */
static double run(struct world *w, double seconds)
{
	double until = seconds * 1e6;
	w->measure_from = until / 4;
	w->random = 88172645463325252U;
	w->content = 362436069;
	w->times = mem_array(200000, sizeof(*w->times));
	w->prefixes = prefixes_new(0);
	w->share_low = 1;
	for (uint32_t i = 0; i < w->clients; i++)
		w->wakes[i] = (double)i * 1000;
	for (;;) {
		struct event next = next_event(w);
		if (next.at > until)
			break;
		advance(w, next.at);
		handle(w, &next);
	}
	return (double)w->done / (until - w->measure_from) * 1e6;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

static double percentile_ms(struct world *w, double p)
{
	qsort(w->times, w->time_count, sizeof(*w->times), by_size);
	return w->time_count ? w->times[(size_t)(p * (double)(w->time_count - 1))] / 1000 : 0;
}

static void world_end(struct world *w)
{
	for (uint32_t i = 0; i < w->engine_count; i++) {
		struct engine *e = &w->engines[i];
		for (uint32_t k = 0; k < e->active; k++)
			free(e->jobs[k]);
		while (e->waiting.first)
			free(line_get(&e->waiting));
		free(e->cache.blocks);
	}
	while (w->line.first)
		free(line_get(&w->line));
	free(w->times);
	prefixes_free(w->prefixes);
	free(w);
}

/* ---- throughput ---- */

/* A chat of its own each time: nothing is shared. */
static void prompt_alone(struct world *w, struct job *j)
{
	j->count = 1 + random_next(&w->content) % 8;
	for (uint32_t i = 0; i < j->count; i++)
		j->hashes[i] = random_next(&w->content);
	j->output = 20 + (uint32_t)(exponential(&w->content, 100));
}

struct shape {
	const char *name;
	uint32_t slots, limit; /* of an engine */
	double share;
};

static const struct shape shapes[] = {
	{"8 slots, known", 8, 8, 0.05},
	{"8 slots, not known", 8, 0, 0.05},
	{"batches without end", ACTIVE, 0, 0.3},
	{"shares itself out", ACTIVE, 0, 1},
	{"one at a time, known", 1, 1, 0},
};

static struct world *two(const struct shape *s, double first, double second)
{
	struct world *w = mem_zero(sizeof(*w));
	w->engine_count = second > 0 ? 2 : 1;
	for (uint32_t i = 0; i < w->engine_count; i++) {
		struct engine *e = &w->engines[i];
		*e = (struct engine){.speed = i ? second : first, .share = s->share, .slots = s->slots, .limit = s->limit};
		cache_init(&e->cache, 0);
	}
	w->prefill_us = 250;
	w->decode_us = 10000;
	w->prompt = prompt_alone;
	return w;
}

static double closed(const struct shape *s, double first, double second, double *low, double *high)
{
	struct world *w = two(s, first, second);
	w->clients = (uint32_t)(20 * (first + second)); /* alike many for what there is */
	w->think_us = 1;
	double rate = run(w, 1600);
	if (low) {
		*low = w->share_low;
		*high = w->share_high;
	}
	world_end(w);
	return rate;
}

static void closed_loop(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		const struct shape *s = &shapes[i];
		double low[2], high[2];
		double one = closed(s, 1, 0, NULL, NULL), three = closed(s, 3, 0, NULL, NULL);
		double equal = closed(s, 1, 1, &low[0], &high[0]), unequal = closed(s, 1, 3, &low[1], &high[1]);
		print_message("%-22s one %.2f/s, two equal %.3f of it (share %.2f to %.2f), 1 and 3: %.3f of their sum (share %.2f to %.2f)\n", s->name, one,
			      equal / one, low[0], high[0], unequal / (one + three), low[1], high[1]);
		assert_true(equal >= 1.95 * one);
		assert_true(unequal >= 0.95 * (one + three));
		/* shares of each hundred choices: no swinging to and fro */
		assert_true(low[0] > 0.3 && high[0] < 0.7);
		assert_true(low[1] > 0.08 && high[1] < 0.45);
	}
}

/* Arrivals whatever becomes of them: at 90 % of what both can do nothing piles up, at 120 % all of it is used. */
static void open_loop(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		const struct shape *s = &shapes[i];
		double sum = closed(s, 1, 0, NULL, NULL) + closed(s, 3, 0, NULL, NULL);
		if (s->limit == 0 && s->slots == ACTIVE && s->share < 1)
			continue; /* has no most: a longer line is worked off faster */
		struct world *below = two(s, 1, 3), *above = two(s, 1, 3);
		below->apart_us = 1e6 / (0.9 * sum);
		above->apart_us = 1e6 / (1.2 * sum);
		double got = run(below, 400), most = run(above, 400);
		print_message("%-22s at 0.9 of the sum %.3f done, p90 to the first token %.0f ms; at 1.2: %.3f of the sum\n", s->name, got / (0.9 * sum),
			      percentile_ms(below, 0.9), most / sum);
		assert_true(got >= 0.96 * 0.9 * sum);
		assert_true(most >= 0.95 * sum);
		world_end(below);
		world_end(above);
	}
}

/* ---- caches ---- */

static uint64_t chain(uint64_t before, uint64_t salt)
{
	uint64_t x = (before ^ salt) * UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ x >> 32;
}

static void extend(struct job *j, uint32_t to, uint64_t salt)
{
	for (; j->count < to && j->count < BLOCKS; j->count++)
		j->hashes[j->count] = chain(j->count ? j->hashes[j->count - 1] : 1, salt);
}

/* Conversations that grow by what was asked and answered, behind a system prompt that all share. */
static void prompt_conversation(struct world *w, struct job *j)
{
	uint32_t c = j->client;
	if (w->turns_left[c] == 0) {
		w->turns_left[c] = 4 + random_next(&w->content) % 8;
		w->threads[c] = random_next(&w->content);
		w->lengths[c] = 16;
	}
	w->turns_left[c]--;
	w->lengths[c] += 2 + random_next(&w->content) % 6;
	extend(j, 12, 42);
	extend(j, w->lengths[c], w->threads[c]);
	j->output = 20 + random_next(&w->content) % 60;
}

/* One of a few long prompts, and a short question of its own. */
static void prompt_shared(struct world *w, struct job *j)
{
	extend(j, 48, 1000 + random_next(&w->content) % 12);
	extend(j, 48 + 1 + random_next(&w->content) % 4, random_next(&w->content));
	j->output = 20 + random_next(&w->content) % 60;
}

struct way {
	const char *name;
	enum strategy strategy;
	bool affinity;
	enum knowledge knowledge;
};

enum { ROUND_ROBIN, LEAST_BUSY, CAPACITY, AFFINITY, ORACLE, WAYS };
static const struct way ways[WAYS] = {
	{"round robin", STRATEGY_ROUND_ROBIN, false, BY_TABLE},
	{"least busy", STRATEGY_LEAST_BUSY, false, BY_TABLE},
	{"capacity", STRATEGY_CAPACITY, false, BY_TABLE},
	{"affinity", STRATEGY_CAPACITY, true, BY_TABLE},
	{"oracle", STRATEGY_CAPACITY, true, BY_ORACLE},
};

struct load {
	const char *name;
	prompt_fn *prompt;
	uint32_t clients, cache_blocks, limit;
	double think_us, apart_us;
	double of_oracle; /* hits, at least */
};

struct result {
	double rate, hits, p50, p90;
};

static struct result measure(const struct load *l, const struct way *way)
{
	struct world *w = mem_zero(sizeof(*w));
	w->engine_count = ENGINES;
	for (uint32_t i = 0; i < ENGINES; i++) {
		w->engines[i] = (struct engine){.speed = 1, .share = 0.5, .slots = 16, .limit = l->limit};
		cache_init(&w->engines[i].cache, (int32_t)l->cache_blocks);
	}
	w->strategy = way->strategy;
	w->affinity = way->affinity;
	w->knowledge = way->knowledge;
	w->prefill_us = 400;
	w->decode_us = 4000;
	w->prompt = l->prompt;
	w->clients = l->clients;
	w->think_us = l->think_us;
	w->apart_us = l->apart_us;
	struct result r = {.rate = run(w, 1200)};
	r.hits = (double)w->hits / (double)w->blocks;
	r.p50 = percentile_ms(w, 0.5);
	r.p90 = percentile_ms(w, 0.9);
	print_message("%-34s %-16s %6.2f/s, hits %.3f, to the first token p50 %6.0f ms, p90 %6.0f ms\n", l->name, way->name, r.rate, r.hits, r.p50, r.p90);
	world_end(w);
	return r;
}

static void caches_are_hit(void **state)
{
	static const struct load loads[] = {
		{"conversations, closed loop", prompt_conversation, 50, 700, 16, 4e6, 0, 0.95},
		{"conversations, no limits known", prompt_conversation, 50, 700, 0, 4e6, 0, 0.95},
		{"shared prompts, closed loop", prompt_shared, 14, 320, 16, 1e6, 0, 0.95},
		{"shared prompts, open loop", prompt_shared, 0, 320, 16, 0, 1e6 / 4.5, 0.95},
		/* twice as many want less room: what was pushed out is not known, and each mistake pushes out more */
		{"shared prompts, strained", prompt_shared, 24, 250, 16, 1e6, 0, 0.85},
	};
	for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++) {
		struct result r[WAYS];
		for (int k = 0; k < WAYS; k++)
			r[k] = measure(&loads[i], &ways[k]);
		print_message("    against round robin: %.2f x throughput, p90 %.1f x better; hits %.3f of the oracle's\n", r[AFFINITY].rate / r[ROUND_ROBIN].rate,
			      r[ROUND_ROBIN].p90 / r[AFFINITY].p90, r[AFFINITY].hits / r[ORACLE].hits);
		assert_true(r[AFFINITY].rate >= 2 * r[ROUND_ROBIN].rate || r[ROUND_ROBIN].p90 >= 5 * r[AFFINITY].p90);
		assert_true(r[AFFINITY].hits >= loads[i].of_oracle * r[ORACLE].hits);
	}
}

static void no_worse_where_nothing_is_shared(void **state)
{
	static const struct load loads[] = {
		{"nothing shared, closed loop", prompt_alone, 40, 500, 16, 1e6, 0},
		{"nothing shared, no limits known", prompt_alone, 40, 500, 0, 1e6, 0},
		{"nothing shared, open loop", prompt_alone, 0, 500, 16, 0, 1e6 / 8},
	};
	for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++) {
		struct result busy = measure(&loads[i], &ways[LEAST_BUSY]), mine = measure(&loads[i], &ways[AFFINITY]);
		assert_true(mine.rate >= 0.99 * busy.rate);
		assert_true(mine.p90 <= 1.03 * busy.p90);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_loop),
		cmocka_unit_test(open_loop),
		cmocka_unit_test(caches_are_hit),
		cmocka_unit_test(no_worse_where_nothing_is_shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
