/* ledger_recover.c - what is made good when the process or the machine died.
 *
 * All of it is idempotent: what the recovery settles it appends to lane 0, which is synced before the database is fed from it, and what is still to be done
 * is worked out anew from journal and database each time. Only that there was a power loss must not be forgotten by a recovery that is itself
 * interrupted: the fact `boot` names the boot of the last recovery that came to its end, and is empty after a clean end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/ledger_parts.h"

/* As enum budget_unit of a higher floor numbers them. */
enum { UNIT_OF_TOKENS, UNIT_OF_MONEY, UNITS };

enum { FEED_TRIES = 5, SYNC_TRIES = 4 };

/* ---- what the last run left ---- */

static bool store_said(struct ledger *l, struct buf *why)
{
	buf_adds(why, str_from(store_why(l->store)));
	return false;
}

struct last_run {
	bool other_boot; /* of the machine: it was cut by a power loss, or a recovery of that was */
	bool rebuilt;    /* what had been lost when the store was made anew may have been spent from leases, as after a power loss */
};

static bool look_back(struct ledger *l, struct last_run *last, struct buf *why)
{
	struct str now = str_from(journal_boot(l->journal));
	struct buf then;
	buf_init(&then, 256);
	bool fine = store_get_fact(l->store, "boot", &then) || store_said(l, why);
	l->cut = then.len > 0;
	last->other_boot = then.len > 0 && now.len > 0 && !str_eq(buf_str(&then), now);
	last->rebuilt = str_eq(buf_str(&then), STR(BOOT_REBUILT));
	buf_release(&then);
	return fine;
}

void ledger_mark_clean(struct ledger *l)
{
	store_put_fact(l->store, "boot", STR("")); /* where that fails the next start may charge too much, never too little */
}

/* ---- steps ---- */

static bool feed(struct ledger *l, struct buf *why)
{
	size_t applied = 1;
	for (int tries = 0; applied > 0;) {
		if (ledger_feed(l, &applied))
			continue;
		if (++tries == FEED_TRIES)
			return store_said(l, why);
		applied = 1;
	}
	return true;
}

static bool append(struct ledger *l, const struct record_settle *r, struct buf *why)
{
	char payload[RECORD_MAX];
	struct lane *lane = journal_lane(l->journal, 0);
	size_t len = record_put_settle(payload, r);
	for (int tries = 0; tries < SYNC_TRIES; tries++)
		if (lane_append(lane, RECORD_SETTLE, payload, len))
			return true;
		else if (!journal_sync(l->journal)) /* hands over a segment; one that was dropped is free after the second sync */
			break;
	buf_addf(why, "%s/journal has no room for what must be recovered", l->folder);
	return false;
}

static bool sync_and_feed(struct ledger *l, struct buf *why)
{
	if (journal_sync(l->journal))
		return feed(l, why);
	buf_addf(why, "%s/journal cannot be written to the disk", l->folder);
	return false;
}

/* ---- requests that never ended ---- */

struct orphans {
	struct ledger *l;
	struct buf *why;
	bool failed;
	bool lost; /* to a power loss: what lanes say of waiting may be gone */
};

static int64_t at_least_0(int64_t n)
{
	return n > 0 ? n : 0;
}

static void settle_orphan(void *user, unsigned lane, uint64_t seq, struct str payload)
{
	struct orphans *o = user;
	struct record_begin b;
	if (o->failed || !record_get_begin(payload, &b))
		return;
	int64_t input = at_least_0(b.input_tokens < b.hold_tokens ? b.input_tokens : b.hold_tokens);
	struct record_settle s = {
		.begin = settle_begin(lane, seq), .began_us = b.began_us, .ended_us = store_newest_us(o->l->store), .key = b.key,
		.flags = FLAG_ORPHAN, .model = b.model, .target = b.target, .op = b.op,
	};
	if (o->lost || !journal_waited(o->l->journal, lane, seq)) {
		s.source = SOURCE_ESTIMATED;
		s.input = input;
		s.output = at_least_0(b.hold_tokens) - input;
		s.cost = b.hold_nanos;
	}
	memcpy(s.id, b.id, sizeof(s.id));
	o->failed = !append(o->l, &s, o->why);
	o->l->recovery.orphans += !o->failed;
}

