/* books.c - the books themselves: their clock, their scopes, and what limits these have.
 *
 * One lock covers everything (books_parts.h); callbacks are called without it. Claims are in books_claim.c, settling in books_settle.c, leases in
 * books_lease.c, time in books_windows.c and books_rate.c, and what is shown in books_view.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>

#define SCOPE_BLOCK  1024
#define SERIAL_DENSE ((uint32_t)1 << 24) /* larger serials are found by name */

struct books *books_new(const struct books_events *events)
{
	struct books *b = mem_zero(sizeof(*b));
	pthread_mutexattr_t kind;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP); /* held so briefly that spinning beats sleeping */
	pthread_mutex_init(&b->lock, &kind);
	pthread_mutexattr_destroy(&kind);
	if (events)
		b->events = *events;
	b->leasing = b->events.leases != NULL;
	b->roll_us = INT64_MIN;
	arena_init(&b->arena, 4096);
	table_init(&b->others, 8);
	return b;
}

static struct scope *scope_number(const struct books *b, size_t i)
{
	return &b->blocks[i / SCOPE_BLOCK][i % SCOPE_BLOCK];
}

void books_free(struct books *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->scope_count; i++) {
		free(scope_number(b, i)->account);
		free(scope_number(b, i)->rules);
	}
	for (size_t i = 0; i * SCOPE_BLOCK < b->scope_count; i++)
		free(b->blocks[i]);
	free(b->blocks);
	free(b->by_serial);
	free(b->asking.items);
	free(b->granting.items);
	table_release(&b->others);
	arena_release(&b->arena);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void books_call(struct books *b, struct calls calls)
{
	if (calls.leases && b->events.leases)
		b->events.leases(b->events.user);
	if (calls.freed && b->events.freed)
		b->events.freed(b->events.user);
	if (calls.warning && b->events.warning)
		b->events.warning(b->events.user);
}

/* ---- the clock ---- */

static int64_t clock_raise(struct books *b, int64_t us)
{
	int64_t seen = atomic_load_explicit(&b->clock_us, memory_order_relaxed);
	while (seen < us)
		if (atomic_compare_exchange_weak_explicit(&b->clock_us, &seen, us, memory_order_relaxed, memory_order_relaxed))
			return us;
	return seen;
}

int64_t books_now_us(struct books *b)
{
	return clock_raise(b, clock_wall_us());
}

void books_set_clock(struct books *b, int64_t us)
{
	clock_raise(b, us);
}

/* ---- scopes ---- */

/* The name in `others`; its end is the pattern. */
static struct str scope_name(struct buf *name, uint32_t key, struct str pattern, size_t *pattern_at)
{
	buf_addf(name, "%u ", key);
	*pattern_at = name->len;
	buf_adds(name, pattern);
	assert(!name->over);
	return buf_str(name);
}

static bool by_serial(uint32_t key, struct str pattern)
{
	return key > 0 && key < SERIAL_DENSE && pattern.len == 0;
}

static struct scope *find(const struct books *b, uint32_t key, struct str pattern)
{
	if (by_serial(key, pattern))
		return key < b->serial_cap && b->by_serial[key] ? scope_number(b, b->by_serial[key] - 1) : NULL;
	struct buf name;
	size_t at;
	buf_init(&name, SIZE_MAX);
	struct scope *s = table_get(&b->others, scope_name(&name, key, pattern, &at));
	buf_release(&name);
	return s;
}

static struct scope *new_scope(struct books *b)
{
	size_t i = b->scope_count;
	if (i / SCOPE_BLOCK == b->block_cap) {
		b->block_cap = b->block_cap ? b->block_cap * 2 : 8;
		b->blocks = mem_grow(b->blocks, b->block_cap * sizeof(struct scope *));
	}
	if (i % SCOPE_BLOCK == 0)
		b->blocks[i / SCOPE_BLOCK] = mem_array(SCOPE_BLOCK, sizeof(struct scope));
	b->scope_count++;
	return scope_number(b, i);
}

static void note_serial(struct books *b, uint32_t key)
{
	if (key >= b->serial_cap) {
		size_t cap = b->serial_cap ? b->serial_cap : 64;
		while (cap <= key)
			cap += cap / 2;
		b->by_serial = mem_grow(b->by_serial, cap * sizeof(*b->by_serial));
		memset(b->by_serial + b->serial_cap, 0, (cap - b->serial_cap) * sizeof(*b->by_serial));
		b->serial_cap = cap;
	}
	b->by_serial[key] = (uint32_t)b->scope_count;
}

static struct scope *make(struct books *b, uint32_t key, struct str pattern)
{
	struct scope *s = new_scope(b);
	s->key = key;
	s->pattern = "";
	if (by_serial(key, pattern)) {
		note_serial(b, key);
		return s;
	}
	struct buf text;
	size_t at;
	buf_init(&text, SIZE_MAX);
	struct str name = arena_dup(&b->arena, scope_name(&text, key, pattern, &at));
	buf_release(&text);
	s->pattern = name.ptr + at;
	table_put(&b->others, name, s);
	return s;
}

struct scope *books_scope(struct books *b, uint32_t key, struct str pattern)
{
	books_lock(b);
	struct scope *s = find(b, key, pattern);
	if (!s)
		s = make(b, key, pattern);
	books_unlock(b);
	return s;
}

