/* ledger_parts.h - what the files of the ledger share; for them alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_LEDGER_PARTS_H
#define VALET_STORE_LEDGER_PARTS_H

#include "store/ledger.h"

#include <pthread.h>
#include <stdatomic.h>

#define FEED_BATCH 4096 /* records */

/* Something that is wrong for a while: told when it begins and when it is over. */
struct trouble {
	bool on;
	char sentence[700];
};

struct ledger_call; /* a call that waits for the storage thread */

struct ledger {
	struct ledger_options options;
	char *folder;
	int lock_fd;
	struct journal *journal;
	struct store *store;        /* the storage thread's, from ledger_start() to ledger_stop() */
	struct ledger_recovery recovery;
	int64_t newest_us;          /* after the recovery */
	bool cut;                   /* the run before did not come to its end */
	bool finished;              /* recovery came to its end: the folder may be closed as clean */

	pthread_mutex_t lock;       /* covers what follows; no other lock is taken under it */
	pthread_cond_t for_sync, for_storage, for_callers;
	struct ledger_call *first, *last;
	bool woken, stop_sync, stop_storage;
	bool storage_ended;         /* the storage thread takes no calls: not yet, or not any more */
	int64_t stop_by_us;         /* monotonic: when the storage thread ends, done or not */

	pthread_t sync, storage;
	bool syncing, storing;      /* the threads are there; the owner's thread alone */
	_Atomic bool dozing;        /* the sync thread looks only now and then */

	struct trouble sync_trouble, full_trouble; /* sync thread */
	bool synced;                               /* sync thread: what the last sync said */
	struct trouble feed_trouble, drop_trouble; /* storage thread */
	int64_t feed_delay_ms, feed_next_us, drop_next_us; /* storage thread */
	bool drop_due;                             /* storage thread: something was applied since the last drop */

	_Atomic uint64_t applied, unapplied, feed_failures;
	_Atomic bool store_failing;
};

/* Tells the operator where `wrong` is not what it was; `over` is what is said at the end. */
void trouble_set(struct ledger *l, struct trouble *t, bool wrong, const char *sentence, const char *over);
/* Applies up to one batch; counts. */
bool ledger_feed(struct ledger *l, size_t *applied);
/* What is applied goes to the disk and out of the journal, lanes from `first` on. */
bool ledger_drop(struct ledger *l, unsigned first);
/* Records of all lanes that are in the store. */
uint64_t ledger_fed(const struct ledger *l);
/* Records that are in the journal and not in the store. */
uint64_t ledger_left(struct ledger *l);

/* ledger_recover.c: on the caller's thread, before the threads run. */
bool ledger_recover(struct ledger *l, struct buf *why);
/* Forgets the machine's boot: what follows a clean end is no power loss. */
void ledger_mark_clean(struct ledger *l);

/* ledger_threads.c */
void *ledger_run_sync(void *ledger);
void *ledger_run_storage(void *ledger);
void ledger_cond_init(pthread_cond_t *c);

#endif
