/* books_lease.c - leases: the part of a budget that is on the disk as spent before it is spent.
 *
 * A lease is wanted, then given out to the ledger's sync thread, and counts once that has said that it is on the disk. Only then may claims use it: after a
 * power loss the disk says at least as much as was spent. Leases are as large as a few requests, so that few claims wait for a sync, and
 * not larger than an eighth of a budget, since after a power loss what was leased counts as spent.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

_Static_assert(UNIT_TOKENS == 0 && UNIT_MONEY == 1, "the recovery of the ledger reads these numbers");

static void list_add(struct scope_list *list, struct scope *s)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 64;
		list->items = mem_grow(list->items, list->cap * sizeof(struct scope *));
	}
	list->items[list->count++] = s;
}

static int64_t chunk(const struct line *l, int64_t hold)
{
	int64_t most = l->amount / 8;
	return clamp_i64(hold * 16, l->amount / 128, most);
}

/* One that is being synced is asked for again by books_leases_synced(). */
static void want(struct books *b, struct scope *s, struct line *l, int64_t target, struct calls *calls)
{
	if (target <= l->leased || target <= l->wanted || !b->leasing)
		return;
	l->wanted = target;
	if (l->given || s->rules->asking)
		return;
	s->rules->asking = true;
	list_add(&b->asking, s);
	calls->leases = true;
}

/* `short_of`: what is missing at least. Never more than the amount, unless nothing less will do. */
static int64_t target_of(const struct line *l, int64_t hold, int64_t short_of)
{
	int64_t more = chunk(l, hold), least = l->leased + short_of;
	int64_t target = l->leased + (more > short_of ? more : short_of);
	if (target > l->amount)
		target = l->amount;
	return target > least ? target : least;
}

bool lease_covers(struct books *b, struct scope *s, struct line *l, int64_t hold, struct calls *calls)
{
	int64_t short_of = hold - l->remainder;
	if (short_of <= 0)
		return true;
	if (!b->leasing) {
		l->leased += short_of;
		l->remainder += short_of;
		return true;
	}
	want(b, s, l, target_of(l, hold, short_of), calls);
	return false;
}

void lease_ahead(struct books *b, struct scope *s, struct line *l, int64_t hold, struct calls *calls)
{
	if (l->leased < l->amount && l->remainder < chunk(l, hold) / 2)
		want(b, s, l, target_of(l, hold, 0), calls);
}

void lease_overrun(struct books *b, struct scope *s, struct line *l, struct calls *calls)
{
	if (l->remainder >= 0)
		return;
	if (b->leasing) {
		want(b, s, l, l->leased - l->remainder, calls);
		return;
	}
	l->leased -= l->remainder;
	l->remainder = 0;
}

/* ---- the sync thread ---- */

static bool is_wanted(const struct books *b, const struct scope *s, const struct line *l)
{
	return l->wanted > l->leased && !l->given && s->account && s->account->epochs[l->period] == b->epochs[l->period];
}

/* False: there was no room for all. */
static bool give_out(struct books *b, struct scope *s, struct record_lease *out, size_t max, size_t *n)
{
	size_t before = *n, i = 0;
	for (; i < s->rules->count; i++) {
		struct line *l = &s->rules->lines[i];
		if (!is_wanted(b, s, l))
			continue;
		if (*n == max)
			break;
		l->given = l->wanted;
		out[(*n)++] = (struct record_lease){
			.leased = l->given, .window_s = b->windows[l->period].from_s, .key = s->key, .unit = l->unit, .period = l->period,
			.pattern = str_from(s->pattern),
		};
	}
	if (*n > before)
		list_add(&b->granting, s);
	return i == s->rules->count;
}

size_t books_leases_wanted(struct books *b, struct record_lease *out, size_t max)
{
	size_t n = 0, done = 0;
	books_lock(b);
	for (; done < b->asking.count; done++) {
		struct scope *s = b->asking.items[done];
		if (!s->rules) /* its limits went away meanwhile */
			continue;
		if (!give_out(b, s, out, max, &n))
			break;
		s->rules->asking = false;
	}
	b->asking.count -= done;
	if (done && b->asking.count)
		memmove(b->asking.items, b->asking.items + done, b->asking.count * sizeof(struct scope *));
	books_unlock(b);
	return n;
}

static void take_in(struct books *b, struct scope *s, bool fine)
{
	bool more = false;
	for (size_t i = 0; s->rules && i < s->rules->count; i++) {
		struct line *l = &s->rules->lines[i];
		if (fine && l->given > l->leased) {
			l->remainder += l->given - l->leased;
			l->leased = l->given;
			l->beyond = l->remainder < 0 ? -l->remainder : 0;
		}
		l->given = 0;
		if (l->wanted <= l->leased)
			l->wanted = 0;
		more |= l->wanted > 0;
	}
	if (more && !s->rules->asking) {
		s->rules->asking = true;
		list_add(&b->asking, s);
	}
}

void books_leases_synced(struct books *b, bool fine)
{
	struct calls calls = {0};
	books_lock(b);
	bool any = b->granting.count > 0;
	for (size_t i = 0; i < b->granting.count; i++)
		take_in(b, b->granting.items[i], fine);
	b->granting.count = 0;
	if (any) {
		b->lease_failed = !fine;
		calls.freed = fine && b->waiting > 0;
		calls.leases = fine && b->asking.count > 0;
	}
	books_unlock(b);
	books_call(b, calls);
}
