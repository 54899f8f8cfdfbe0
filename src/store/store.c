/* store.c - see store.h: opening and closing, keys, facts, leases.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#define DATABASE "valet.db"

/* ---- what went wrong ---- */

bool store_failf(struct store *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(s->why, sizeof(s->why), format, args);
	va_end(args);
	return false;
}

bool store_fail(struct store *s, const char *sentence)
{
	return store_failf(s, "%s", sentence);
}

bool store_fail_db(struct store *s, const struct db *d)
{
	return store_fail(s, db_why(d));
}

const char *store_why(const struct store *s)
{
	return s->why;
}

void store_watch_commits(struct store *s, bool (*before)(void *user, const char *file), void *user)
{
	s->before_commit = before;
	s->before_commit_user = user;
}

bool store_commit(struct store *s, struct db *d, const char *file)
{
	if (s->before_commit && !s->before_commit(s->before_commit_user, file)) {
		db_rollback(d);
		return store_failf(s, "%s: the commit was refused", file);
	}
	return db_commit(d) || store_fail_db(s, d);
}

/* ---- opening ---- */

/* Without valet.db a folder that was in use has lost its books: to begin anew would make all budgets full again. */
static bool is_fresh(const char *folder, struct buf *why)
{
	int64_t *numbers;
	size_t count = months_list(folder, &numbers);
	free(numbers);
	if (count == 0 && mark_read(folder) == 0)
		return true;
	buf_addf(why, "%s/" DATABASE " is missing, but there %s: restore it, or move %s away to begin anew", folder,
		 count ? "are files of requests" : "is a valet.mark, so there were keys", count ? "them and valet.mark" : "that");
	return false;
}

static struct db *open_main(const char *folder, struct buf *why)
{
	if (file_exists(folder, REBUILD_PLAN)) {
		buf_addf(why, "%s: a rebuild was broken off; valet recover --rebuild brings it to its end", folder);
		return NULL;
	}
	if (!file_exists(folder, DATABASE))
		return is_fresh(folder, why) ? schema_make(folder, DATABASE, false, why) : NULL;
	struct db *d = schema_open(folder, DATABASE, false, why);
	if (!d || schema_check_rows(d, why))
		return d;
	db_close(d);
	return NULL;
}

static int64_t number_in(struct str text)
{
	int64_t n = 0;
	for (size_t i = 0; i < text.len && i < 18 && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
		n = n * 10 + (text.ptr[i] - '0');
	return n;
}

/* `mark` was read before the database was opened, which may be in use. */
static bool load_changes(struct store *s, uint64_t mark)
{
	struct buf changes;
	buf_init(&changes, 64);
	bool fine = store_get_fact(s, FACT_CHANGES, &changes);
	s->changes = (uint64_t)number_in(buf_str(&changes));
	buf_release(&changes);
	if (!fine || mark <= s->changes)
		return fine;
	return store_failf(s, "%s/" DATABASE " lacks the last %llu changes that were made in it (keys, settings of keys): is " DATABASE "-wal gone, or is it an "
			      "older copy? Put back all files of one copy, or go on with what is there: valet recover --rebuild", s->folder,
			   (unsigned long long)(mark - s->changes));
}

static bool load(struct store *s, uint64_t mark, struct buf *why)
{
	struct buf newest;
	buf_init(&newest, 64);
	bool fine = load_changes(s, mark) && store_get_fact(s, "newest_us", &newest) && lanes_load(s);
	s->newest_us = number_in(buf_str(&newest));
	buf_release(&newest);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && fine; lane++)
		s->lanes[lane].on_disk = 0; /* what the last run wrote may not be there yet */
	if (!fine)
		buf_adds(why, str_from(s->why));
	return fine;
}

struct store *store_open(const char *folder, struct buf *why)
{
	uint64_t mark = mark_read(folder);
	struct db *d = folder_make(folder, why) ? open_main(folder, why) : NULL;
	if (!d)
		return NULL;
	struct store *s = mem_zero(sizeof(*s));
	s->folder = mem_str(str_from(folder));
	s->db = d;
	s->spill_after = SPILL_AFTER;
	s->mark_fd = -1;
	table_init(&s->elsewhere, 0);
	arena_init(&s->elsewhere_names, 1024);
	if (load(s, mark, why))
		return s;
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->grouped)
		db_rollback(s->db);
	lanes_forget(s);
	months_close(s);
	db_close(s->db);
	if (s->mark_fd >= 0)
		close(s->mark_fd);
	table_release(&s->elsewhere);
	arena_release(&s->elsewhere_names);
	free(s->folder);
	free(s);
}