static bool settle_orphans(struct ledger *l, struct buf *why)
{
	struct orphans o = {.l = l, .why = why, .lost = l->recovery.state == JOURNAL_LOST};
	if (!store_each_open(l->store, settle_orphan, &o))
		return store_said(l, why);
	return !o.failed && (l->recovery.orphans == 0 || sync_and_feed(l, why));
}

/* ---- leases that a power loss leaves unaccounted ---- */

struct used {
	uint32_t key;
	struct str model;
	int64_t amount[UNITS];
};

struct used_list {
	struct used *at;
	size_t count, cap;
	struct arena *texts;
};

struct lost {
	struct ledger *l;
	int64_t now_us;
	struct arena texts;
	struct stored_lease *leases;
	size_t count, cap;
	struct used_list windows[PERIOD_COUNT]; /* settled in the windows that hold now; by key */
	struct used_list charged;               /* by this recovery; by key, those of no key last */
};

static void add_used(struct used_list *list, uint32_t key, struct str model, int64_t tokens, int64_t nanos)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 64;
		list->at = mem_grow(list->at, list->cap * sizeof(*list->at));
	}
	list->at[list->count++] = (struct used){key, arena_dup(list->texts, model), {tokens, nanos}};
}

static void take_sum(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	int64_t tokens;
	if (__builtin_add_overflow(sum->input, sum->output, &tokens))
		tokens = INT64_MAX;
	add_used(user, key, model, tokens, sum->cost);
}

static void take_lease(void *user, const struct stored_lease *stored)
{
	struct lost *o = user;
	if (stored->period >= PERIOD_COUNT || stored->unit >= UNITS ||
	    stored->window_s != civil_window((enum period)stored->period, o->now_us / 1000000).from_s)
		return;
	if (o->count == o->cap) {
		o->cap = o->cap ? o->cap * 2 : 64;
		o->leases = mem_grow(o->leases, o->cap * sizeof(*o->leases));
	}
	o->leases[o->count] = *stored;
	o->leases[o->count++].pattern = arena_dup(&o->texts, stored->pattern);
}

/* Narrow scopes before wide ones and short windows before long ones: what a narrow one is charged counts in the wide ones. */
static int compare(const void *a, const void *b)
{
	const struct stored_lease *x = a, *y = b;
	static const int order[PERIOD_COUNT] = {[PERIOD_DAY] = 0, [PERIOD_WEEK] = 1, [PERIOD_MONTH] = 2, [PERIOD_TOTAL] = 3};
	if (x->key != y->key) /* no key last */
		return x->key - 1U < y->key - 1U ? -1 : 1;
	if ((x->pattern.len == 0) != (y->pattern.len == 0))
		return x->pattern.len ? -1 : 1;
	return order[x->period] - order[y->period];
}

static bool counts(const struct stored_lease *l, const struct used *u)
{
	return (l->key == 0 || l->key == u->key) && (l->pattern.len == 0 || str_glob(l->pattern, u->model));
}

static int64_t sum_of(const struct used_list *list, size_t from, const struct stored_lease *l)
{
	int64_t sum = 0;
	for (size_t i = from; i < list->count && (l->key == 0 || list->at[i].key == l->key); i++)
		if (counts(l, &list->at[i]) && __builtin_add_overflow(sum, list->at[i].amount[l->unit], &sum))
			return INT64_MAX;
	return sum;
}

