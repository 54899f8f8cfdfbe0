/* health.c - a target's breaker and its retry budget.
 *
 * Everything that decides whether requests pass stands in one word, so that each change is one compare-and-swap and no interleaving can leave half of one. Beside
 * it only `until_ms` of a busy target, which nothing but time ends and which lies at most HEALTH_WAIT_MAX_MS ahead. Any thread; never blocks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/health.h"

#define HISTORY_BITS 16
#define UNTIL_SHIFT  26 /* 38 bits of milliseconds: eight years of the monotonic clock */
#define UNTIL_MASK   ((UINT64_C(1) << (64 - UNTIL_SHIFT)) - 1)
#define COOLS_MAX    7

/* The word, taken apart. */
struct view {
	enum health_mode mode;
	bool probing;      /* half open: the probe is on its way */
	bool denied;       /* open or half open for its secret, not for failures */
	uint32_t cools;    /* cool-downs of this series: the next one is that often doubled */
	uint32_t pauses;   /* of a busy target that names no time, in a row */
	uint32_t history;  /* of the last requests while closed, the newest lowest; 1: failed */
	int64_t until_ms;  /* open: end of the cool-down; half open: end of the probe's time; closed: end of the probation */
};

static struct view unpack(uint64_t word)
{
	return (struct view){
		.mode = (enum health_mode)(word & 3),
		.probing = word >> 2 & 1,
		.denied = word >> 3 & 1,
		.cools = word >> 4 & 7,
		.pauses = word >> 7 & 7,
		.history = (uint32_t)(word >> 10) & ((1U << HISTORY_BITS) - 1),
		.until_ms = (int64_t)(word >> UNTIL_SHIFT),
	};
}

static uint64_t pack(const struct view *v)
{
	return (uint64_t)v->mode | (uint64_t)v->probing << 2 | (uint64_t)v->denied << 3 | (uint64_t)v->cools << 4 | (uint64_t)v->pauses << 7 |
	       (uint64_t)(v->history & ((1U << HISTORY_BITS) - 1)) << 10 | ((uint64_t)v->until_ms & UNTIL_MASK) << UNTIL_SHIFT;
}

static int64_t doubled(int64_t first_ms, uint32_t times, int64_t most_ms)
{
	int64_t ms = first_ms << times;
	return ms < most_ms ? ms : most_ms;
}

static bool is_bad(enum health_outcome how)
{
	return how == HEALTH_BAD || how == HEALTH_SILENT;
}

static int64_t cool_down(enum health_outcome how, uint32_t times)
{
	if (how == HEALTH_DENIED)
		return doubled(HEALTH_DENIED_MS, times, HEALTH_DENIED_MAX_MS);
	return doubled(HEALTH_COOL_MS, times, how == HEALTH_SILENT ? HEALTH_SILENT_MAX_MS : HEALTH_COOL_MAX_MS);
}

static void open_it(struct view *v, enum health_outcome how, int64_t now_ms, uint32_t random)
{
	bool denied = how == HEALTH_DENIED;
	if (denied != v->denied)
		v->cools = 0;
	int64_t ms = cool_down(how, v->cools);
	v->mode = HEALTH_OPEN;
	v->probing = false;
	v->denied = denied;
	v->cools += v->cools < COOLS_MAX;
	v->history = 0;
	v->until_ms = now_ms + ms + random % (uint32_t)(ms / 10 + 1);
}

static void close_it(struct view *v, int64_t now_ms)
{
	*v = (struct view){.mode = HEALTH_CLOSED, .cools = v->denied ? 0 : v->cools, .until_ms = v->denied ? 0 : now_ms + HEALTH_PROBATION_MS};
}

static bool has_failed_too_often(const struct view *v)
{
	int failures = __builtin_popcount(v->history);
	uint32_t run = (1U << HEALTH_FAILURES) - 1;
	return (v->history & run) == run || failures >= HEALTH_FAILURES_SHARE || (v->cools && failures >= HEALTH_FAILURES_AGAIN);
}

static void apply_closed(struct view *v, enum health_outcome how, int64_t now_ms, uint32_t random)
{
	if (how == HEALTH_DENIED) {
		open_it(v, how, now_ms, random);
		return;
	}
	if (how != HEALTH_GOOD && !is_bad(how))
		return;
	if (v->cools && now_ms >= v->until_ms) /* the probation is over */
		v->cools = 0;
	v->history = v->history << 1 | is_bad(how);
	if (how == HEALTH_GOOD)
		v->pauses = 0;
	else if (has_failed_too_often(v))
		open_it(v, how, now_ms, random);
}

