/* ledger.c - see ledger.h: opening, the folder's lock, and what other threads call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "store/ledger_parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder's lock ---- */

static bool say_locked(const struct ledger *l, struct buf *why)
{
	char text[24] = "";
	ssize_t n = pread(l->lock_fd, text, sizeof(text) - 1, 0);
	size_t digits = n > 0 ? strspn(text, "0123456789") : 0;
	buf_addf(why, "%s is in use by %s%.*s", l->folder, digits ? "process " : "another process", (int)digits, text);
	return false;
}

static bool lock_folder(struct ledger *l, struct buf *why)
{
	char path[4200], pid[24];
	snprintf(path, sizeof(path), "%s/lock", l->folder);
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->lock_fd < 0) {
		buf_addf(why, "%s: cannot be opened: %s", path, strerror(errno));
		return false;
	}
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return say_locked(l, why);
	int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(l->lock_fd, 0) == 0 && pwrite(l->lock_fd, pid, (size_t)n, 0) == n)
		return true;
	buf_addf(why, "%s: cannot be written: %s", path, strerror(errno));
	return false;
}

/* ---- opening ---- */

static bool open_journal(struct ledger *l, struct buf *why)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/journal", l->folder);
	struct journal_options o = {
		.folder = path, .lanes = l->options.workers + 1, .max_bytes = l->options.journal_max, .io = l->options.io,
	};
	l->journal = journal_open(&o, why);
	return l->journal != NULL;
}

static bool open_all(struct ledger *l, struct buf *why)
{
	if (!folder_make(l->folder, why) || !lock_folder(l, why))
		return false;
	l->store = store_open(l->folder, why);
	return l->store && open_journal(l, why) && ledger_recover(l, why);
}

struct ledger *ledger_open(const struct ledger_options *o, struct buf *why)
{
	assert(o->workers + 1 <= JOURNAL_LANES_MAX);
	int64_t from_us = clock_mono_us();
	struct ledger *l = mem_zero(sizeof(*l));
	l->options = *o;
	if (l->options.journal_max == 0)
		l->options.journal_max = (size_t)256 << 20;
	if (l->options.sync_ms == 0)
		l->options.sync_ms = 5;
	l->folder = mem_str(str_from(o->folder));
	l->options.folder = l->folder;
	l->lock_fd = -1;
	l->synced = l->storage_ended = true;
	pthread_mutex_init(&l->lock, NULL);
	ledger_cond_init(&l->for_sync);
	ledger_cond_init(&l->for_storage);
	ledger_cond_init(&l->for_callers);
	l->finished = open_all(l, why);
	l->recovery.micros = clock_mono_us() - from_us;
	if (l->finished)
		return l;
	ledger_free(l);
	return NULL;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	assert(!l->syncing && !l->storing);
	if (l->finished)
		ledger_mark_clean(l);
	store_close(l->store);
	if (l->journal)
		(l->cut && !l->finished ? journal_free : journal_close)(l->journal);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	pthread_cond_destroy(&l->for_sync);
	pthread_cond_destroy(&l->for_storage);
	pthread_cond_destroy(&l->for_callers);
	pthread_mutex_destroy(&l->lock);
	free(l->folder);
	free(l);
}

const struct ledger_recovery *ledger_recovered(const struct ledger *l)
{
	return &l->recovery;
}

struct store *ledger_store(struct ledger *l)
{
	assert(!l->storing);
	return l->store;
}

int64_t ledger_newest_us(const struct ledger *l)
{
	return l->newest_us;
}

/* ---- running ---- */

bool ledger_start(struct ledger *l)
{
	assert(!l->syncing && !l->storing);
	pthread_mutex_lock(&l->lock);
	l->woken = l->stop_sync = l->stop_storage = l->storage_ended = false;
	pthread_mutex_unlock(&l->lock);
	l->storing = pthread_create(&l->storage, NULL, ledger_run_storage, l) == 0;
	l->syncing = l->storing && pthread_create(&l->sync, NULL, ledger_run_sync, l) == 0;
	if (l->storing && !l->syncing)
		ledger_stop(l, 0);
	return l->syncing;
}

static void tell(struct ledger *l, bool *stop, pthread_cond_t *whom)
{
	pthread_mutex_lock(&l->lock);
	*stop = true;
	pthread_cond_signal(whom);
	pthread_mutex_unlock(&l->lock);
}

void ledger_stop(struct ledger *l, int64_t limit_ms)
{
	if (l->syncing) {
		tell(l, &l->stop_sync, &l->for_sync);
		pthread_join(l->sync, NULL);
		l->syncing = false;
	}
	if (l->storing) {
		pthread_mutex_lock(&l->lock);
		l->stop_by_us = clock_mono_us() + limit_ms * 1000;
		pthread_mutex_unlock(&l->lock);
		tell(l, &l->stop_storage, &l->for_storage);
		pthread_join(l->storage, NULL);
		l->storing = false;
	}
}

struct lane *ledger_lane(struct ledger *l, unsigned worker)
{
	return journal_lane(l->journal, worker + 1);
}

void ledger_wake(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	l->woken = true;
	pthread_cond_signal(&l->for_sync);
	pthread_mutex_unlock(&l->lock);
}

void ledger_appended(struct ledger *l)
{
	if (atomic_load_explicit(&l->dozing, memory_order_relaxed) && atomic_exchange(&l->dozing, false))
		ledger_wake(l);
}

void ledger_look(struct ledger *l, struct ledger_status *out)
{
	*out = (struct ledger_status){
		.journal_bytes = journal_bytes(l->journal),
		.unapplied = atomic_load(&l->unapplied),
		.applied = atomic_load(&l->applied),
		.sync_failures = journal_failures(l->journal),
		.feed_failures = atomic_load(&l->feed_failures),
		.slowest_sync_us = journal_slowest(l->journal),
		.journal_failed = journal_failed(l->journal),
		.store_failing = atomic_load(&l->store_failing),
	};
}
