/* books_claim.c - who may: a request is weighed in all its scopes, and held in all of them or in none.
 *
 * Two passes under the lock. The first only looks (and asks for leases): what waiting does not help comes first, then budgets, places, rates and leases.
 * The second one holds and takes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

#include <assert.h>

/* A request that is being weighed. */
struct bid {
	const struct ask *ask;
	struct scope *scopes[CLAIM_SCOPES];
	uint32_t places[CLAIM_SCOPES];  /* of the scopes in the caller's list */
	uint32_t count;
	bool priced;
	bool budgeted;                  /* some scope has a budget */
	int64_t input, output;
	int64_t hold[UNIT_COUNT];       /* HOLD_MAX + 1: more than that */
	int64_t wait_us;
};

static void set_holds(struct bid *d)
{
	const struct ask *a = d->ask;
	d->hold[UNIT_TOKENS] = clamp_i64(d->input + d->output, 0, HOLD_MAX + 1);
	d->hold[UNIT_MONEY] = d->priced ? clamp_i64(price_bound(a->price, d->input, d->output, a->seconds), 0, HOLD_MAX + 1) : 0;
}

static bool output_is_open(const struct ask *a)
{
	return a->output <= 0 && a->output_default >= 0;
}

static int64_t first_output(const struct ask *a)
{
	if (a->output > 0)
		return a->output;
	if (a->output_default < 0)
		return 0;
	return a->output_default > 0 ? a->output_default : OUTPUT_UNKNOWN;
}

static void bid_begin(struct bid *d, struct scope *const *scopes, uint32_t count, const struct ask *ask)
{
	assert(count <= CLAIM_SCOPES);
	d->ask = ask;
	d->count = 0;
	d->priced = ask->price && ask->price->known;
	d->budgeted = false;
	d->wait_us = 0;
	d->input = clamp_i64(ask->input_bound, 0, HOLD_MAX + 1);
	d->output = clamp_i64(first_output(ask), 0, HOLD_MAX + 1);
	for (uint32_t i = 0; i < count; i++) {
		bool again = !scopes[i];
		for (uint32_t k = 0; k < d->count; k++)
			again |= d->scopes[k] == scopes[i];
		if (again)
			continue;
		d->scopes[d->count] = scopes[i];
		d->places[d->count++] = i;
	}
	set_holds(d);
}

/* ---- budgets ---- */

static int64_t settled_of(const struct scope *s, const struct line *l)
{
	return s->account->settled[l->period][l->unit];
}

static int64_t held_of(const struct scope *s, const struct line *l)
{
	return s->account->held[l->unit];
}

/* Output tokens that `room` of the budget still buys. */
static int64_t buys(const struct bid *d, const struct line *l, int64_t room)
{
	if (room <= 0)
		return 0;
	if (l->unit == UNIT_TOKENS)
		return room - d->input;
	return price_buys(d->ask->price, room, d->input, d->ask->seconds);
}

/* Each says whether a budget refuses the bid, and how. */
typedef enum verdict line_view(struct bid *d, const struct scope *s, const struct line *l);

static enum verdict view_unpriced(struct bid *d, const struct scope *s, const struct line *l)
{
	d->budgeted = true;
	return l->unit == UNIT_MONEY && !d->priced ? CLAIM_UNPRICED : CLAIM_GRANTED;
}

/* For a client that did not say how long the answer may be: as long as all budgets can pay for. */
static enum verdict view_output(struct bid *d, const struct scope *s, const struct line *l)
{
	if (s->rules->soft || d->hold[l->unit] == 0)
		return CLAIM_GRANTED;
	int64_t room = l->amount - settled_of(s, l), output = buys(d, l, room - held_of(s, l));
	if (output >= 1) {
		d->output = output < d->output ? output : d->output;
		return CLAIM_GRANTED;
	}
	return buys(d, l, room) < 1 ? CLAIM_SPENT : CLAIM_LATER;
}

static enum verdict view_spent(struct bid *d, const struct scope *s, const struct line *l)
{
	int64_t hold = d->hold[l->unit], settled = settled_of(s, l);
	if (hold == 0)
		return CLAIM_GRANTED;
	if (s->rules->soft)
		return settled >= l->amount ? CLAIM_SPENT : CLAIM_GRANTED;
	return hold > HOLD_MAX || settled + hold > l->amount ? CLAIM_SPENT : CLAIM_GRANTED;
}

