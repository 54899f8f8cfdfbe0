/* books_windows.c - the running day, week and month: entered once, never again.
 *
 * The books know the windows that run and count them (epochs). A scope is brought up to date when it is looked at, so that midnight costs nothing for
 * keys that nobody uses. What is held is not reset: requests of the old window still run, and count as held until they end. Under the books' lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

#define SECOND_US INT64_C(1000000)

static int64_t end_us(const struct window *w)
{
	return w->to_s >= INT64_MAX / SECOND_US ? INT64_MAX : w->to_s * SECOND_US;
}

void books_roll_slow(struct books *b, int64_t book_us)
{
	bool first = b->roll_us == INT64_MIN;
	b->roll_us = INT64_MAX;
	for (int p = 0; p < PERIOD_COUNT; p++) {
		struct window *w = &b->windows[p];
		if (first || book_us >= end_us(w)) {
			*w = civil_window((enum period)p, book_us / SECOND_US);
			if (w->to_s <= book_us / SECOND_US) /* beyond all calendars: a clock gone mad must not make midnight of every request */
				w->to_s = INT64_MAX;
			b->epochs[p] += !first;
		}
		if (end_us(w) < b->roll_us)
			b->roll_us = end_us(w);
	}
}

void line_begin(struct line *l, int64_t settled, int64_t held)
{
	l->leased = settled;
	l->remainder = -held;
	l->beyond = held;
	l->wanted = l->given = 0;
}

static void roll_period(struct scope *s, int p)
{
	struct account *a = s->account;
	memset(a->settled[p], 0, sizeof(a->settled[p]));
	for (size_t i = 0; s->rules && i < s->rules->count; i++) {
		struct line *l = &s->rules->lines[i];
		if (l->period != p)
			continue;
		line_begin(l, 0, a->held[l->unit]);
		l->warned = 0;
	}
}

void scope_refresh_slow(struct books *b, struct scope *s)
{
	if (!s->account) {
		s->account = mem_zero(sizeof(*s->account));
	} else {
		for (int p = 0; p < PERIOD_COUNT; p++)
			if (s->account->epochs[p] != b->epochs[p])
				roll_period(s, p);
	}
	memcpy(s->account->epochs, b->epochs, sizeof(b->epochs));
}
