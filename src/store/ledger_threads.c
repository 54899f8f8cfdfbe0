/* ledger_threads.c - the two threads of the ledger.
 *
 * Sync: while something was appended lately it syncs every few milliseconds; else it dozes, and is woken by ledger_appended() or ledger_wake(), or looks by
 * itself ten times a second. Storage: feeds a few times a second while there is something to feed, or at once for a call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/thread.h"
#include "store/ledger_parts.h"

#include <errno.h>
#include <stdio.h>

enum {
	DOZE_MS = 100,
	ACTIVE_CYCLES = 40,  /* without anything to sync, until it dozes */
	LEASES_AT_ONCE = 64,
	LEASE_ROUNDS = 64,
	FEED_MS = 200,
	FEED_DELAY_MS = 250, /* after a failure; doubled up to the next */
	FEED_DELAY_MAX_MS = 4000,
	DROP_MS = 1000,
	RECORD_USUAL = 128,  /* bytes of a record in the journal, at least */
};

void ledger_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

/* Waits for a signal, with l->lock held; until a moment of the monotonic clock at most. */
static void wait_until(struct ledger *l, pthread_cond_t *c, int64_t us)
{
	struct timespec until = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	pthread_cond_timedwait(c, &l->lock, &until);
}

void trouble_set(struct ledger *l, struct trouble *t, bool wrong, const char *sentence, const char *over)
{
	if (wrong == t->on)
		return;
	t->on = wrong;
	snprintf(t->sentence, sizeof(t->sentence), "%s", wrong ? sentence : over);
	if (l->options.trouble)
		l->options.trouble(l->options.user, t->sentence);
}

/* ---- the sync thread ---- */

static bool append_leases(struct lane *lane, const struct record_lease *leases, size_t count)
{
	char payload[RECORD_MAX];
	bool fine = true;
	for (size_t i = 0; i < count; i++)
		fine &= lane_append(lane, RECORD_LEASE, payload, record_put_lease(payload, &leases[i])) != 0;
	return fine;
}

/* Returns how many there were; `*fine`: all of them stand in the journal. */
static size_t write_leases(struct ledger *l, bool *fine)
{
	struct record_lease leases[LEASES_AT_ONCE];
	size_t all = 0, count = LEASES_AT_ONCE;
	*fine = true;
	for (int round = 0; l->options.leases_wanted && round < LEASE_ROUNDS && count == LEASES_AT_ONCE; round++) {
		count = l->options.leases_wanted(l->options.user, leases, LEASES_AT_ONCE);
		*fine &= append_leases(journal_lane(l->journal, 0), leases, count);
		all += count;
	}
	return all;
}

static void look_at_journal(struct ledger *l)
{
	size_t bytes = journal_bytes(l->journal), max = l->options.journal_max;
	trouble_set(l, &l->sync_trouble, !l->synced || journal_failed(l->journal),
		    "the journal cannot be written to the disk: requests that cost something are refused", "the journal is written to the disk again");
	uint64_t behind = atomic_load(&l->unapplied) * RECORD_USUAL;
	bool filling = l->full_trouble.on ? behind > max / 8 : behind > max / 4 && bytes > max - max / 4;
	trouble_set(l, &l->full_trouble, filling, "the journal is nearly full, because the database does not take its records",
		    "the journal has room again");
}

/* True where there was something to do, and it worked: what fails is not tried at full pace. */
static bool cycle(struct ledger *l)
{
	bool fine;
	size_t leases = write_leases(l, &fine);
	bool dirty = journal_dirty(l->journal);
	if (dirty)
		l->synced = journal_sync(l->journal);
	if (leases && l->options.leases_synced)
		l->options.leases_synced(l->options.user, fine && l->synced);
	look_at_journal(l);
	return dirty && l->synced;
}