/* ---- writing ---- */

/* Durable: what these functions were told is there after a power loss. */
static bool begin(struct store *s)
{
	return s->grouped || db_begin(s->db, true) || store_fail_db(s, s->db);
}

/* The mark after the commit: it must never be ahead of what is on the disk. */
static bool commit_change(struct store *s)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)s->changes + 1);
	if (!fact_write(s, FACT_CHANGES, str_of(text, (size_t)n))) {
		store_fail_db(s, s->db);
		db_rollback(s->db);
		return false;
	}
	if (!store_commit(s, s->db, DATABASE))
		return false;
	mark_write(s, ++s->changes);
	return true;
}

static bool end(struct store *s, bool fine)
{
	if (!fine)
		store_fail_db(s, s->db);
	if (s->grouped)
		return fine;
	if (fine)
		return commit_change(s);
	db_rollback(s->db);
	return false;
}

bool store_group(struct store *s)
{
	assert(!s->grouped);
	s->grouped = begin(s);
	return s->grouped;
}

bool store_group_end(struct store *s, bool keep)
{
	assert(s->grouped);
	s->grouped = false;
	if (keep)
		return commit_change(s);
	db_rollback(s->db);
	return true;
}

/* ---- keys ---- */

static bool next_serial(struct store *s, uint32_t *out)
{
	int64_t last = 0;
	if (!db_number(s->db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name='keys'", &last))
		return false;
	if (last < 0 || last >= UINT32_MAX - 1)
		return db_fail(s->db, "no numbers for keys are left");
	*out = (uint32_t)last + 1;
	return true;
}

/* By serial, so that another key with the same name or id is told apart from the same key. */
static bool write_key(struct store *s, const struct stored_key *k, uint32_t serial)
{
	static const char sql[] = "INSERT INTO keys VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT(serial) DO UPDATE SET id=?2, hash=?3, old_hash=?4,"
				  "old_until=?5, created=?6, revoked=?7, name=?8, document=?9, crc=?10";
	struct db_value v[10] = {
		db_int(serial), db_text(str_of(k->id, strnlen(k->id, sizeof(k->id)))), db_blob(k->hash, sizeof(k->hash)),
		db_blob(k->old_hash, sizeof(k->old_hash)), db_int(k->old_until_s), db_int(k->created_s), db_int(k->revoked_s),
		db_text(k->name), db_text(k->document),
	};
	return db_put(s->db, sql, v, 9);
}

bool store_put_key(struct store *s, const struct stored_key *k, uint32_t *serial)
{
	uint32_t number = k->serial;
	if (!begin(s))
		return false;
	bool fine = end(s, (number || next_serial(s, &number)) && write_key(s, k, number));
	if (fine && serial)
		*serial = number;
	return fine;
}

bool store_delete_key(struct store *s, uint32_t serial)
{
	struct db_value v = db_int(serial);
	return begin(s) && end(s, db_exec(s->db, "DELETE FROM keys WHERE serial=?1", &v, 1, NULL, NULL));
}

struct key_visit {
	struct store *s;
	void (*visit)(void *user, const struct stored_key *k);
	void *user;
};

static void copy_bytes(void *out, size_t size, struct str from)
{
	memcpy(out, from.ptr, from.len < size ? from.len : size);
}

static bool take_key(void *user, const struct db_row *row)
{
	struct key_visit *v = user;
	struct stored_key k = {
		.serial = (uint32_t)db_row_int(row, 0), .old_until_s = db_row_int(row, 4), .created_s = db_row_int(row, 5),
		.revoked_s = db_row_int(row, 6), .name = db_row_bytes(row, 7), .document = db_row_bytes(row, 8),
	};
	char sentence[96];
	if (!db_row_fits(row)) {
		snprintf(sentence, sizeof(sentence), "damaged: key %lld does not fit its checksum", (long long)db_row_int(row, 0));
		return db_fail(v->s->db, sentence);
	}
	copy_bytes(k.id, sizeof(k.id), db_row_bytes(row, 1));
	copy_bytes(k.hash, sizeof(k.hash), db_row_bytes(row, 2));
	copy_bytes(k.old_hash, sizeof(k.old_hash), db_row_bytes(row, 3));
	v->visit(v->user, &k);
	return true;
}

bool store_each_key(struct store *s, void (*visit)(void *user, const struct stored_key *k), void *user)
{
	struct key_visit v = {s, visit, user};
	return db_exec(s->db, "SELECT * FROM keys ORDER BY serial", NULL, 0, take_key, &v) || store_fail_db(s, s->db);
}

/* ---- facts ---- */

bool fact_write(struct store *s, const char *name, struct str value)
{
	struct db_value v[3] = {db_text(str_from(name)), db_blob(value.ptr, value.len)};
	return db_put(s->db, "INSERT OR REPLACE INTO facts VALUES(?1,?2,?3)", v, 2);
}

bool store_put_fact(struct store *s, const char *name, struct str value)
{
	return begin(s) && end(s, fact_write(s, name, value));
}

static bool take_fact(void *user, const struct db_row *row)
{
	return db_row_fits(row) && buf_adds(user, db_row_bytes(row, 1));
}

bool store_get_fact(struct store *s, const char *name, struct buf *out)
{
	struct db_value v = db_text(str_from(name));
	db_fail(s->db, "damaged: a fact does not fit its checksum");
	return db_exec(s->db, "SELECT * FROM facts WHERE name=?1", &v, 1, take_fact, out) || store_fail_db(s, s->db);
}

bool store_rewound(const struct store *s)
{
	return s->rewound;
}

int64_t store_newest_us(const struct store *s)
{
	return s->newest_us;
}

/* ---- what the recovery asks ---- */

struct lease_visit {
	struct store *s;
	void (*visit)(void *user, const struct stored_lease *l);
	void *user;
};

static bool take_lease(void *user, const struct db_row *row)
{
	struct lease_visit *v = user;
	struct stored_lease l = {
		.key = (uint32_t)db_row_int(row, 0), .pattern = db_row_bytes(row, 1), .unit = (uint8_t)db_row_int(row, 2),
		.period = (uint8_t)db_row_int(row, 3), .leased = db_row_int(row, 4), .window_s = db_row_int(row, 5),
	};
	if (!db_row_fits(row))
		return db_fail(v->s->db, "damaged: a lease does not fit its checksum");
	v->visit(v->user, &l);
	return true;
}

bool store_each_lease(struct store *s, void (*visit)(void *user, const struct stored_lease *l), void *user)
{
	struct lease_visit v = {s, visit, user};
	return db_exec(s->db, "SELECT * FROM leases", NULL, 0, take_lease, &v) || store_fail_db(s, s->db);
}

struct open_visit {
	struct store *s;
	void (*visit)(void *user, unsigned lane, uint64_t seq, struct str payload);
	void *user;
};

static bool take_open(void *user, const struct db_row *row)
{
	struct open_visit *v = user;
	if (!db_row_fits(row))
		return db_fail(v->s->db, "damaged: a row of pending does not fit its checksum");
	v->visit(v->user, (unsigned)db_row_int(row, 0), (uint64_t)db_row_int(row, 1), db_row_bytes(row, 2));
	return true;
}

bool store_each_open(struct store *s, void (*visit)(void *user, unsigned lane, uint64_t seq, struct str payload), void *user)
{
	struct open_visit v = {s, visit, user};
	if (!db_exec(s->db, "SELECT * FROM pending", NULL, 0, take_open, &v))
		return store_fail_db(s, s->db);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		const struct begins *b = &s->lanes[lane].begins;
		for (size_t i = b->head; i < b->end; i++)
			if (b->at[i].payload)
				visit(user, lane, b->at[i].seq, str_of(b->at[i].payload, b->at[i].len));
	}
	return true;
}

uint64_t store_fed(const struct store *s, unsigned lane)
{
	return lane < JOURNAL_LANES_MAX ? s->lanes[lane].applied : 0;
}

uint64_t store_applied(struct store *s, unsigned lane)
{
	return lane < JOURNAL_LANES_MAX ? s->lanes[lane].on_disk : 0;
}
