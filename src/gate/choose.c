/* choose.c - which place a request goes to. Any thread; reads what answers have taught, changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/choose.h"

#include <stddef.h>

#define SPREAD        8   /* each other request in flight is taken to cost an eighth of an idle target's time at least: nothing is sent all to one */
#define UNKNOWN_COUNT 4   /* a request in flight at a place that has not answered yet counts like so many */
#define ALIKE         8   /* predictions that differ by less than an eighth are alike */
#define STALE_BLOCKS  128 /* blocks that it was asked for since: fewer say nothing */
#define UNLIMITED     64  /* places that one without a limit is taken to have */

const char *const strategy_names[STRATEGY_COUNT + 1] = {"capacity", "round_robin", "least_busy", "weighted", "warm_first", NULL};

/* What is known of a place's speed, in one piece; also what is assumed of those that are not known. */
struct figures {
	int64_t base_us, load_us, token_ns, out_ns, out_load_ns;
	bool known, out_known;
};

struct pick {
	const struct choice_ask *ask;
	const struct candidate *list;
	uint32_t count;
	bool down;               /* only those that are down are left */
	bool warm_only;
	bool any_known;
	struct figures fastest;  /* of those that are known: the fastest to the first token, the fastest in answering */
};

static bool is_eligible(const struct pick *p, const struct candidate *c)
{
	return c->usable && c->down == p->down;
}

static bool is_free(const struct candidate *c)
{
	return !c->limit || c->taken < c->limit;
}

static bool may_win(const struct pick *p, const struct candidate *c)
{
	return is_eligible(p, c) && is_free(c) && (!p->warm_only || c->warm);
}

static int64_t load_of(const struct candidate *c)
{
	return (int64_t)c->taken + c->engine_waiting;
}

/* ---- predictions ---- */