/* Returns false at the end. */
static bool rest(struct ledger *l, int idle)
{
	bool doze = idle >= ACTIVE_CYCLES;
	int64_t until = clock_mono_us() + (doze ? DOZE_MS : l->options.sync_ms) * 1000;
	atomic_store(&l->dozing, doze);
	if (doze && journal_dirty(l->journal)) /* appended before it could be seen that this thread dozes */
		until = 0;
	pthread_mutex_lock(&l->lock);
	while (!l->woken && !l->stop_sync && clock_mono_us() < until)
		wait_until(l, &l->for_sync, until);
	l->woken = false;
	bool go_on = !l->stop_sync;
	pthread_mutex_unlock(&l->lock);
	atomic_store(&l->dozing, false);
	return go_on;
}

void *ledger_run_sync(void *ledger)
{
	struct ledger *l = ledger;
	int idle = ACTIVE_CYCLES;
	thread_name("sync");
	while (rest(l, idle))
		idle = cycle(l) ? 0 : idle < ACTIVE_CYCLES ? idle + 1 : idle;
	cycle(l);
	return NULL;
}

/* ---- the storage thread ---- */

struct ledger_call {
	void (*run)(struct store *s, void *user);
	void *user;
	struct ledger_call *next;
	bool done, ran;
};

