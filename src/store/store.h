/* store.h - the database of a state folder: keys, what was used, and a row for each request. SQLite.
 *
 * FOLDER/valet.db holds keys, sums (`usage`: a row for each quarter of an hour, key, model and target; `totals`: for ever, by key and model), the newest
 * leases, BEGINs that are open for long, and how far each lane of the journal has been applied. FOLDER/requests-YYYY-MM.db holds the rows of requests that
 * began in that month (UTC) and how far it has got itself, so that each record is applied exactly once to each file whatever breaks between them. Rows of
 * keys and sums carry a CRC-32C, checked whenever they are read. FOLDER/valet.mark says how many changes of keys and facts valet.db has had: one that has
 * fewer is an older copy, or has lost its WAL.
 *
 * One thread at a time. Blocking. False means that the database said no; store_why() is a sentence about it. A failed write leaves nothing half done.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_STORE_H
#define VALET_STORE_STORE_H

#include "base/buf.h"
#include "store/journal.h"

struct store;

bool folder_make(const char *folder, struct buf *why); /* 0700; true also where it is there */

/* Makes the folder (0700) and the database where there is none, and checks both what SQLite can check and the checksums (of usage: the last 40 days; the
 * files of requests are not looked into). NULL and a sentence in `why` where it is damaged or cannot be used: then nothing was changed. Refused as
 * well: files of requests or a mark without valet.db, a valet.db that lacks changes which the mark knows of, and a newer schema. */
struct store *store_open(const char *folder, struct buf *why);
void store_close(struct store *s); /* NULL is allowed */
const char *store_why(const struct store *s);

/* ---- keys ---- */

struct stored_key {
	uint32_t serial;          /* 0: give it the next one (never given twice) */
	char id[10];
	uint8_t hash[32], old_hash[32]; /* old: still valid until old_until_s after a rotation */
	int64_t old_until_s;      /* 0: no old one */
	int64_t created_s, revoked_s; /* revoked_s 0: it is not */
	struct str name;          /* unique among all */
	struct str document;      /* JSON: what key_conf.h reads */
};
/* Inserts or replaces by serial; sets *serial (may be NULL). On the disk when it returns, as are deletions and facts. */
bool store_put_key(struct store *s, const struct stored_key *k, uint32_t *serial);
bool store_delete_key(struct store *s, uint32_t serial); /* what it used stays */
/* All keys by serial; texts are valid during the call. False also where a row's checksum is wrong. */
bool store_each_key(struct store *s, void (*visit)(void *user, const struct stored_key *k), void *user);
/* What keys and facts are written between the two is written at once (an import): all of it, or with `keep` false nothing. No feed in between. */
bool store_group(struct store *s);
bool store_group_end(struct store *s, bool keep);
/* Small facts by name: last book time and the like. Empty where there is none; `out` is appended to. */
bool store_put_fact(struct store *s, const char *name, struct str value);
bool store_get_fact(struct store *s, const char *name, struct buf *out);

/* ---- feeding ---- */

/* Applies up to `max` records of the journal that were not yet; *applied says how many were looked at (0: all is applied). False: nothing of the batch
 * counts, and it may be tried again. After a start the journal is looked through from its oldest record, so feed until *applied is 0. The first call also
 * compares journal and database: where records between the two are missing, it refuses. */
bool store_feed(struct store *s, struct journal *j, size_t max, size_t *applied);
/* Puts all that was applied on the disk, so that store_applied() moves up. */
bool store_sync(struct store *s);
/* The sequence up to which a lane may be dropped from the journal: applied in every file, on the disk, and without a BEGIN that could still be needed. */
uint64_t store_applied(struct store *s, unsigned lane);
/* The sequence up to which a lane is applied. */
uint64_t store_fed(const struct store *s, unsigned lane);
/* The newest book time of all that was ever applied (microseconds since 1970). */
int64_t store_newest_us(const struct store *s);
/* Whether the journal, at the first feed, ended before what had been applied of it. */
bool store_rewound(const struct store *s);
/* BEGINs without a SETTLE, of all that is applied. Payloads are valid during the call. */
bool store_each_open(struct store *s, void (*visit)(void *user, unsigned lane, uint64_t seq, struct str payload), void *user);
/* Tests: called before each commit with the file's name; false makes the commit fail. */
void store_watch_commits(struct store *s, bool (*before)(void *user, const char *file), void *user);