static void apply_probe(struct view *v, enum health_outcome how, int64_t now_ms, uint32_t random)
{
	if (how == HEALTH_CANCELLED)
		v->probing = false;
	else if (is_bad(how) || how == HEALTH_DENIED)
		open_it(v, how, now_ms, random);
	else /* an answer that says "later" comes from one who is there */
		close_it(v, now_ms);
}

/* A report while it is open, or one of a request that is not the probe: mostly of what was sent before it opened. A probe that took longer than its time still
 * tells that the target answers. */
static void apply_late(struct view *v, enum health_outcome how, bool probe, int64_t now_ms, uint32_t random)
{
	if (probe && how == HEALTH_GOOD)
		close_it(v, now_ms);
	else if (how == HEALTH_DENIED && v->mode == HEALTH_OPEN && !v->denied)
		open_it(v, how, now_ms, random);
}

static void apply(struct view *v, enum health_outcome how, bool probe, int64_t now_ms, uint32_t random)
{
	if (v->mode == HEALTH_CLOSED)
		apply_closed(v, how, now_ms, random);
	else if (v->mode == HEALTH_HALF_OPEN && probe)
		apply_probe(v, how, now_ms, random);
	else
		apply_late(v, how, probe, now_ms, random);
}

/* ---- busy ---- */

static int64_t busy_until(const struct health *h)
{
	return atomic_load_explicit(&h->until_ms, memory_order_relaxed);
}

static void pause_until(struct health *h, int64_t until_ms)
{
	int64_t old = busy_until(h);
	while (old < until_ms && !atomic_compare_exchange_weak_explicit(&h->until_ms, &old, until_ms, memory_order_relaxed, memory_order_relaxed))
		;
}

/* Of several answers that say so at the same time, only the first makes the next pause longer; where the word has changed meanwhile, none does. */
static void pause_untold(struct health *h, int64_t now_ms)
{
	uint64_t old = atomic_load_explicit(&h->state, memory_order_relaxed);
	struct view v = unpack(old);
	if (busy_until(h) > now_ms)
		return;
	int64_t ms = doubled(HEALTH_BUSY_MS, v.pauses, HEALTH_BUSY_MAX_MS);
	pause_until(h, now_ms + ms);
	v.pauses += ms < HEALTH_BUSY_MAX_MS;
	atomic_compare_exchange_strong(&h->state, &old, pack(&v));
}

static void note_busy(struct health *h, int64_t retry_after_ms, int64_t now_ms)
{
	if (retry_after_ms <= 0)
		pause_untold(h, now_ms);
	else
		pause_until(h, now_ms + (retry_after_ms < HEALTH_WAIT_MAX_MS ? retry_after_ms : HEALTH_WAIT_MAX_MS));
}

/* ---- asking and reporting ---- */

static bool may_probe(const struct view *v, int64_t now_ms)
{
	return now_ms >= v->until_ms || (v->mode == HEALTH_HALF_OPEN && !v->probing);
}

static bool is_barred(const struct health *h, int64_t now_ms)
{
	return health_drained(h) || now_ms < busy_until(h);
}

enum health_verdict health_take(struct health *h, int64_t now_ms)
{
	if (is_barred(h, now_ms))
		return HEALTH_DO_NOT;
	uint64_t old = atomic_load_explicit(&h->state, memory_order_acquire);
	for (;;) {
		struct view v = unpack(old);
		if (v.mode == HEALTH_CLOSED)
			return HEALTH_ASK;
		if (!may_probe(&v, now_ms))
			return HEALTH_DO_NOT;
		v.mode = HEALTH_HALF_OPEN;
		v.probing = true;
		v.until_ms = now_ms + HEALTH_PROBE_MS;
		if (atomic_compare_exchange_weak(&h->state, &old, pack(&v)))
			return HEALTH_ASK_AS_PROBE;
	}
}

bool health_would(const struct health *h, int64_t now_ms)
{
	struct view v = unpack(atomic_load_explicit(&h->state, memory_order_relaxed));
	return !is_barred(h, now_ms) && (v.mode == HEALTH_CLOSED || may_probe(&v, now_ms));
}

void health_report(struct health *h, enum health_outcome how, bool probe, int64_t retry_after_ms, int64_t now_ms, uint32_t random)
{
	if (how == HEALTH_BUSY) /* before it may close, so that nothing slips through */
		note_busy(h, retry_after_ms, now_ms);
	uint64_t old = atomic_load_explicit(&h->state, memory_order_relaxed), new;
	do {
		struct view v = unpack(old);
		apply(&v, how, probe, now_ms, random);
		new = pack(&v);
	} while (new != old && !atomic_compare_exchange_weak(&h->state, &old, new));
}

