/* ledger.h - durability: the journal that is synced every few milliseconds, and the database that is fed from it.
 *
 * Two threads of its own. `sync`: writes the leases that are wanted into lane 0, syncs all lanes (one group commit; nobody waits but a request whose
 * budget has no lease left), then tells that they hold. `storage`: owns the store; feeds it from the journal in batches, drops what is applied, and runs
 * calls from other threads. A slow or broken database delays nobody but its callers; the journal grows meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_LEDGER_H
#define VALET_STORE_LEDGER_H

#include "store/record.h"
#include "store/store.h"

struct ledger_options {
	const char *folder;      /* the state folder; locked (flock on FOLDER/lock) while it is open */
	unsigned workers;        /* lanes 1 to `workers` */
	size_t journal_max;      /* bytes; 0: 256 MiB */
	int64_t sync_ms;         /* 0: 5 */
	/* Called on the sync thread. leases_wanted fills up to `max` and returns how many; leases_synced says that all given out since the last call
	 * are on the disk (or, false, cannot be put there: then they do not hold). */
	size_t (*leases_wanted)(void *user, struct record_lease *out, size_t max);
	void (*leases_synced)(void *user, bool fine);
	/* Something that an operator must know of: a sentence. Any of the two threads. */
	void (*trouble)(void *user, const char *sentence);
	void *user;
	const struct journal_io *io; /* tests */
};

struct ledger;

/* Locks the folder, opens the journal and the store, and recovers: a BEGIN without a SETTLE is settled at its hold (FLAG_ORPHAN), or at
 * nothing where the process died before anything of it was sent; after a power loss
 * what the leases of windows that are still open held beyond what was settled is charged (FLAG_LEASE); then all is fed to the store. The zone of
 * civil.h must be set. Blocking, on the caller's thread. NULL and a sentence: in use by another process (`why` names its pid), damage, no room. */
struct ledger *ledger_open(const struct ledger_options *o, struct buf *why);
/* What the recovery did, for one log line. */
struct ledger_recovery {
	enum journal_state state;
	uint64_t orphans, leases, applied;
	int64_t micros;
};
const struct ledger_recovery *ledger_recovered(const struct ledger *l);
/* The store, before ledger_start() and after ledger_stop() only. */
struct store *ledger_store(struct ledger *l);
/* The newest book time that was ever written (microseconds since 1970), as ledger_open() found it; 0: none. */
int64_t ledger_newest_us(const struct ledger *l);
bool ledger_start(struct ledger *l);
/* Ends the threads; feeds what is left, unless that takes longer than `limit_ms`. The workers must have ended. */
void ledger_stop(struct ledger *l, int64_t limit_ms);
void ledger_free(struct ledger *l); /* closes all; after ledger_stop(), or where ledger_start() was not called */

struct lane *ledger_lane(struct ledger *l, unsigned worker); /* worker from 0; its own from then on */
void ledger_wake(struct ledger *l);                          /* any thread: leases are wanted */
/* After an append: wakes the sync thread where it dozes (nothing was appended for a while); else one load of a flag. Without it the first records after a
 * pause are synced within 100 ms instead of sync_ms. */
void ledger_appended(struct ledger *l);
/* Runs `run` on the storage thread and waits for it. What had been settled before is in the store then, unless the store is failing (ledger_look()).
 * False: the thread does not run. Not from workers. */
bool ledger_call(struct ledger *l, void (*run)(struct store *s, void *user), void *user);

struct ledger_status {
	size_t journal_bytes;
	uint64_t unapplied;      /* records that the store has not got yet */
	uint64_t applied;        /* since the start */
	uint64_t sync_failures, feed_failures;
	int64_t slowest_sync_us; /* since the last call */
	bool journal_failed, store_failing;
};
void ledger_look(struct ledger *l, struct ledger_status *out); /* any thread */

#endif