struct scope *books_find(struct books *b, uint32_t key, struct str pattern)
{
	books_lock(b);
	struct scope *s = find(b, key, pattern);
	books_unlock(b);
	return s;
}

struct scope *books_scope_at(struct books *b, size_t i, uint32_t *key, struct str *pattern)
{
	books_lock(b);
	struct scope *s = i < b->scope_count ? scope_number(b, i) : NULL;
	books_unlock(b);
	if (s) {
		*key = s->key;
		*pattern = str_from(s->pattern);
	}
	return s;
}

/* ---- limits ---- */

static bool no_limits(const struct limits *l)
{
	return !l || (!l->rpm && !l->tpm && !l->concurrency && !l->budget_count);
}

static bool same_limits(const struct rules *r, const struct limits *l)
{
	if (!r || no_limits(l))
		return !r && no_limits(l);
	if (r->requests.limit != l->rpm || r->tokens.limit != l->tpm || r->concurrency != l->concurrency)
		return false;
	if (r->soft != l->soft || r->count != l->budget_count)
		return false;
	for (size_t i = 0; i < r->count; i++)
		if (r->lines[i].unit != l->budgets[i].unit || r->lines[i].period != l->budgets[i].period || r->lines[i].amount != l->budgets[i].amount)
			return false;
	return true;
}

static struct line *line_of(struct rules *r, const struct budget *budget)
{
	for (size_t i = 0; r && i < r->count; i++)
		if (r->lines[i].unit == budget->unit && r->lines[i].period == budget->period)
			return &r->lines[i];
	return NULL;
}

/* What is held by requests from before the limit is written down with the next sync; until then it is beyond any lease. */
static void begin_line(struct books *b, struct scope *s, struct line *l, struct calls *calls)
{
	if (!s->account)
		return;
	line_begin(l, s->account->settled[l->period][l->unit], s->account->held[l->unit]);
	lease_overrun(b, s, l, calls);
}

/* Warnings of a budget that changed are for what it will pass from now on. */
static void set_line(struct books *b, struct scope *s, struct line *l, const struct budget *budget, const struct line *old, struct calls *calls)
{
	bool same = old && old->amount == budget->amount;
	if (old) {
		*l = *old;
	} else {
		l->unit = (uint8_t)budget->unit;
		l->period = (uint8_t)budget->period;
	}
	l->amount = budget->amount;
	if (!old)
		begin_line(b, s, l, calls);
	if (!same)
		l->warned = s->account ? warning_steps(s->account->settled[l->period][l->unit], l->amount) : 0;
}

static struct rules *new_rules(const struct limits *l)
{
	if (no_limits(l))
		return NULL;
	assert(l->budget_count <= BUDGETS_MAX);
	struct rules *r = mem_zero(sizeof(*r) + l->budget_count * sizeof(r->lines[0]));
	r->concurrency = (uint32_t)clamp_i64(l->concurrency, 0, UINT32_MAX);
	r->count = l->budget_count;
	r->soft = l->soft;
	return r;
}

static void fill_rules(struct books *b, struct scope *s, struct rules *old, const struct limits *l, struct calls *calls)
{
	struct rules *r = s->rules;
	if (old) {
		r->requests = old->requests;
		r->tokens = old->tokens;
		r->asking = old->asking;
	}
	rate_set(&r->requests, l->rpm);
	rate_set(&r->tokens, l->tpm);
	for (size_t i = 0; i < r->count; i++)
		set_line(b, s, &r->lines[i], &l->budgets[i], line_of(old, &l->budgets[i]), calls);
}

void books_set_limits(struct books *b, struct scope *s, const struct limits *l)
{
	struct calls calls = {0};
	struct rules *made = new_rules(l), *gone = made;
	books_lock(b);
	if (!same_limits(s->rules, l)) {
		gone = s->rules;
		s->rules = made;
		if (made)
			fill_rules(b, s, gone, l, &calls);
		calls.freed = b->waiting > 0; /* a wider limit is as good as something given back */
	}
	books_unlock(b);
	free(gone);
	books_call(b, calls);
}

void books_load(struct books *b, struct scope *s, enum period period, int64_t tokens, int64_t nanos)
{
	const int64_t more[UNIT_COUNT] = {[UNIT_TOKENS] = tokens, [UNIT_MONEY] = nanos};
	if (tokens <= 0 && nanos <= 0) /* as of most keys: no account for that */
		return;
	books_lock(b);
	books_roll(b, books_now_us(b));
	scope_refresh(b, s);
	int64_t *settled = s->account->settled[period];
	for (int u = 0; u < UNIT_COUNT; u++)
		settled[u] = clamp_i64(settled[u] + clamp_i64(more[u], 0, SETTLED_MAX), 0, SETTLED_MAX);
	for (size_t i = 0; s->rules && i < s->rules->count; i++) {
		struct line *l = &s->rules->lines[i];
		if (l->period != period)
			continue;
		l->leased = settled[l->unit];
		l->remainder = -s->account->held[l->unit];
		l->beyond = s->account->held[l->unit];
		l->warned = warning_steps(settled[l->unit], l->amount);
	}
	books_unlock(b);
}
