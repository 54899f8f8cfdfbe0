/* books_view.c - what the books say of a scope, and whether they are right.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

static void view_lines(const struct books *b, const struct scope *s, struct scope_view *out)
{
	const struct rules *r = s->rules;
	out->limits = (struct limits){
		.rpm = r->requests.limit, .tpm = r->tokens.limit, .concurrency = r->concurrency, .budget_count = r->count, .soft = r->soft};
	for (size_t i = 0; i < r->count; i++) {
		const struct line *l = &r->lines[i];
		struct budget budget = {(enum budget_unit)l->unit, (enum period)l->period, l->amount};
		out->limits.budgets[i] = budget;
		out->budgets[i] = (struct budget_view){
			.budget = budget, .settled = out->settled[l->period][l->unit], .held = out->held[l->unit], .leased = l->leased,
			.from_s = b->windows[l->period].from_s, .resets_s = b->windows[l->period].to_s,
		};
	}
}

static void view(struct books *b, struct scope *s, int64_t book_us, struct scope_view *out)
{
	memset(out, 0, sizeof(*out));
	books_roll(b, book_us);
	out->key = s->key;
	out->pattern = str_from(s->pattern);
	out->in_flight = s->in_flight;
	if (s->account) {
		scope_refresh(b, s);
		memcpy(out->settled, s->account->settled, sizeof(out->settled));
		memcpy(out->held, s->account->held, sizeof(out->held));
	}
	if (s->rules)
		view_lines(b, s, out);
}

void books_view(struct books *b, struct scope *s, int64_t book_us, struct scope_view *out)
{
	books_lock(b);
	view(b, s, book_us, out);
	books_unlock(b);
}

bool books_view_at(struct books *b, size_t i, int64_t book_us, struct scope_view *out)
{
	uint32_t key;
	struct str pattern;
	struct scope *s = books_scope_at(b, i, &key, &pattern);
	if (s)
		books_view(b, s, book_us, out);
	return s != NULL;
}

/* ---- the audit ---- */

static size_t wrong(struct buf *report, const struct scope *s, const char *format, ...) __attribute__((format(printf, 3, 4)));

static size_t wrong(struct buf *report, const struct scope *s, const char *format, ...)
{
	va_list args;
	buf_addf(report, "key %u, models \"%s\": ", s->key, s->pattern);
	va_start(args, format);
	buf_addv(report, format, args);
	va_end(args);
	buf_addc(report, '\n');
	return 1;
}

static size_t audit_line(const struct scope *s, const struct line *l, struct buf *report)
{
	static const struct account nothing;
	const struct account *a = s->account ? s->account : &nothing;
	const char *unit = l->unit == UNIT_TOKENS ? "tokens" : "nano-dollars";
	int64_t settled = a->settled[l->period][l->unit], held = a->held[l->unit];
	size_t found = 0;
	if (settled + held + l->remainder != l->leased)
		found += wrong(report, s, "%s a %s: settled %lld + held %lld + remainder %lld is not what is leased, %lld", unit, period_names[l->period],
			       (long long)settled, (long long)held, (long long)l->remainder, (long long)l->leased);
	if (l->remainder < -l->beyond && !s->rules->soft)
		found += wrong(report, s, "%s a %s: %lld more is settled and held than is leased", unit, period_names[l->period],
			       (long long)(-l->beyond - l->remainder));
	return found;
}

static size_t audit_scope(const struct scope *s, struct buf *report)
{
	size_t found = 0;
	for (int u = 0; s->account && u < UNIT_COUNT; u++)
		if (s->account->held[u] < 0 || (s->in_flight == 0 && s->account->held[u] != 0))
			found += wrong(report, s, "%lld %s are held by %u requests", (long long)s->account->held[u],
				       u == UNIT_TOKENS ? "tokens" : "nano-dollars", s->in_flight);
	for (size_t i = 0; s->rules && i < s->rules->count; i++)
		found += audit_line(s, &s->rules->lines[i], report);
	return found;
}

/* A scope at a time, so that nobody waits for all of them. */
size_t books_audit(struct books *b, struct buf *report)
{
	uint32_t key;
	struct str pattern;
	struct scope *s;
	size_t found = 0;
	for (size_t i = 0; (s = books_scope_at(b, i, &key, &pattern)); i++) {
		books_lock(b);
		found += audit_scope(s, report);
		books_unlock(b);
	}
	return found;
}