/* ---- what was used ---- */

struct usage_sum {
	int64_t requests, errors;                      /* errors: of those, the ones that ended in one */
	int64_t input, cached, output;                 /* tokens */
	int64_t cost, reference;                       /* nano-dollars */
	int64_t by_source[5];                          /* requests, by enum source of record.h */
	int64_t orphans, unpriced, over_hold;          /* requests with these flags */
};

/* Sums by key and model of the quarters that began at from_s or later (0: of all time). */
bool store_sums(struct store *s, int64_t from_s, void (*visit)(void *user, uint32_t key, struct str model, const struct usage_sum *sum), void *user);

enum usage_by { USAGE_BY_KEY, USAGE_BY_MODEL, USAGE_BY_TARGET, USAGE_BY_DAY, USAGE_BY_KEY_DAY };
struct usage_row {
	uint32_t key;         /* BY_KEY, BY_KEY_DAY */
	struct str text;      /* BY_MODEL, BY_TARGET */
	int64_t day_s;        /* BY_DAY, BY_KEY_DAY: the civil day's beginning (base/civil.h) */
	struct usage_sum sum;
};
/* Only rows of `key` where it is not UINT32_MAX. In order of cost and tokens, days in their order. */
bool store_usage(struct store *s, enum usage_by by, int64_t from_s, int64_t to_s, uint32_t key, void (*visit)(void *user, const struct usage_row *row),
		 void *user);

/* The newest leases, for the recovery. */
struct stored_lease {
	uint32_t key;
	uint8_t unit, period;
	int64_t leased, window_s;
	struct str pattern;
};
bool store_each_lease(struct store *s, void (*visit)(void *user, const struct stored_lease *l), void *user);

/* The books against themselves: sums of `usage` since each row's month equal the rows of requests, totals equal usage, every checksum fits. Appends what
 * does not; false: something does not. Slow. */
bool store_check(struct store *s, struct buf *report);

/* ---- after damage ---- */

#define REBUILD_PLAN "rebuild.plan" /* in the folder while a rebuild puts files into their places: store_open() refuses meanwhile */
#define BOOT_REBUILT "rebuilt"      /* the fact `boot` where a rebuild could not save all, or the journal had lost its end: the next recovery charges leases */

struct rebuild_options {
	const char *folder;
	bool force;    /* also where neither valet.db nor a file of requests knows what was used: that is not charged then */
	int64_t now_s; /* for the names of what is set aside */
	void (*at)(void *user, const char *step); /* tests: called between the steps */
	void *user;
};

struct rebuild_report {
	bool finished;              /* a rebuild that had been broken off was brought to its end, and nothing else */
	bool lost;                  /* something could not be saved */
	uint64_t keys, keys_lost;   /* lost: there is a revoked one in the place of each, as far as they are known */
	uint64_t requests, requests_lost; /* rows; lost: of those that the sums know */
	uint64_t records, bytes_lost;     /* of the journal */
	uint64_t open;              /* requests without an end: the next start charges what they held */
	struct buf said;            /* sentences, a line each; what was lost begins with "LOST: " */
	struct buf aside;           /* names of the files that were set aside, a line each */
};

/* Makes valet.db anew from what can be read of itself, of the files of requests and of the journal, and sets aside (renames) what is damaged. Nobody else
 * may use the folder. What the sums of the old file and the rows of requests say differently is charged at the larger of the two. The next ledger_open()
 * does the rest, and must be able to. False and a sentence: nothing was put in the place of anything, or the plan is there and a next call goes on. */
bool store_rebuild(const struct rebuild_options *o, struct rebuild_report *report, struct buf *why);
void rebuild_report_release(struct rebuild_report *report);

#endif