/* The first that is the key's; they are in order of keys. */
static size_t first_of(const struct used_list *list, uint32_t key)
{
	size_t low = 0, high = list->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list->at[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int64_t settled(const struct lost *o, const struct stored_lease *l)
{
	size_t from = o->charged.count;
	int64_t before = sum_of(&o->windows[l->period], l->key ? first_of(&o->windows[l->period], l->key) : 0, l), now;
	while (from > 0 && (l->key == 0 || o->charged.at[from - 1].key == l->key))
		from--;
	return __builtin_add_overflow(before, sum_of(&o->charged, from, l), &now) ? INT64_MAX : now;
}

static bool charge(struct lost *o, const struct stored_lease *l, struct buf *why)
{
	int64_t left = l->leased - settled(o, l);
	if (left <= 0)
		return true;
	bool money = l->unit == UNIT_OF_MONEY;
	struct record_settle s = {
		.began_us = o->now_us, .ended_us = o->now_us, .key = l->key, .model = l->pattern, .output = money ? 0 : left, .cost = money ? left : 0,
		.source = SOURCE_ESTIMATED, .flags = FLAG_ORPHAN | FLAG_LEASE,
	};
	add_used(&o->charged, l->key, l->pattern, s.output, s.cost);
	o->l->recovery.leases++;
	return append(o->l, &s, why);
}

static bool load_lost(struct lost *o)
{
	struct store *s = o->l->store;
	bool fine = store_each_lease(s, take_lease, o);
	for (int p = 0; p < PERIOD_COUNT && fine; p++)
		fine = store_sums(s, civil_window((enum period)p, o->now_us / 1000000).from_s, take_sum, &o->windows[p]);
	if (o->count)
		qsort(o->leases, o->count, sizeof(*o->leases), compare);
	return fine;
}

static bool charge_leases(struct ledger *l, struct buf *why)
{
	struct lost o = {.l = l, .now_us = clock_wall_us()};
	if (o.now_us < store_newest_us(l->store))
		o.now_us = store_newest_us(l->store);
	arena_init(&o.texts, 4096);
	o.charged.texts = &o.texts;
	for (int p = 0; p < PERIOD_COUNT; p++)
		o.windows[p].texts = &o.texts;
	bool fine = load_lost(&o) || store_said(l, why);
	for (size_t i = 0; i < o.count && fine; i++)
		fine = charge(&o, &o.leases[i], why);
	fine = fine && (l->recovery.leases == 0 || sync_and_feed(l, why));
	for (int p = 0; p < PERIOD_COUNT; p++)
		free(o.windows[p].at);
	free(o.charged.at);
	free(o.leases);
	arena_release(&o.texts);
	return fine;
}

/* ---- all of it ---- */

static enum journal_state state_of(const struct ledger *l, const struct last_run *last)
{
	enum journal_state state = journal_state(l->journal);
	bool lost = last->rebuilt || (state == JOURNAL_CRASHED && last->other_boot) || (l->cut && store_rewound(l->store)) ||
		    (state == JOURNAL_CLEAN && l->cut); /* this is not the journal of that run */
	return lost ? JOURNAL_LOST : state;
}

bool ledger_recover(struct ledger *l, struct buf *why)
{
	struct last_run last;
	if (!look_back(l, &last, why))
		return false;
	/* lane 0 is kept until all is settled: what it says of other lanes is needed again if this is interrupted */
	if (!feed(l, why) || !(ledger_drop(l, 1) || store_said(l, why)))
		return false;
	enum journal_state state = l->recovery.state = state_of(l, &last);
	if (!settle_orphans(l, why) || (state == JOURNAL_LOST && !charge_leases(l, why)))
		return false;
	if (!ledger_drop(l, 0) || !store_put_fact(l->store, "boot", str_from(journal_boot(l->journal))))
		return store_said(l, why);
	journal_forget_waits(l->journal);
	l->newest_us = store_newest_us(l->store);
	l->recovery.applied = atomic_exchange(&l->applied, 0);
	return true;
}