static int64_t number(const _Atomic uint32_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static int64_t at_least(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static struct figures figures_of(const struct candidate *c)
{
	struct figures f = {0};
	if (!c->pace)
		return f;
	f.known = number(&c->pace->seen) > 0;
	f.out_known = number(&c->pace->tokens_per_s) > 0;
	f.base_us = number(&c->pace->base_us);
	f.load_us = at_least(number(&c->pace->load_us), f.base_us / SPREAD);
	f.token_ns = number(&c->pace->token_ns);
	f.out_ns = number(&c->pace->out_ns);
	f.out_load_ns = at_least(number(&c->pace->out_load_ns), f.out_ns / SPREAD);
	return f;
}

/* Tokens of the prompt that a place has to work through, all but the share that it has cached. */
static int64_t uncached(const struct choice_ask *ask, const struct candidate *c)
{
	uint32_t cached = ask->affinity ? c->prefix.blocks : 0;
	if (cached == 0 || cached >= ask->blocks)
		return cached ? 0 : ask->input_tokens;
	return ask->input_tokens - ask->input_tokens * cached / ask->blocks;
}

static int64_t first_us(const struct figures *f, int64_t tokens, int64_t others)
{
	return f->base_us + f->load_us * others + f->token_ns * tokens / 1000;
}

static int64_t predict_us(const struct pick *p, const struct candidate *c)
{
	struct figures f = figures_of(c);
	int64_t others = load_of(c), output = p->ask->output_tokens ? p->ask->output_tokens : CHOOSE_OUTPUT;
	if (!f.known) {
		f = p->fastest;
		others = (int64_t)c->taken * UNKNOWN_COUNT + c->engine_waiting;
	} else if (!f.out_known) {
		f.out_ns = p->fastest.out_ns;
		f.out_load_ns = p->fastest.out_load_ns;
	}
	return first_us(&f, uncached(p->ask, c), others) + output * (f.out_ns + f.out_load_ns * others) / 1000;
}

static void compare(const struct pick *p, struct figures *best, const struct figures *f)
{
	if (f->known && (!best->known || first_us(f, p->ask->input_tokens, 0) < first_us(best, p->ask->input_tokens, 0))) {
		best->known = true;
		best->base_us = f->base_us;
		best->load_us = f->load_us;
		best->token_ns = f->token_ns;
	}
	if (f->out_known && (!best->out_known || f->out_ns < best->out_ns)) {
		best->out_known = true;
		best->out_ns = f->out_ns;
		best->out_load_ns = f->out_load_ns;
	}
}

static bool is_known(const struct candidate *c)
{
	return c->pace && number(&c->pace->seen) && number(&c->pace->tokens_per_s);
}

/* What is assumed of those that are not known; mostly there are none. */
static void find_fastest(struct pick *p)
{
	uint32_t known = 0;
	while (known < p->count && is_known(&p->list[known]))
		known++;
	p->any_known = known == p->count;
	for (uint32_t i = 0; !p->any_known && i < p->count; i++) {
		struct figures f = figures_of(&p->list[i]);
		if (is_eligible(p, &p->list[i]))
			compare(p, &p->fastest, &f);
	}
	p->any_known |= p->fastest.known;
}

/* ---- strategies ---- */

static int64_t capacity_score(const struct pick *p, const struct candidate *c)
{
	return p->any_known ? predict_us(p, c) : load_of(c) * 65536 / (c->limit ? c->limit : UNLIMITED);
}

static int64_t busy_score(const struct pick *p, const struct candidate *c)
{
	return c->taken;
}

static int64_t no_score(const struct pick *p, const struct candidate *c)
{
	return 0;
}

/* The smallest score; the first in turn of those that are alike. */
static int smallest(const struct pick *p, int64_t (*score)(const struct pick *p, const struct candidate *c))
{
	int best = -1;
	int64_t least = INT64_MAX;
	for (uint32_t i = 0, at = p->ask->turn % p->count; i < p->count; i++, at = at + 1 < p->count ? at + 1 : 0) {
		if (!may_win(p, &p->list[at]) || score(p, &p->list[at]) >= least)
			continue;
		least = score(p, &p->list[at]);
		best = (int)at;
	}
	return best;
}

/* Turns scattered evenly over 32 bits, in an order that fits no period of who asks. */
static uint32_t scatter(uint32_t turn)
{
	return turn * 0x9e3779b1U;
}

/* Scores of all, INT64_MAX where one cannot win; returns the smallest. */
static int64_t score_all(const struct pick *p, int64_t scores[CHOOSE_MOST])
{
	int64_t least = INT64_MAX;
	for (uint32_t i = 0; i < p->count; i++) {
		scores[i] = may_win(p, &p->list[i]) ? capacity_score(p, &p->list[i]) : INT64_MAX;
		least = scores[i] < least ? scores[i] : least;
	}
	return least;
}

/* Predictions are not exact: of those that are as good as the best, the one with the least to do, in turn. */
static int least_loaded(const struct pick *p, const int64_t *scores, int64_t most)
{
	int best = -1;
	int64_t least = INT64_MAX;
	for (uint32_t i = 0, at = p->ask->turn % p->count; i < p->count; i++, at = at + 1 < p->count ? at + 1 : 0) {
		if (scores[at] > most || load_of(&p->list[at]) >= least)
			continue;
		least = load_of(&p->list[at]);
		best = (int)at;
	}
	return best;
}

/* An idle place that is not the best, now and then: what is known of it may be out of date. */
static int explore(const struct pick *p, const int64_t *scores, int best, int64_t least)
{
	uint32_t chance = scatter(p->ask->turn);
	if (chance >> 28)
		return best;
	int64_t most = chance >> 26 == 0 ? INT64_MAX - 1 : 4 * least;
	for (uint32_t i = 0, at = p->ask->turn / 16 % p->count; i < p->count; i++, at = (at + 1) % p->count)
		if ((int)at != best && scores[at] <= most && p->list[at].taken == 0)
			return (int)at;
	return best;
}

static int by_capacity(struct pick *p)
{
	int64_t scores[CHOOSE_MOST];
	find_fastest(p);
	int64_t least = score_all(p, scores);
	if (least == INT64_MAX)
		return -1;
	if (!p->any_known)
		return least_loaded(p, scores, least);
	return explore(p, scores, least_loaded(p, scores, least + least / ALIKE), least);
}

static int by_weight(const struct pick *p)
{
	uint64_t sum = 0, at;
	for (uint32_t i = 0; i < p->count; i++)
		sum += may_win(p, &p->list[i]) ? p->list[i].weight : 0;
	at = sum * scatter(p->ask->turn) >> 32;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t weight = may_win(p, &p->list[i]) ? p->list[i].weight : 0;
		if (at < weight)
			return (int)i;
		at -= weight;
	}
	return smallest(p, busy_score); /* all weigh nothing */
}

static int by_strategy(struct pick *p)
{
	switch (p->ask->strategy) {
	case STRATEGY_ROUND_ROBIN:
		return smallest(p, no_score);
	case STRATEGY_LEAST_BUSY:
		return smallest(p, busy_score);
	case STRATEGY_WEIGHTED:
		return by_weight(p);
	default:
		return by_capacity(p);
	}
}

/* ---- affinity ---- */

/* What the load of one is measured against. */
struct loads {
	int64_t sum, places, count;
	bool limited; /* all have a limit: by places, else by heads */
};

static struct loads loads_of(const struct pick *p)
{
	struct loads l = {.limited = true};
	for (uint32_t i = 0; i < p->count; i++) {
		const struct candidate *c = &p->list[i];
		if (!is_eligible(p, c))
			continue;
		l.sum += load_of(c);
		l.places += c->limit;
		l.count++;
		l.limited &= c->limit > 0;
	}
	return l;
}

/* At most 1.25 times its share of all load, plus two. */
static bool is_within(const struct loads *l, const struct candidate *c)
{
	int64_t part = l->limited ? c->limit : 1, all = l->limited ? l->places : l->count;
	return 4 * all * load_of(c) <= 5 * l->sum * part + 8 * all;
}

/* How likely other requests have pushed it out, in doublings. */
static int staleness(const struct candidate *c)
{
	return 31 - __builtin_clz(c->prefix.since / STALE_BLOCKS + 1);
}

/* More of the prompt; as much, and fresher; as fresh, and less to do. */
static bool has_more(const struct candidate *a, const struct candidate *b)
{
	if (a->prefix.blocks != b->prefix.blocks)
		return a->prefix.blocks > b->prefix.blocks;
	int older = staleness(a) - staleness(b);
	return older < 0 || (older == 0 && load_of(a) < load_of(b));
}

static int by_affinity(struct pick *p)
{
	struct loads l = loads_of(p);
	int best = -1;
	for (uint32_t i = 0, at = p->ask->turn % p->count; i < p->count; i++, at = at + 1 < p->count ? at + 1 : 0) {
		const struct candidate *c = &p->list[at], *other = best < 0 ? NULL : &p->list[best];
		if (c->prefix.blocks < 2 || 4 * (uint64_t)c->prefix.blocks < p->ask->blocks || !may_win(p, c) || !is_within(&l, c))
			continue;
		if (!other || has_more(c, other))
			best = (int)at;
	}
	return best;
}

/* ---- a home in the queue ---- */

/* The n-th of those that may be asked and have so many blocks. */
static int nth(const struct candidate *list, uint32_t count, uint32_t least, uint64_t n)
{
	for (uint32_t i = 0; i < count; i++)
		if (list[i].usable && !list[i].down && list[i].prefix.blocks >= least && n-- == 0)
			return (int)i;
	return -1;
}

int choose_home(const uint64_t *hashes, uint32_t blocks, const struct candidate *list, uint32_t count, bool *is_new)
{
	uint32_t most = 0, fit = 0, near = 0;
	*is_new = false;
	for (uint32_t i = 0; i < count; i++) {
		bool counts = list[i].usable && !list[i].down;
		fit += counts;
		most = counts && list[i].prefix.blocks > most ? list[i].prefix.blocks : most;
	}
	if (fit < 2 || blocks < 2)
		return -1;
	if (most < 2 || 4 * (uint64_t)most < blocks) {
		*is_new = true;
		return nth(list, count, 0, hashes[blocks - 1] % fit);
	}
	uint32_t least = most - most / 8;
	for (uint32_t i = 0; i < count; i++)
		near += list[i].usable && !list[i].down && list[i].prefix.blocks >= least;
	return near < fit ? nth(list, count, least, hashes[most - 1] % near) : -1;
}

/* ---- the choice ---- */

static bool any(const struct pick *p, bool (*is)(const struct pick *p, const struct candidate *c))
{
	for (uint32_t i = 0; i < p->count; i++)
		if (is(p, &p->list[i]))
			return true;
	return false;
}

static bool is_warm_and_free(const struct pick *p, const struct candidate *c)
{
	return c->warm && may_win(p, c);
}

int choose(const struct choice_ask *ask, const struct candidate *list, uint32_t count)
{
	struct pick p = {.ask = ask, .list = list, .count = count < CHOOSE_MOST ? count : CHOOSE_MOST};
	if (!any(&p, is_eligible)) {
		p.down = true;
		if (!any(&p, is_eligible))
			return -2;
	}
	p.warm_only = ask->strategy == STRATEGY_WARM_FIRST && any(&p, is_warm_and_free);
	int best = ask->affinity ? by_affinity(&p) : -1;
	return best >= 0 ? best : by_strategy(&p);
}