bool ledger_call(struct ledger *l, void (*run)(struct store *s, void *user), void *user)
{
	struct ledger_call call = {.run = run, .user = user};
	pthread_mutex_lock(&l->lock);
	if (!l->storage_ended) {
		*(l->last ? &l->last->next : &l->first) = &call;
		l->last = &call;
		pthread_cond_signal(&l->for_storage);
		while (!call.done)
			pthread_cond_wait(&l->for_callers, &l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return call.ran;
}

uint64_t ledger_fed(const struct ledger *l)
{
	uint64_t sum = 0;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		sum += store_fed(l->store, lane);
	return sum;
}

uint64_t ledger_left(struct ledger *l)
{
	uint64_t left = 0;
	unsigned count = journal_lane_count(l->journal);
	for (unsigned lane = 0; lane < count; lane++) {
		uint64_t oldest, newest, fed = store_fed(l->store, lane);
		journal_range(l->journal, lane, &oldest, &newest);
		left += newest > fed ? newest - fed : 0;
	}
	return left;
}

bool ledger_feed(struct ledger *l, size_t *applied)
{
	uint64_t before = ledger_fed(l);
	bool fine = store_feed(l->store, l->journal, FEED_BATCH, applied);
	uint64_t after = ledger_fed(l);
	atomic_fetch_add(&l->applied, after > before ? after - before : 0);
	if (!fine)
		atomic_fetch_add(&l->feed_failures, 1);
	atomic_store(&l->unapplied, ledger_left(l));
	return fine;
}

bool ledger_drop(struct ledger *l, unsigned first)
{
	unsigned count = journal_lane_count(l->journal);
	if (!store_sync(l->store))
		return false;
	for (unsigned lane = first; lane < count; lane++)
		journal_drop(l->journal, lane, store_applied(l->store, lane));
	return true;
}

static void feed_failed(struct ledger *l, int64_t now_us)
{
	char sentence[700];
	snprintf(sentence, sizeof(sentence), "the database does not take what is used; the journal keeps it: %s", store_why(l->store));
	trouble_set(l, &l->feed_trouble, true, sentence, NULL);
	atomic_store(&l->store_failing, true);
	l->feed_delay_ms = l->feed_delay_ms ? l->feed_delay_ms * 2 : FEED_DELAY_MS;
	if (l->feed_delay_ms > FEED_DELAY_MAX_MS)
		l->feed_delay_ms = FEED_DELAY_MAX_MS;
	l->feed_next_us = now_us + l->feed_delay_ms * 1000;
}

static void feed_worked(struct ledger *l, int64_t now_us)
{
	trouble_set(l, &l->feed_trouble, false, NULL, "the database takes what is used again");
	atomic_store(&l->store_failing, false);
	l->feed_delay_ms = 0;
	l->feed_next_us = now_us + FEED_MS * 1000;
}

static void drop_now_and_then(struct ledger *l, int64_t now_us)
{
	bool large = journal_bytes(l->journal) > l->options.journal_max / 2;
	if (!l->drop_due || (now_us < l->drop_next_us && !large))
		return;
	bool fine = ledger_drop(l, 0);
	l->drop_due = !fine;
	trouble_set(l, &l->drop_trouble, !fine, store_why(l->store), "the database is synced again");
	l->drop_next_us = now_us + DROP_MS * 1000;
}

/* The newest record of each lane now. */
static void look_at_lanes(struct ledger *l, uint64_t newest[JOURNAL_LANES_MAX])
{
	unsigned count = journal_lane_count(l->journal);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		uint64_t oldest;
		newest[lane] = 0;
		if (lane < count)
			journal_range(l->journal, lane, &oldest, &newest[lane]);
	}
}

static bool reached(const struct ledger *l, const uint64_t newest[JOURNAL_LANES_MAX])
{
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		if (store_fed(l->store, lane) < newest[lane])
			return false;
	return true;
}

/* Feeds until all is applied that stood in the journal at the beginning, or until a moment of the monotonic clock. */
static bool feed_all(struct ledger *l, int64_t until_us)
{
	uint64_t newest[JOURNAL_LANES_MAX];
	size_t applied = 0;
	bool fine;
	look_at_lanes(l, newest);
	do {
		fine = ledger_feed(l, &applied);
		l->drop_due |= fine && applied > 0;
	} while (fine && applied > 0 && !reached(l, newest) && clock_mono_us() < until_us);
	if (!fine) {
		feed_failed(l, clock_mono_us());
		return false;
	}
	feed_worked(l, clock_mono_us());
	drop_now_and_then(l, clock_mono_us());
	return true;
}

static struct ledger_call *take_calls(struct ledger *l)
{
	struct ledger_call *calls = l->first;
	l->first = l->last = NULL;
	return calls;
}

static void answer(struct ledger *l, struct ledger_call *calls, bool run)
{
	for (struct ledger_call *c = calls, *next; c; c = next) {
		next = c->next;
		if (run)
			c->run(l->store, c->user);
		pthread_mutex_lock(&l->lock);
		c->ran = run;
		c->done = true; /* c is gone from here on */
		pthread_cond_broadcast(&l->for_callers);
		pthread_mutex_unlock(&l->lock);
	}
}

/* Waits until there is a call, or it is time to feed. False: the end. */
static bool wait_for_work(struct ledger *l, struct ledger_call **calls)
{
	pthread_mutex_lock(&l->lock);
	while (!l->first && !l->stop_storage && clock_mono_us() < l->feed_next_us)
		wait_until(l, &l->for_storage, l->feed_next_us);
	bool go_on = !l->stop_storage;
	*calls = take_calls(l);
	pthread_mutex_unlock(&l->lock);
	return go_on;
}

/* The last feed, and false for all who still call. */
static void end_storage(struct ledger *l, struct ledger_call *calls)
{
	pthread_mutex_lock(&l->lock);
	int64_t by_us = l->stop_by_us;
	pthread_mutex_unlock(&l->lock);
	while (!feed_all(l, by_us) && l->feed_next_us < by_us) {
		pthread_mutex_lock(&l->lock);
		while (clock_mono_us() < l->feed_next_us)
			wait_until(l, &l->for_storage, l->feed_next_us);
		pthread_mutex_unlock(&l->lock);
	}
	answer(l, calls, true);
	pthread_mutex_lock(&l->lock);
	l->storage_ended = true;
	calls = take_calls(l);
	pthread_mutex_unlock(&l->lock);
	answer(l, calls, false);
}

void *ledger_run_storage(void *ledger)
{
	struct ledger *l = ledger;
	struct ledger_call *calls;
	thread_name("storage");
	thread_stand_back();
	while (wait_for_work(l, &calls)) {
		if (calls || l->drop_due || ledger_left(l) > 0)
			feed_all(l, INT64_MAX);
		else
			l->feed_next_us = clock_mono_us() + FEED_MS * 1000;
		answer(l, calls, true);
	}
	end_storage(l, calls);
	return NULL;
}
