/* books_settle.c - what was really used takes the place of what was held; and who is to be told of it.
 *
 * What was used counts in the windows that the request was claimed in, as long as they run. Under the books' lock but for the callbacks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

#include <assert.h>

#define USED_MAX ((int64_t)1 << 60)

static const uint8_t percents[] = {50, 80, 100};

uint8_t warning_steps(int64_t settled, int64_t amount)
{
	uint8_t n = 0;
	while (n < sizeof(percents) && settled >= amount / 100 * percents[n] + amount % 100 * percents[n] / 100)
		n++;
	return n;
}

/* One that does not fit into the list is tried again with the next request. */
static void warn(struct books *b, const struct scope *s, struct line *l, int64_t settled, struct calls *calls)
{
	if (l->warned == sizeof(percents) || settled * 2 < l->amount)
		return;
	uint8_t steps = warning_steps(settled, l->amount);
	if (steps <= l->warned || b->warning_count == WARNINGS_MAX)
		return;
	l->warned = steps;
	b->warnings[(b->warning_first + b->warning_count++) % WARNINGS_MAX] = (struct budget_warning){
		.key = s->key, .pattern = str_from(s->pattern), .settled = settled, .percent = percents[steps - 1],
		.budget = {(enum budget_unit)l->unit, (enum period)l->period, l->amount},
	};
	calls->warning = true;
}

bool books_next_warning(struct books *b, struct budget_warning *out)
{
	books_lock(b);
	bool any = b->warning_count > 0;
	if (any) {
		*out = b->warnings[b->warning_first];
		b->warning_first = (b->warning_first + 1) % WARNINGS_MAX;
		b->warning_count--;
	}
	books_unlock(b);
	return any;
}

/* A request as it ends. */
struct ending {
	const struct claim *claim;
	int64_t used[UNIT_COUNT], hold[UNIT_COUNT];
	int64_t mono_us;
};

static void settle_line(struct books *b, struct scope *s, struct line *l, const struct ending *e, int64_t added, struct calls *calls)
{
	l->remainder += e->hold[l->unit] - added;
	if (l->remainder < -l->beyond)
		l->beyond = -l->remainder;
	if (added > e->hold[l->unit])
		lease_overrun(b, s, l, calls);
	if (added)
		warn(b, s, l, s->account->settled[l->period][l->unit], calls);
}

static void settle_scope(struct books *b, struct scope *s, const struct ending *e, struct calls *calls)
{
	struct account *a = s->account;
	int64_t added[PERIOD_COUNT][UNIT_COUNT];
	assert(s->in_flight > 0);
	s->in_flight--;
	for (int u = 0; u < UNIT_COUNT; u++) {
		a->held[u] -= e->hold[u];
		for (int p = 0; p < PERIOD_COUNT; p++) {
			int64_t room = a->epochs[p] == e->claim->epochs[p] ? SETTLED_MAX - a->settled[p][u] : 0;
			added[p][u] = e->used[u] < room ? e->used[u] : room;
			a->settled[p][u] += added[p][u];
		}
	}
	struct rules *r = s->rules;
	if (!r)
		return;
	if (r->tokens.limit) {
		rate_fill(&r->tokens, e->mono_us);
		rate_take(&r->tokens, e->used[UNIT_TOKENS] - e->claim->input_guess);
	}
	for (size_t i = 0; i < r->count; i++)
		settle_line(b, s, &r->lines[i], e, added[r->lines[i].period][r->lines[i].unit], calls);
}

bool books_settle(struct books *b, struct claim *claim, int64_t tokens, int64_t nanos, int64_t mono_us)
{
	struct calls calls = {0};
	struct ending e = {.claim = claim, .mono_us = mono_us};
	if (claim->count == 0)
		return false;
	e.used[UNIT_TOKENS] = clamp_i64(tokens, 0, USED_MAX);
	e.used[UNIT_MONEY] = clamp_i64(nanos, 0, USED_MAX);
	e.hold[UNIT_TOKENS] = claim->hold_tokens;
	e.hold[UNIT_MONEY] = claim->hold_nanos;
	books_lock(b);
	for (uint32_t i = 0; i < claim->count; i++)
		settle_scope(b, claim->scopes[i], &e, &calls);
	calls.freed = b->waiting > 0;
	books_unlock(b);
	claim->count = 0;
	books_call(b, calls);
	return claim->capped && (e.used[UNIT_TOKENS] > e.hold[UNIT_TOKENS] || e.used[UNIT_MONEY] > e.hold[UNIT_MONEY]);
}

void books_wait(struct books *b)
{
	books_lock(b);
	b->waiting++;
	books_unlock(b);
}

void books_wait_over(struct books *b)
{
	books_lock(b);
	assert(b->waiting > 0);
	b->waiting--;
	books_unlock(b);
}
