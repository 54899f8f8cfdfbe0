/* rebuild_parts.h - what the files of store_rebuild() share; for them alone.
 *
 * Nothing is put in the place of anything before all of it is written: new files are made under names of their own (drafts), and then a plan of renames is
 * written, synced, carried out and deleted. A rebuild that is broken off before the plan stands has changed nothing but that records of the journal
 * are in files of requests, where they belong; while a plan stands store_open() refuses, and the next rebuild carries it out to its end.
 *
 *   store_rebuild.c    the order of things, and what is refused
 *   rebuild_months.c   the files of requests: looked at, completed from the journal, made anew from what can be read
 *   rebuild_main.c     valet.db: sums brought together, and written
 *   rebuild_read.c     what can be read of a database that may be damaged
 *   rebuild_plan.c     the plan
 *   journal_salvage.c  what can be read of the journal
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_REBUILD_PARTS_H
#define VALET_STORE_REBUILD_PARTS_H

#include "store/journal_parts.h"
#include "store/store_parts.h"

#define DRAFT ".rebuilt"  /* behind the name of a file that will stand in its place */
#define COPY  ".salvage"  /* of a damaged file, to be read: SQLite writes into what it opens */

/* ---- the journal: journal_salvage.c ---- */

struct salvaged_record {
	unsigned lane;
	uint8_t type;
	uint64_t seq;
	struct str payload;
};

struct salvaged_lane {
	bool there, damaged;
	uint64_t newest, number; /* the last record that could be read; the last file */
	uint64_t skip;           /* records that the bytes which could not be read may have held, at most */
};

struct journal_salvage {
	struct arena arena;
	struct salvaged_record *records; /* by lane, in the order of sequences */
	size_t count, cap;
	struct salvaged_lane lanes[JOURNAL_LANES_MAX];
	struct survey survey;
	uint64_t bytes_lost;
};

/* Reads `folder`/journal without changing it. False: it cannot be read at all, which is not damage. */
bool journal_salvage(struct journal_salvage *j, const char *folder, struct buf *why);
void journal_salvage_release(struct journal_salvage *j);
/* The first file of a lane that goes on with record `first` in place of what is set aside. */
bool journal_salvage_begin(const char *folder, unsigned lane, uint64_t number, uint64_t first, struct buf *why);

/* ---- a database: rebuild_read.c ---- */

enum kept_table { KEPT_KEYS, KEPT_LEASES, KEPT_APPLIED, KEPT_PENDING, KEPT_FACTS, KEPT_USAGE, KEPT_TOTALS, KEPT_TABLES };

struct kept {
	struct db_value *values; /* rows one behind the other, each with its checksum; may hold a row twice */
	size_t columns, count, cap;
	bool whole;              /* all of it could be read, and every row fits its checksum */
};

/* What was read of valet.db. */
struct kept_main {
	struct arena arena;
	struct kept tables[KEPT_TABLES];
	bool there, whole; /* whole: SQLite finds nothing wrong either */
	int64_t last_serial; /* the highest that was given, as far as known */
	char why[300];     /* what is wrong */
};

/* `from_s`, `to_s`: of the quarters that may stand in it, as far as is known elsewhere. False: no copy can be made. */
bool kept_read(struct kept_main *k, const char *folder, int64_t from_s, int64_t to_s, struct buf *why);
void kept_release(struct kept_main *k);
const struct db_value *kept_row(const struct kept *t, size_t index);
/* Opens a copy of a damaged file, with a new first page where its own is useless. NULL: nothing of it can be read; `why` only where the copy fails. */
struct db *copy_open(const char *folder, const char *name, bool month, struct buf *why);
void copy_delete(const char *folder, const char *name);
/* Whether SQLite finds nothing wrong, and it has the tables it must have. */
bool database_sound(struct db *d, bool month, char *sentence, size_t size);
/* Rows of requests: calls `row` with the rowid and the columns of each that can be read. False: not all. */
bool requests_each(struct db *d, db_row_fn *row, void *user);

/* ---- files of requests: rebuild_months.c ---- */

struct rebuild_month {
	int64_t number;
	bool there, damaged, drafted;
	uint64_t kept, lost;                 /* rows of a damaged one that could be read; rows that are missing, as far as the sums know */
	bool lacks;                          /* its rows are less than the sums */
	char sentence[300];                  /* what is wrong */
};

/* A BEGIN whose end has not been found. */
struct rebuild_begin {
	unsigned lane;
	uint64_t seq;
	struct str payload;
	char id[4 + RECORD_ID];
	bool ended;
};

struct rebuild {
	const struct rebuild_options *o;
	struct store *files; /* for the files of requests alone: it has no database */
	struct journal_salvage journal;
	struct kept_main kept;
	struct rebuild_month *months;
	size_t month_count;
	uint64_t applied[JOURNAL_LANES_MAX], fed[JOURNAL_LANES_MAX]; /* the highest of all files; what valet.db says (UINT64_MAX: nothing that can be read) */
	uint64_t closed[JOURNAL_LANES_MAX]; /* as valet.db says, where all of `applied` and `pending` can be read; else 0 */
	struct rebuild_begin *begins;
	size_t begin_count, begin_cap;
	struct table ids;    /* of begins */
	struct sums rows;    /* usage as the rows say, then as it will be */
	struct sums said;    /* usage as valet.db said, and the journal beyond it */
	struct arena texts;
	int64_t newest_us;
	uint64_t changes, behind; /* of keys and facts: all there were; of them, those that valet.db lacks */
	char stamp[24];
	struct rebuild_report *report;
	struct buf *why;
};

bool months_look(struct rebuild *b);   /* which there are, and which are damaged */
bool months_fill(struct rebuild *b);   /* damaged ones are drafted; the journal's records are in all of them */
bool months_sum(struct rebuild *b);    /* into `rows` */
struct rebuild_month *months_find(struct rebuild *b, int64_t number);
/* Writes down what the rows of each month lack; `lack` is put in order. */
bool months_lack(struct rebuild *b, struct sums *lack);
void rebuild_at(struct rebuild *b, const char *step);
void rebuild_say(struct rebuild *b, bool lost, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- valet.db: rebuild_main.c ---- */

bool main_sum(struct rebuild *b);   /* what the files of requests do not know, and valet.db did */
bool main_draft(struct rebuild *b);
/* BEGINs without an end, from the journal and from valet.db. */
void begins_collect(struct rebuild *b);
/* Looks up how far valet.db had got. */
void main_fed(struct rebuild *b);
/* Whether valet.db is one that lacks changes which valet.mark knows of: then it is sound, but not whole. */
void main_behind(struct rebuild *b);

/* ---- rebuild_plan.c ---- */

struct plan {
	struct buf text;
	const char *folder, *stamp;
};
void plan_init(struct plan *p, const char *folder, const char *stamp);
void plan_release(struct plan *p);
/* FOLDER/name gets ".damaged-STAMP" behind its name, where it is there; FOLDER/name.rebuilt becomes FOLDER/name. */
void plan_aside(struct plan *p, const char *name);
void plan_place(struct plan *p, const char *name);
bool plan_write(const struct plan *p, struct buf *why);
/* Carries out what stands in the folder; true where nothing does. *did says which. */
bool plan_run(const char *folder, bool *did, void (*at)(void *user, const char *step), void *user, struct buf *why);

#endif
