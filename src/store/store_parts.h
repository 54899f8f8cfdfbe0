/* store_parts.h - what the files of the store share; for them and their tests alone.
 *
 * How records come into the database exactly once. Each lane of the journal is read from `cursor` on. A batch inserts the rows of requests into the files
 * of their months, each with its own `applied` (a record at or below it is in that file already), and commits those first; then valet.db, with sums, leases
 * and its own `applied`. So valet.db is never ahead of a month, unless the power fails: its commits may reach the disk before those of a month. That
 * is why the journal is read again from its oldest record after each start, and why nothing is dropped from it before store_sync().
 *
 * A BEGIN whose SETTLE has not come yet is *open*. It is known in memory while it still stands in the journal; when it has fallen far behind it is written into
 * `pending`, so that a stream of an hour does not hold the journal. `closed` of a lane is the sequence up to which no BEGIN is open but those in
 * `pending`: up to there the journal may be dropped, and BEGINs up to there are not looked at again after a start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_STORE_PARTS_H
#define VALET_STORE_STORE_PARTS_H

#include "store/db.h"
#include "store/store.h"
#include "store/sums.h"

#define MONTHS_OPEN 4
#define SPILL_AFTER 8192 /* records: an open BEGIN that far behind goes to `pending` */

struct open_begin {
	uint64_t seq;
	size_t len;
	char *payload; /* NULL: settled */
};

/* Open BEGINs of a lane, oldest first. */
struct begins {
	struct open_begin *at;
	size_t head, end, cap;
	uint64_t seen; /* the newest that was ever added */
};

void begins_add(struct begins *b, uint64_t seq, struct str payload); /* does nothing at or below `seen` */
bool begins_settle(struct begins *b, uint64_t seq);                  /* false: it is not among them */
uint64_t begins_oldest(const struct begins *b);                      /* 0: none is open */
void begins_remove_to(struct begins *b, uint64_t seq);
void begins_clear(struct begins *b);

struct lane_state {
	uint64_t cursor;  /* read so far, in this run */
	uint64_t applied; /* committed in valet.db */
	uint64_t closed;  /* see above; committed */
	uint64_t on_disk; /* `closed` at the last store_sync() */
	bool spilled;     /* there may be rows of it in `pending` */
	bool restarted;   /* the journal's lane was empty: its records may begin anywhere */
	struct begins begins;
};

struct month {
	int64_t number; /* year * 12 + month from 0 */
	struct db *db;  /* NULL: a free slot */
	uint64_t applied[JOURNAL_LANES_MAX], to[JOURNAL_LANES_MAX]; /* committed; in the running transaction */
	uint64_t used;
	bool unsynced;
};

struct store {
	char *folder;
	struct db *db;
	struct month months[MONTHS_OPEN];
	uint64_t uses;
	struct lane_state lanes[JOURNAL_LANES_MAX];
	bool compared; /* with the journal, at the first feed */
	bool rewound;  /* the journal ended before what was applied of it */
	bool loaded;   /* lanes[] is what the database says */
	bool grouped;  /* store_group() */
	unsigned turn; /* the lane that the next batch begins with */
	uint64_t spill_after;
	int64_t newest_us;
	uint64_t changes; /* of keys and facts, since valet.db was made */
	int mark_fd;
	struct table elsewhere; /* BEGINs that were settled by a record of another lane: lane and sequence */
	struct arena elsewhere_names;
	bool (*before_commit)(void *user, const char *file); /* tests */
	void *before_commit_user;
	char why[640];
};

bool store_fail(struct store *s, const char *sentence);
bool store_fail_db(struct store *s, const struct db *d);
bool store_failf(struct store *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool store_commit(struct store *s, struct db *d, const char *file); /* asks before_commit first */
bool fact_write(struct store *s, const char *name, struct str value); /* within a transaction */

/* store_mark.c: FOLDER/valet.mark */
#define FACT_CHANGES "changes"
uint64_t mark_read(const char *folder); /* 0: there is none, or none that can be read */
void mark_write(struct store *s, uint64_t changes);

/* store_schema.c: files. `month` false: valet.db. */
#define SCHEMA_NEWER "made by a newer version of Valet"
struct db *schema_make(const char *folder, const char *name, bool month, struct buf *why);
struct db *schema_open(const char *folder, const char *name, bool month, struct buf *why);
bool schema_check_rows(struct db *d, struct buf *why);
/* In a file of requests that was made anew: sums of rows that are known to have been there and could not be read. */
bool schema_make_lost(struct db *month);
bool schema_has_lost(struct db *month, bool *has);
bool folder_sync(const char *folder);
bool file_exists(const char *folder, const char *name);

/* store_month.c */
#define MONTH_NAME 40
int64_t month_of(int64_t us);
void month_name(char out[MONTH_NAME], int64_t number);
int64_t month_begins_s(int64_t number);
enum month_answer { MONTH_READY, MONTH_MISSING, MONTH_BUSY, MONTH_FAILED }; /* busy: all slots are in a transaction */
enum month_answer month_get(struct store *s, int64_t number, bool make, struct month **out);
bool month_insert(struct store *s, struct month *m, unsigned lane, uint64_t seq, const struct record_settle *r);
bool month_commit(struct store *s, struct month *m);
void months_close(struct store *s);
/* Numbers of the months that have a file, in order; freed by the caller. */
size_t months_list(const char *folder, int64_t **out);
/* Files from month `from` on forget what they have of a lane behind its end: these sequences are given again. */
bool months_rewind(struct store *s, int64_t from, const uint64_t ends[JOURNAL_LANES_MAX]);
/* Adds what the rows of a file say, and what it says of lost ones, by quarter, key, model and target. `each` may be NULL: called with the columns id and
 * ended of each row. */
bool month_sums(struct db *month, struct sums *out, void (*each)(void *user, struct str id, int64_t ended_us), void *user);
int64_t quarter_of(int64_t us);

/* store_lanes.c */
bool lanes_load(struct store *s);
bool lanes_compare(struct store *s, struct journal *j);
bool lane_write(struct store *s, unsigned lane, uint64_t applied, uint64_t closed, bool restarted);
void lanes_forget(struct store *s);

/* Sums in rows: `values` has `names` columns before; returns how many there are then. */
size_t sums_put(struct db_value *values, size_t names, const struct usage_sum *sum);
void sums_get(const struct db_row *r, int first, struct usage_sum *out);

#endif