static enum verdict view_held(struct bid *d, const struct scope *s, const struct line *l)
{
	int64_t hold = d->hold[l->unit], taken = settled_of(s, l) + held_of(s, l);
	if (hold == 0)
		return CLAIM_GRANTED;
	if (s->rules->soft)
		return taken >= l->amount ? CLAIM_LATER : CLAIM_GRANTED;
	return taken + hold > l->amount ? CLAIM_LATER : CLAIM_GRANTED;
}

static void refuse(const struct bid *d, uint32_t at, enum verdict verdict, enum limit_kind by, struct claim_answer *out)
{
	out->verdict = verdict;
	out->by = by;
	out->scope = d->places[at];
}

static void refuse_line(struct books *b, const struct bid *d, uint32_t at, const struct line *l, enum verdict verdict, enum limit_kind by,
			struct claim_answer *out)
{
	refuse(d, at, verdict, by, out);
	out->budget = (struct budget){(enum budget_unit)l->unit, (enum period)l->period, l->amount};
	out->left = l->amount - settled_of(d->scopes[at], l);
	out->resets_s = b->windows[l->period].to_s;
}

/* True: some budget refused. One that waiting does not help goes before the others. */
static bool refused_by(struct books *b, struct bid *d, line_view *view, struct claim_answer *out)
{
	bool refused = false;
	for (uint32_t i = 0; i < d->count; i++) {
		const struct rules *r = d->scopes[i]->rules;
		for (size_t k = 0; r && k < r->count; k++) {
			enum verdict v = view(d, d->scopes[i], &r->lines[k]);
			if (v == CLAIM_GRANTED || (refused && v == CLAIM_LATER))
				continue;
			refuse_line(b, d, i, &r->lines[k], v, LIMIT_BUDGET, out);
			if (v != CLAIM_LATER)
				return true;
			refused = true;
		}
	}
	return refused;
}

static bool refused_by_budgets(struct books *b, struct bid *d, struct claim_answer *out)
{
	if (refused_by(b, d, view_unpriced, out))
		return true;
	if (!d->budgeted)
		return false;
	if (output_is_open(d->ask)) {
		if (refused_by(b, d, view_output, out))
			return true;
		set_holds(d);
	}
	return refused_by(b, d, view_spent, out) || refused_by(b, d, view_held, out);
}

/* ---- places, rates, leases ---- */

static bool refused_by_places(struct bid *d, struct claim_answer *out)
{
	for (uint32_t i = 0; i < d->count; i++) {
		const struct scope *s = d->scopes[i];
		if (!s->rules || !s->rules->concurrency || s->in_flight < s->rules->concurrency)
			continue;
		refuse(d, i, CLAIM_LATER, LIMIT_CONCURRENCY, out);
		out->limit = s->rules->concurrency;
		return true;
	}
	return false;
}

/* Notes the longest wait of all; the first that is too long is what refuses. */
static bool rate_refuses(struct bid *d, uint32_t at, struct rate *r, int64_t need, enum limit_kind by, bool refused, struct claim_answer *out)
{
	if (!r->limit)
		return refused;
	rate_fill(r, d->ask->mono_us);
	int64_t wait = rate_wait(r, need);
	if (wait > d->wait_us)
		d->wait_us = wait;
	if (wait <= d->ask->max_wait_us || refused)
		return refused;
	refuse(d, at, CLAIM_RATE, by, out);
	out->limit = r->limit;
	return true;
}

static bool refused_by_rates(struct bid *d, struct claim_answer *out)
{
	bool refused = false;
	for (uint32_t i = 0; i < d->count; i++) {
		struct rules *r = d->scopes[i]->rules;
		if (!r)
			continue;
		refused = rate_refuses(d, i, &r->requests, 1, LIMIT_REQUESTS, refused, out);
		refused = rate_refuses(d, i, &r->tokens, d->ask->input_guess, LIMIT_TOKENS, refused, out);
	}
	out->wait_us = d->wait_us;
	return refused;
}