void health_seen_up(struct health *h, int64_t now_ms)
{
	uint64_t old = atomic_load_explicit(&h->state, memory_order_relaxed);
	struct view v;
	do {
		v = unpack(old);
		if (v.mode != HEALTH_OPEN || v.denied)
			return;
		v.mode = HEALTH_HALF_OPEN;
		v.until_ms = now_ms;
	} while (!atomic_compare_exchange_weak(&h->state, &old, pack(&v)));
}

void health_reset(struct health *h)
{
	atomic_store(&h->state, 0);
	atomic_store(&h->until_ms, 0);
}

enum health_mode health_mode(const struct health *h)
{
	return unpack(atomic_load_explicit(&h->state, memory_order_relaxed)).mode;
}

static int64_t breaker_until(const struct view *v, int64_t now_ms)
{
	if (v->mode == HEALTH_CLOSED || may_probe(v, now_ms))
		return 0;
	int64_t soon = now_ms + HEALTH_COOL_MS;
	return v->mode == HEALTH_OPEN || v->until_ms < soon ? v->until_ms : soon;
}

int64_t health_until_ms(const struct health *h, int64_t now_ms)
{
	struct view v = unpack(atomic_load_explicit(&h->state, memory_order_relaxed));
	int64_t breaker = breaker_until(&v, now_ms), busy = busy_until(h) > now_ms ? busy_until(h) : 0;
	if (health_drained(h))
		return INT64_MAX;
	return breaker > busy ? breaker : busy;
}

void health_drain(struct health *h, bool drained)
{
	atomic_store_explicit(&h->drained, drained, memory_order_relaxed);
}

bool health_drained(const struct health *h)
{
	return atomic_load_explicit(&h->drained, memory_order_relaxed);
}

bool health_denied(const struct health *h)
{
	return unpack(atomic_load_explicit(&h->state, memory_order_relaxed)).denied;
}

/* ---- the retry budget ---- */

/* `counts`: the second, and four numbers of 13 bits that stop at their largest. The second wraps after more than an hour, and what happens to be found there then
 * is wrong for two seconds at most. */
#define COUNT_BITS  13
#define COUNT_MAX   ((1U << COUNT_BITS) - 1)
#define SECOND_MASK 0xfffU

struct counts {
	uint32_t second, requests, retries, old_requests, old_retries;
};

static struct counts counts_unpack(uint64_t word)
{
	return (struct counts){word >> 52, word & COUNT_MAX, word >> COUNT_BITS & COUNT_MAX, word >> (2 * COUNT_BITS) & COUNT_MAX,
			       word >> (3 * COUNT_BITS) & COUNT_MAX};
}

static uint64_t counts_pack(const struct counts *c)
{
	return (uint64_t)c->second << 52 | (uint64_t)c->old_retries << (3 * COUNT_BITS) | (uint64_t)c->old_requests << (2 * COUNT_BITS) |
	       (uint64_t)c->retries << COUNT_BITS | c->requests;
}

static void counts_turn(struct counts *c, uint32_t second)
{
	uint32_t ahead = (second - c->second) & SECOND_MASK;
	if (ahead == 0 || ahead == SECOND_MASK) /* another thread's clock may be a second further */
		return;
	*c = (struct counts){.second = second, .old_requests = ahead == 1 ? c->requests : 0, .old_retries = ahead == 1 ? c->retries : 0};
}

/* Over the last second: what is left of the one before counts with its share. */
static bool has_room(const struct counts *c, int64_t now_ms)
{
	uint32_t left = 1000 - (uint32_t)(now_ms % 1000);
	uint64_t requests = (uint64_t)c->requests * 1000 + (uint64_t)c->old_requests * left;
	uint64_t retries = (uint64_t)c->retries * 1000 + (uint64_t)c->old_retries * left;
	return (retries + 1000) * 100 <= requests * HEALTH_RETRY_SHARE + (uint64_t)HEALTH_RETRY_MIN * 1000 * 100;
}

bool health_count(struct health *h, bool retry, int64_t now_ms)
{
	uint64_t old = atomic_load_explicit(&h->counts, memory_order_relaxed);
	struct counts c;
	do {
		c = counts_unpack(old);
		counts_turn(&c, (uint32_t)(now_ms / 1000) & SECOND_MASK);
		if (retry && !has_room(&c, now_ms))
			return false;
		c.requests += !retry && c.requests < COUNT_MAX;
		c.retries += retry && c.retries < COUNT_MAX;
	} while (!atomic_compare_exchange_weak_explicit(&h->counts, &old, counts_pack(&c), memory_order_relaxed, memory_order_relaxed));
	return true;
}