/* A sync that failed is tried again for those who come later, a moment apart. */
static void wake_after_failure(struct books *b, int64_t mono_us, struct calls *calls)
{
	if (!b->lease_failed || mono_us < b->lease_retry_us)
		return;
	b->lease_retry_us = mono_us + LEASE_RETRY_US;
	calls->leases = true;
}

/* All that are missing are asked for at once, so that one sync is enough. */
static bool refused_by_leases(struct books *b, struct bid *d, struct claim_answer *out, struct calls *calls)
{
	bool refused = false;
	for (uint32_t i = 0; i < d->count; i++) {
		struct scope *s = d->scopes[i];
		for (size_t k = 0; s->rules && k < s->rules->count; k++) {
			struct line *l = &s->rules->lines[k];
			int64_t hold = d->hold[l->unit];
			if (hold == 0 || lease_covers(b, s, l, hold, calls))
				continue;
			if (!refused)
				refuse_line(b, d, i, l, CLAIM_LATER, LIMIT_LEASE, out);
			refused = true;
		}
	}
	if (refused) {
		out->wait_us = 0;
		wake_after_failure(b, d->ask->mono_us, calls);
	}
	return refused;
}

/* ---- holding ---- */

static void hold_in(struct books *b, struct bid *d, struct scope *s, struct calls *calls)
{
	struct rules *r = s->rules;
	s->in_flight++;
	s->account->held[UNIT_TOKENS] += d->hold[UNIT_TOKENS];
	s->account->held[UNIT_MONEY] += d->hold[UNIT_MONEY];
	if (!r)
		return;
	if (r->requests.limit)
		rate_take(&r->requests, 1);
	if (r->tokens.limit)
		rate_take(&r->tokens, clamp_i64(d->ask->input_guess, 0, RATE_MAX));
	for (size_t i = 0; i < r->count; i++) {
		struct line *l = &r->lines[i];
		int64_t hold = d->hold[l->unit];
		l->remainder -= hold;
		if (hold)
			lease_ahead(b, s, l, hold, calls);
	}
}

static void hold_all(struct books *b, struct bid *d, struct claim *claim, struct calls *calls)
{
	for (uint32_t i = 0; i < d->count; i++) {
		hold_in(b, d, d->scopes[i], calls);
		claim->scopes[i] = d->scopes[i];
	}
	claim->count = d->count;
	memcpy(claim->epochs, b->epochs, sizeof(b->epochs));
	claim->hold_tokens = d->hold[UNIT_TOKENS];
	claim->hold_nanos = d->hold[UNIT_MONEY];
	claim->input_guess = clamp_i64(d->ask->input_guess, 0, RATE_MAX);
	claim->capped = d->budgeted || d->ask->output > 0 || d->ask->output_default < 0;
}

static void show_rates(const struct bid *d, struct claim_answer *out)
{
	for (uint32_t i = 0; i < d->count; i++) {
		struct rules *r = d->scopes[i]->rules;
		if (!r)
			continue;
		if (r->requests.limit) {
			rate_fill(&r->requests, d->ask->mono_us);
			rate_show(&r->requests, &out->requests);
		}
		if (r->tokens.limit) {
			rate_fill(&r->tokens, d->ask->mono_us);
			rate_show(&r->tokens, &out->tokens);
		}
	}
}

void books_claim(struct books *b, struct scope *const *scopes, uint32_t count, const struct ask *ask, struct claim *claim, struct claim_answer *out)
{
	struct bid d;
	struct calls calls = {0};
	memset(out, 0, sizeof(*out));
	assert(!claim || claim->count == 0);
	bid_begin(&d, scopes, count, ask);
	books_lock(b);
	books_roll(b, ask->book_us);
	for (uint32_t i = 0; i < d.count; i++)
		scope_refresh(b, d.scopes[i]);
	bool refused = refused_by_budgets(b, &d, out) || refused_by_places(&d, out) || refused_by_rates(&d, out) ||
		       (claim && refused_by_leases(b, &d, out, &calls));
	if (!refused && claim)
		hold_all(b, &d, claim, &calls);
	show_rates(&d, out);
	books_unlock(b);
	out->budgeted = !refused && d.budgeted;
	if (!refused)
		out->output = ask->output > 0 ? ask->output : d.budgeted ? d.output : 0;
	books_call(b, calls);
}
